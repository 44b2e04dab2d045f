"""Entries compared: columns, conditions on them, an order, and which of them no other beats. Nothing imports torch.

A column is a field of the entry or a published figure. Where an entry has no value, no condition on it holds.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry.entry import Entry, near

Value = str | float | int | bool | None
PERMITTING = "commercial"
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


def _tokens(entry: Entry) -> int:
    spec = entry.spec
    rows, cols = (side // patch for side, patch in zip(spec["img_size"], spec["patch_size"], strict=True))
    return int(rows * cols + spec["class_token"] + spec["dist_token"] + spec["reg_tokens"])


def _year(entry: Entry) -> int | None:
    """Of the first paper on arXiv that the weights' origin names."""
    found = re.search(r"arxiv\.org/abs/(\d\d)\d\d\.", str((entry.weights or {}).get("origin")))
    return None if found is None else 2000 + int(found[1])


def _commercial(entry: Entry) -> bool | None:
    from vitzoo.spec import PERMISSIVE  # it needs pydantic, whose import takes longer than a list

    return None if entry.license is None else entry.license in PERMISSIVE


FIELDS: dict[str, Callable[[Entry], Value]] = {
    "name": lambda entry: entry.name,
    "model": lambda entry: entry.name.partition(".")[0],
    "family": lambda entry: Path(entry.file).stem,
    "params": lambda entry: entry.params,
    "macs": lambda entry: entry.macs,
    "img_size": lambda entry: min(entry.spec["img_size"]),
    "patch_size": lambda entry: min(entry.spec["patch_size"]),
    "tokens": _tokens,
    "hidden_dim": lambda entry: entry.spec["hidden_dim"],
    "depth": lambda entry: entry.spec["depth"],
    "pool": lambda entry: entry.spec["pool"],
    "registers": lambda entry: entry.spec["reg_tokens"],
    "rope": lambda entry: (entry.spec["rope"] or {}).get("kind"),
    "classes": lambda entry: entry.spec["num_classes"],
    "out_dim": lambda entry: entry.spec["out_dim"],
    "license": lambda entry: entry.license,
    PERMITTING: _commercial,
    "year": _year,
}
SMALLER_IS_BETTER = frozenset({"params", "macs", "img_size", "patch_size", "tokens", "hidden_dim", "depth"})
_CONDITION = re.compile(r"\s*([a-z0-9_]+)\s*(<=|>=|!=|=|<|>|~)\s*(.*?)\s*")
_NUMBER = re.compile(r"([-+]?[0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)([kMGB]?)", re.IGNORECASE)
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "~": lambda a, b: fnmatchcase(str(a), str(b)),
}


class Condition(NamedTuple):
    """What a column of an entry has to be."""

    column: str
    test: str
    wanted: Value

    def __str__(self) -> str:
        spelled = {True: "yes", False: "no"}
        wanted = (
            f"{self.wanted:g}"
            if type(self.wanted) is float
            else spelled.get(self.wanted is True)
            if isinstance(self.wanted, bool)
            else self.wanted
        )
        return f"{self.column}{self.test}{wanted}"

    def holds(self, value: Value) -> bool:
        """Whether a value does; none does not."""
        return value is not None and _TESTS[self.test](value, self.wanted)


def columns() -> list[str]:
    """All columns: the fields of an entry, then what was measured."""
    return [*FIELDS, *registry.measures()]


def checked_column(name: str) -> str:
    """The column; a RegistryError names those that there are."""
    if name in FIELDS or name in registry.measures():
        return name
    known = columns()
    raise RegistryError(f"there is no column '{name}'{near(name, known) or '; the columns are ' + ', '.join(known)}")


def condition(text: str) -> Condition:
    """`params<=30M`, `in1k>=84`, `license=mit`, `name~dino*`, `commercial=yes`.

    Raises:
        RegistryError: text of another form, an unknown column, or a number compared with text.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or not match[3]:
        raise RegistryError(f"a condition is COLUMN, then one of {' '.join(_TESTS)}, then a value; found '{text}'")
    column, test, wanted = checked_column(match[1]), match[2], _value(match[3])
    kinds = {type(value) for entry in _entries() if (value := value_of(entry, column)) is not None}
    numbers = not kinds & {str, bool}
    if numbers and isinstance(wanted, str) and test != "~":
        raise RegistryError(
            f"'{column}' is a number; compare it with one, such as '{column}{test}30', not with '{wanted}'"
        )
    if not numbers and test in ("<", ">", "<=", ">="):
        raise RegistryError(f"'{column}' is no number; ask for '{column}=...' or '{column}~PATTERN'")
    if kinds == {bool}:
        wanted = _yes(column, match[3])
    return Condition(column, test, match[3] if str in kinds or test == "~" else wanted)


def value_of(entry: Entry, column: str) -> Value:
    """A column of an entry; None where it has none, or where it was not measured."""
    if column in FIELDS:
        return FIELDS[column](entry)
    return next((one.value for one in registry.figures(entry.name) if one.measure == column), None)


class Selection(NamedTuple):
    """What is left of entries, and how many were left out for want of a value, by column."""

    entries: list[Entry]
    unknown: Mapping[str, int]


def select(entries: Iterable[Entry], conditions: Sequence[Condition]) -> Selection:
    """The entries for which all conditions hold. Conditions are tried in their order."""
    left, unknown = list(entries), dict[str, int]()
    for one in conditions:
        values = [value_of(entry, one.column) for entry in left]
        if missing := values.count(None):
            unknown[one.column] = unknown.get(one.column, 0) + missing
        left = [entry for entry, value in zip(left, values, strict=True) if one.holds(value)]
    return Selection(left, unknown)


def ordered(entries: Sequence[Entry], column: str) -> list[Entry]:
    """The best first, those without a value last; others in the order in which they came.

    Small is better for sizes and costs, large for all else; text is in the order of the alphabet.
    """
    small = column in SMALLER_IS_BETTER

    def key(entry: Entry) -> tuple[bool, Any]:
        value = value_of(entry, checked_column(column))
        if value is None or isinstance(value, str):
            return value is None, value or ""
        return False, value if small else -value

    return sorted(entries, key=key)


def front(entries: Sequence[Entry], first: str, second: str) -> Selection:
    """The entries that no other beats in one column without being worse in the other (the Pareto front)."""
    both = select(entries, [Condition(name, "!=", None) for name in (checked_column(first), checked_column(second))])
    found: list[Entry] = []
    best: Any = None
    for entry in ordered(ordered(both.entries, second), first):
        value: Any = value_of(entry, second)
        if best is None or (value < best if second in SMALLER_IS_BETTER else value > best):
            found.append(entry)
            best = value
    return Selection(found, both.unknown)


def _entries() -> Iterable[Entry]:
    return map(registry.record, registry.list_pretrained())


def _value(text: str) -> Value:
    match = _NUMBER.fullmatch(text)
    return text if match is None else float(match[1]) * UNITS[match[2].lower()]


def _yes(column: str, text: str) -> bool:
    answers = {"yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in answers:
        raise RegistryError(f"'{column}' is yes or no; found '{text}'")
    return answers[text.lower()]
