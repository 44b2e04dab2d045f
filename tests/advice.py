"""Holds the errors and their tests together: what an error says to do is done by a test, word for word.

A test marked `follows("words")` meets the error that has these words, does what it says, and sees that it works; the
words are enough of the message to tell it from all others, with the file as a second argument if they are not. Without
running anything, every error that is made in `ROOMS` has such a mark or a reason not to (`tests/house/test_advice.py`).
While a marked test runs, the error has to come up.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import vitzoo
from vitzoo import errors
from vitzoo.errors import VitzooError

__all__ = ["the_error_comes_up"]

ROOMS = ("engines", "exporting", "checkpoints", "files", "layouts", "model", "publish", "registry", "spec")
SOURCE, TESTS = Path(vitzoo.__file__).parent, Path(__file__).parent
MADE = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
"""The classes of errors; a ValueError in a record's check is said as one of them."""
MARKS = frozenset({"follows", "remedy"})
LONGEST = 600
FOLDERS = re.compile(r"(?<!\w)/\S*/")
"""What stands before a file's name, which is as long as the machine has it."""
FEWEST = 8
"""Letters of a sentence's part; what has fewer links others."""


class Site(NamedTuple):
    """A place where an error is made, and the words that it always has."""

    where: str
    kind: str
    words: tuple[str, ...]

    @property
    def passes_on(self) -> bool:
        """Whether it only says what comes from elsewhere."""
        return not any(sum(letter.isalpha() for letter in text) >= FEWEST for text in self.words)

    def has(self, words: str) -> bool:
        return any(words in text for text in self.words)


class Mark(NamedTuple):
    """The words that a test follows, and the file that they stand in if others have them too."""

    words: str
    file: str = ""

    def of(self, site: Site) -> bool:
        return site.where.startswith(self.file) and site.has(self.words)


def texts(node: ast.AST) -> Iterator[str]:
    """The constant parts of texts below a node; what stands side by side is one."""
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _made(node: ast.AST, where: str, kinds: set[str]) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in kinds:
            words = dict.fromkeys(text for argument in child.args for text in texts(argument))
            yield Site(where, child.func.id, tuple(words))
        named = isinstance(child, ast.FunctionDef | ast.ClassDef)
        yield from _made(child, f"{where}:{child.name}" if named else where, kinds)  # type: ignore[attr-defined]


@cache
def sites() -> tuple[Site, ...]:
    """Every error that is made in the rooms."""
    found: list[Site] = []
    for file in (file for room in ROOMS for file in sorted((SOURCE / room).rglob("*.py"))):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        own = {node.name for node in classes if any(isinstance(b, ast.Name) and b.id in MADE for b in node.bases)}
        found += _made(tree, file.relative_to(SOURCE).as_posix(), MADE | own | {"ValueError"})
    return tuple(found)


@cache
def said() -> tuple[str, ...]:
    """Every constant text of the rooms."""
    files = (file for room in ROOMS for file in (SOURCE / room).rglob("*.py"))
    return tuple(text for file in files for text in texts(ast.parse(file.read_text(encoding="utf-8"))))


@cache
def marks() -> frozenset[Mark]:
    """The words of all marks in the tests, as they are written there."""
    found = set()
    for file in TESTS.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if any(name in text for name in MARKS) else ():
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in MARKS and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                file_of = [one.value.value for one in node.keywords if one.arg == "file"]  # type: ignore[attr-defined]
                found.add(Mark(node.args[0].value, *file_of))
    return frozenset(found)


def remedy(words: str, fails: Callable[..., Any], works: Callable[..., Any], *, file: str = "") -> Any:
    """A parameter of a test: what ends in the error with these words, and the same after what it says was done."""
    return pytest.param(fails, works, marks=pytest.mark.follows(words, file=file), id=words)


def check(fails: Callable[..., Any], works: Callable[..., Any], *given: Any) -> None:
    """The one ends in an error, and the other does not."""
    with pytest.raises(VitzooError):
        fails(*given)
    works(*given)


@pytest.fixture(autouse=True)
def the_error_comes_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note the errors that a marked test meets: what it follows is among them, and none is longer than one can read."""
    wanted = [mark.args[0] for mark in request.node.iter_markers("follows")]
    if not wanted:
        yield
        return
    met, make = list[str](), VitzooError.__init__

    def noted(error: VitzooError, *parts: Any) -> None:
        make(error, *parts)
        met.append(str(error))

    monkeypatch.setattr(VitzooError, "__init__", noted)
    yield
    for words in wanted:
        assert any(words in message for message in met), f"the mark says '{words}', and the test met {met}"
    short = [FOLDERS.sub("", message) for message in met]
    assert all(len(message) <= LONGEST for message in short), max(short, key=len)
