"""What is there by a pattern: a model or weights match by their name, and by any alias of theirs."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from vitzoo.errors import RegistryError
from vitzoo.registry import index


def list_models(pattern: str = "*") -> list[str]:
    """The models that match a shell pattern, in natural order (`b8` before `b16`)."""
    if pattern == "*":
        return index.list_models()
    wanted = {name.partition(".")[0] for name in _matching(pattern)}
    return [name for name in index.list_models() if name in wanted]


def list_pretrained(pattern: str = "*", license: Sequence[str] | None = None) -> list[str]:
    """The weights that match, or whose model does, by model in natural order; a model's default is first."""
    names = index.list_pretrained(license=license)
    if pattern == "*":
        return names
    wanted = _matching(pattern)
    return [name for name in names if name in wanted or name.partition(".")[0] in wanted]


def near(name: str) -> str:
    """`; did you mean ...?` with the known names that are like one that is unknown; empty if none is."""
    try:
        index.resolve(name)
    except RegistryError as error:
        _, found, names = str(error).partition("; did you mean ")
        return found + names
    return ""


def _matching(pattern: str) -> set[str]:
    """Models and weights, by their own names and by their aliases; by another spelling where there is nothing else."""
    own = {name for name in (*index.list_models(), *index.list_pretrained()) if fnmatchcase(name, pattern)}
    found = own | {name for alias, name in index.aliases().items() if fnmatchcase(alias, pattern)}
    if found:
        return found
    from vitzoo.registry.reference import other_spellings  # it needs pydantic, whose import takes longer than a list

    return {index.resolve(name).name for name in other_spellings(pattern)}
