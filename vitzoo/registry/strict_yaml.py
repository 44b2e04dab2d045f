"""YAML without its traps: no key twice, no merge keys, no octal or base-60 numbers."""

import re
from pathlib import Path
from typing import Any

import yaml

from vitzoo.errors import RegistryError


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that is there twice, of which YAML would take the last, and merge keys, whose work `base` does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen or key.tag == "tag:yaml.org,2002:merge":
                problem = f"'{key.value}' is there twice" if key.value in seen else "'<<' is not used here; use base"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    """YAML 1.1 reads 0224 in base 8 and 3:44 in base 60; YAML 1.2, and whoever wrote it, do not."""
    if not re.fullmatch(r"[-+]?(0|[1-9][0-9_]*)", node.value):
        raise yaml.constructor.ConstructorError(
            problem=f"'{node.value}' is not decimal; write the number out, or quote it", problem_mark=node.start_mark
        )
    return int(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def read_yaml(file: Path) -> Any:
    """What a YAML file holds; a RegistryError with the line if it cannot be read or is ambiguous."""
    try:
        return yaml.load(file.read_bytes(), _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise RegistryError(f"{file}: {line}{getattr(error, 'problem', None) or error}") from None
    except OSError as error:
        raise RegistryError(f"{file} cannot be read: {error.strerror}") from None
