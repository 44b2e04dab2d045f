"""Which pictures of a store are meant, by what it says of them: `label=cat`, `offset>=2000`, `key~cats/*`."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vitzoo.errors import Argument, SpecError

Compare = Callable[[Any, Any], pa.ChunkedArray]

OPERATORS: dict[str, Compare] = {
    "!=": pc.not_equal,
    "<=": pc.less_equal,
    ">=": pc.greater_equal,
    "=": pc.equal,
    "<": pc.less,
    ">": pc.greater,
    "~": lambda column, pattern: pc.match_like(column, pattern.as_py()),
}
"""How a column is compared with a value. What has no value is like none, and is taken by no comparison."""
CONDITION = re.compile(f"([^!=<>~]+)({'|'.join(OPERATORS)})(.*)", re.DOTALL)
FORMS = "COLUMN=VALUE, or with !=, <, <=, >, >= or ~ for a pattern, as in key~cats/*"


class Condition(NamedTuple):
    """One column compared with one value."""

    column: str
    compare: Compare
    value: pa.Scalar


class Filter(NamedTuple):
    """Conditions that all have to hold; without any, all pictures are meant."""

    conditions: tuple[Condition, ...] = ()
    text: str = ""
    """As it was typed."""

    @classmethod
    def read(cls, texts: Sequence[str], columns: pa.Schema) -> "Filter":
        """What was typed, for a store with these columns.

        Raises:
            SpecError: no condition, a column that there is not, or a value that it does not take.
        """
        return cls(tuple(_condition(text, columns) for text in texts), " and ".join(texts))

    def mask(self, table: pa.Table) -> pa.ChunkedArray:
        """Which rows of a table are meant."""
        found = pa.chunked_array([pa.repeat(True, len(table))])
        for column, compare, value in self.conditions:
            found = pc.and_(found, pc.fill_null(compare(table[column], value), False))
        return found

    def kept(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """The numbers of a file's rows that are meant and were not removed."""
        return np.flatnonzero(pc.and_(pc.invert(table["removed"]), self.mask(table)).to_numpy())


EVERY = Filter()
"""All pictures."""


def _condition(text: str, columns: pa.Schema) -> Condition:
    match = CONDITION.fullmatch(text)
    if match is None:
        raise SpecError("expected ", Argument("where"), f" {FORMS}; found '{text}'")
    name, operator, value = match[1].strip(), match[2], match[3]
    if name not in columns.names:
        raise SpecError(f"the store has no column '{name}'; there are {', '.join(columns.names)}")
    kind = columns.field(name).type
    if operator == "~":
        if not pa.types.is_string(kind):
            raise SpecError(f"column '{name}' has no text but {kind}, which is like no pattern; compare with = or <")
        return Condition(name, OPERATORS[operator], pa.scalar(_like(value)))
    try:
        return Condition(name, OPERATORS[operator], pa.scalar(value).cast(kind))
    except pa.ArrowException:
        raise SpecError(f"column '{name}' has values of the kind {kind}; '{value}' is none") from None


def _like(pattern: str) -> str:
    """A pattern of file names as SQL's LIKE has it: `*` stands for any text, `?` for one letter."""
    return re.sub(r"[\\%_]", r"\\\g<0>", pattern).replace("*", "%").replace("?", "_")
