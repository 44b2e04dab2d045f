"""The rules of the house, checked: `python -m tools.house`; exit 1 with a line for each place that breaks one.

A room may import rooms that stand below it. No two files import each other. No function is longer than
`LONGEST_FUNCTION` lines and no file longer than `LONGEST_FILE`. What a user typed is read by `READER` alone. Each
layout, policy and promise is proved by a test.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "vitzoo"
FRONT_DOORS = ("__init__", "__main__")
"""Modules of the package itself that may import every room, and that none may import."""

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "file_locks", "small_files", "version"),
    ("extras", "markdown"),
    ("spec",),
    ("registry",),
    ("files", "images"),
    ("model",),
    ("layouts",),
    ("engines", "sources"),
    ("checkpoints",),
    ("publish",),
    ("data",),
    ("embedding",),
    ("evaluation",),
    ("exporting", "train"),
    ("cli",),
    ("publishing", "resample"),
)
"""From the ground up. Rooms of one floor do not know each other."""

LONGEST_FUNCTION, LONGEST_FILE = 50, 450

READER = "vitzoo.registry.reference"
TYPED = frozenset({"model", "name", "names", "source", "first", "second", "reference", "like", "recipe", "typed"})
"""Parameters that bear what a user typed for a model, in the rooms of `READING_ROOMS`; elsewhere they are tensors'."""
READING_ROOMS = frozenset(
    {"registry", "sources", "checkpoints", "publish", "embedding", "evaluation", "engines", "exporting", "train", "cli"}
)
TESTS_OF_TEXT = frozenset({"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"})


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name; a package's own name stands for its `__init__`."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(tree: ast.Module, name: str, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a module imports, wherever the import stands, `import vitzoo` and its public names too.

    What only a type checker sees is left out: it is never run.
    """
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    package = name.partition(".")[0]
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == package)
        elif isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == package:
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in known else str(node.module)


def wrong_imports(package: Path = PACKAGE) -> list[str]:
    """Imports that go up, sideways, through the front door, or round in a circle."""
    known = modules(package)
    height = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    wrong, graph = [], {}
    for name, file in known.items():
        room = name.split(".")[1] if "." in name else "__init__"
        found = sorted(set(imports(ast.parse(file.read_text(encoding="utf-8")), name, known)))
        graph[name] = [other for other in found if other != name]
        if room in FRONT_DOORS:
            continue
        if room not in height:
            wrong.append(f"{name}: the room '{room}' stands on no floor; add it to FLOORS")
            continue
        for other in found:
            theirs = other.split(".")[1] if "." in other else "__init__"
            if theirs != room and height.get(theirs, len(FLOORS)) >= height[room]:
                wrong.append(f"{name} imports {other}, which does not stand below it")
    try:
        TopologicalSorter({n: o for n, o in graph.items() if n != package.name}).prepare()
    except CycleError as error:
        wrong.append(f"a circle: {' -> '.join(error.args[1])}")
    return wrong


def too_long(package: Path = PACKAGE) -> list[str]:
    """Functions and files beyond the limits."""
    wrong = []
    for name, file in modules(package).items():
        text = file.read_text(encoding="utf-8")
        if (count := len(text.splitlines())) > LONGEST_FILE:
            wrong.append(f"{name} has {count} lines; at most {LONGEST_FILE}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    wrong.append(f"{name}.{node.name} has {length} lines; at most {LONGEST_FUNCTION}")
    return wrong


def read_twice(package: Path = PACKAGE) -> list[str]:
    """Places outside `READER` that test the beginning or the end of what a user typed."""
    wrong = []
    for name, file in modules(package).items():
        room = name.split(".")[1] if "." in name else ""
        if name == READER or room not in READING_ROOMS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                wrong += [f"{name}:{line} reads what a user typed; {READER} does" for line in _tests_of_typed(node)]
    return wrong


def _tests_of_typed(function: ast.FunctionDef) -> list[int]:
    """Lines that look at the text of a parameter in `TYPED`, or of a variable that was made of one."""
    arguments = function.args
    typed = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} & TYPED
    lines = []
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id)], value=value) if _is_text_of(value, typed):
                typed.add(id)
            case ast.For(target=ast.Name(id), iter=ast.Name(names)) if names in typed:
                typed.add(id)
            case ast.Call(args=[ast.Constant(".")]) | ast.Compare(left=ast.Constant(".")):
                continue  # `model.tag`, as the registry has it
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in TESTS_OF_TEXT:
                lines += [node.lineno] if _is_text_of(value, typed) else []
            case ast.Compare(left=ast.Constant(str()), ops=[ast.In()], comparators=[value]):
                lines += [node.lineno] if _is_text_of(value, typed) else []
    return lines


def _is_text_of(value: ast.expr, typed: set[str]) -> bool:
    """Whether an expression is a variable of `typed`, `str` of it, or what a method of text makes of it."""
    match value:
        case ast.Name(id):
            return id in typed
        case ast.Call(func=ast.Name("str" | "Path"), args=[inner]):
            return _is_text_of(inner, typed)
        case ast.Call(func=ast.Attribute(value=inner, attr=attr)) if attr in TESTS_OF_TEXT | {"lower", "strip"}:
            return _is_text_of(inner, typed)
        case ast.Attribute(value=inner, attr="suffix" | "name"):
            return _is_text_of(inner, typed)
    return False


def main() -> int:
    from tools.proofs import wrong_proofs

    wrong = [*wrong_imports(), *too_long(), *read_twice(), *wrong_proofs()]
    print("\n".join(wrong) or "the house stands")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
