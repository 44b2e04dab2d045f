"""YAML without its traps: no key twice, no merge keys, no octal or base-60 numbers, no dates."""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from vitzoo.errors import RegistryError, shown
from vitzoo.small_files import read_small

DEEPEST = 30  # levels; a registry has six
MOST_VALUES = 100_000
LARGEST = 1 << 20  # bytes; the largest file that ships has a fiftieth


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses what YAML would read in silence as something else.

    A key that is there twice, of which it would take the last; merge keys, whose work `base` does. Dates are text.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "float", "str", "seq", "map")
    }

    def construct_document(self, node: yaml.Node) -> Any:
        _weigh(node, {}, 0)
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(problem="a key is a name", problem_mark=key.start_mark)
            if key.value in seen or key.tag == "tag:yaml.org,2002:merge":
                problem = f"'{key.value}' is there twice" if key.value in seen else "'<<' is not used here; use base"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def _weigh(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for, written out: with names for parts a few lines could stand for gigabytes."""
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # for who refers to itself
        inside = [one for value in node.value for one in (value if isinstance(value, tuple) else (value,))]
        below = inside if isinstance(node, yaml.CollectionNode) else []
        if depth > DEEPEST:
            raise yaml.constructor.ConstructorError(problem=f"more than {DEEPEST} levels", problem_mark=node.start_mark)
        known[id(node)] = 1 + sum(_weigh(one, known, depth + 1) for one in below)
    if known[id(node)] > MOST_VALUES:
        raise yaml.constructor.ConstructorError(
            problem=f"more than {MOST_VALUES:,} values, written out", problem_mark=node.start_mark
        )
    return known[id(node)]


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    """YAML 1.1 reads 0224 in base 8 and 3:44 in base 60; YAML 1.2, and whoever wrote it, do not."""
    if not re.fullmatch(r"[-+]?(0|[1-9][0-9_]{0,30})", node.value):
        raise yaml.constructor.ConstructorError(
            problem=f"{shown(node.value)} is not decimal; write the number out, or quote it",
            problem_mark=node.start_mark,
        )
    return int(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def read_yaml(file: Path) -> Any:
    """What a YAML file holds; a RegistryError with the line if it cannot be read or is ambiguous."""
    try:
        return yaml.load(read_small(file, LARGEST), _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise RegistryError(f"{file}: {line}{getattr(error, 'problem', None) or error}") from None
    except OSError as error:
        raise RegistryError(f"{file} cannot be read: {error.strerror}") from None
    except (RecursionError, UnicodeDecodeError, ValueError) as error:
        why = f"more than {DEEPEST} levels" if isinstance(error, RecursionError) else error
        raise RegistryError(f"{file} cannot be read: {why}") from None
