"""Which test proves what, read from the marks on the tests: `@pytest.mark.proves(layout="timm", against="...")`.

A mark has one subject, a name or a tuple of names, and what the test holds it against:

- `layout`, a layout of `vitzoo.layouts`; `policy`, `patch_policy`, a way of resampling; `promise`, one of the promises
  of docs/sources.md by its bold words, and `guarantee`, one of docs/security.md; `claim`, a row of the README's table
  in its own words;
- `against`, in words; `tolerance`, if there is one.

The tests are read, not run: a value is written out, or is a constant of the same file.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
SUBJECTS = ("layout", "policy", "patch_policy", "promise", "guarantee", "claim")
WORDS = ("against", "tolerance")


class Proof(NamedTuple):
    """One subject of one mark."""

    subject: str
    name: str
    against: str
    tolerance: str
    file: str
    """Below `tests/`."""
    test: str


class WrongMark(ValueError):
    """A mark that says nothing, or something of what there is not; with its place."""


def collect(folder: Path = TESTS) -> tuple[Proof, ...]:
    """The proofs of all tests below a folder, by file and line; a `WrongMark` names its place."""
    return tuple(proof for file in sorted(folder.rglob("test_*.py")) for proof in _of_file(file, folder))


def known() -> dict[str, tuple[str, ...]]:
    """What has to be proved: the names of each subject that is a closed list, in their order."""
    from vitzoo.layouts.tables import LAYOUTS
    from vitzoo.model.resample import PatchResample
    from vitzoo.spec import Resample

    return {
        "layout": tuple(LAYOUTS),
        "policy": tuple(policy.value for policy in Resample),
        "patch_policy": tuple(policy.value for policy in PatchResample),
        "promise": _promises("sources"),
        "guarantee": _promises("security"),
    }


def _promises(page: str) -> tuple[str, ...]:
    """The bold words of a page's numbered promises."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return tuple(re.findall(r"^\d+\. \*\*(.+?)\.?\*\*", text, re.MULTILINE))


def wrong_proofs(folder: Path = TESTS, names: Mapping[str, tuple[str, ...]] | None = None) -> list[str]:
    """Marks that name what there is not, and what no test proves."""
    try:
        proofs = collect(folder)
    except WrongMark as error:
        return [str(error)]
    wrong = []
    for subject, wanted in (known() if names is None else names).items():
        found = {proof.name: proof for proof in proofs if proof.subject == subject}
        for name in found.keys() - set(wanted):
            wrong.append(f"tests/{found[name].file}: {found[name].test} proves {subject} '{name}', which there is not")
        for name in wanted:
            if name not in found:
                wrong.append(f"no test proves {subject} '{name}'; mark one with pytest.mark.proves({subject}=...)")
    return wrong


def _of_file(file: Path, folder: Path) -> Iterator[Proof]:
    text = file.read_text(encoding="utf-8")
    if "mark.proves" not in text:
        return
    tree, name = ast.parse(text), file.relative_to(folder).as_posix()
    constants: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if len(targets) == 1 and isinstance(targets[0], ast.Name):
                try:
                    constants[targets[0].id] = _value(node.value, constants)
                except ValueError:
                    continue
    calls = {id(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_mark(node)}
    for test in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)):
        for mark in test.decorator_list:
            if isinstance(mark, ast.Call) and _is_mark(mark):
                calls.discard(id(mark))
                try:
                    yield from _proofs(mark, constants, name, test.name)
                except ValueError as error:
                    raise WrongMark(f"tests/{name}:{mark.lineno}: {error}") from None
    if calls:
        raise WrongMark(f"tests/{name}: pytest.mark.proves stands elsewhere than on a test or a class of tests")


def _is_mark(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "pytest.mark.proves"


def _proofs(mark: ast.Call, constants: Mapping[str, Any], file: str, test: str) -> Iterator[Proof]:
    said = {str(keyword.arg): _value(keyword.value, constants) for keyword in mark.keywords}
    subjects = [subject for subject in SUBJECTS if subject in said]
    if mark.args or len(subjects) != 1 or not said.get("against") or said.keys() - {*SUBJECTS, *WORDS}:
        expected = f"expected one of {', '.join(SUBJECTS)}, then against and perhaps tolerance"
        raise ValueError(f"{expected}; found {ast.unparse(mark)}")
    names = said[subjects[0]]
    for name in (names,) if isinstance(names, str) else names:
        yield Proof(subjects[0], name, said["against"], said.get("tolerance", ""), file, test)


def _value(node: ast.expr, constants: Mapping[str, Any]) -> Any:
    """A string, or a tuple of strings with constants unpacked in it; a `ValueError` for all else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.Tuple):
        found: list[str] = []
        for item in node.elts:
            value = _value(item.value if isinstance(item, ast.Starred) else item, constants)
            found += value if isinstance(item, ast.Starred) else [value]
        return tuple(found)
    raise ValueError(f"write the value out, or name a constant of this file that holds strings: {ast.unparse(node)}")
