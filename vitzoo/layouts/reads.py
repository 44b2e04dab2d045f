"""A layout's rules as seen from a file: what each of its keys would say of the spec, and of its sizes.

`Read` is one join with its ways: a way is a native tensor that the join may give, and what a spec has to be for that.
`equations` say how the axes of the stored tensors and those of the native ones hang together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from vitzoo.layouts.axes import groups
from vitzoo.layouts.domains import Conjunction, conjunction
from vitzoo.layouts.rules import Drop, Fixed, Join, Piece, Rule, Zeros
from vitzoo.spec import Shape
from vitzoo.spec.tensors import SOME, TABLE, Axis, Equation, Native, Term

ROWS: dict[str, list[Native]] = {}
for row in TABLE:
    ROWS.setdefault(row.name, []).append(row)


class Way(NamedTuple):
    """A native tensor that a join may give, and what has to be true of a spec for it."""

    native: Native
    piece: Piece
    when: Conjunction


@dataclass(frozen=True)
class Read:
    """A join, the keys that it reads and the ways to read them."""

    rule: Join
    keys: tuple[str, ...]
    ways: tuple[Way, ...]

    @property
    def stores(self) -> bool:
        """Whether its native tensors follow from more than that nothing is stored."""
        return bool(self.keys) or not all(isinstance(part, Zeros) for part in self.rule.stored)

    def equations(self, natives: Sequence[Way], shapes: Mapping[str, Shape]) -> Iterator[Equation]:
        """What the shapes of its stored tensors say, if `natives` are the tensors that it gives."""
        axis = self.rule.axis
        given = [_terms(way.piece.pattern, way.native.axes) for way in natives]
        shares = sum(part.size is None for part in self.rule.stored)
        sized = tuple(Term(-1, (part.size,)) for part in self.rule.stored if part.size is not None)
        for part in self.rule.stored:
            if not isinstance(part, Piece):
                continue
            shape = shapes[part.key][1 if self.rule.stacked else 0 :]
            yield from _named(part.pattern, shape, part.key)
            found = _terms(part.pattern, shape, part.key)
            if len(found) != len(given[0]):
                yield Equation((), 1)  # another number of axes: no sizes make this true
                return
            for number, (ours, theirs) in enumerate(zip(given[0], found, strict=True)):
                if number != axis:
                    yield _equal((ours,), theirs, 1)
                elif part.size is not None:
                    yield _equal((Term(1, (part.size,)),), theirs, 1)
                else:
                    yield _equal((*(terms[axis] for terms in given), *sized), theirs, shares)


class Reads:
    """All that a layout's rules may make of a file's keys."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.joins: list[Read] = []
        self.fixed: list[Fixed] = []
        self.drops: list[Drop] = []
        for rule in rules:
            if isinstance(rule, Join):
                keys = tuple(part.key for part in rule.stored if isinstance(part, Piece))
                self.joins.append(Read(rule, keys, tuple(_ways(rule))))
            else:
                (self.fixed if isinstance(rule, Fixed) else self.drops).append(rule)  # type: ignore[arg-type]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Every key that a join or a fixed tensor has, once."""
        return tuple(dict.fromkeys([*(key for read in self.joins for key in read.keys), *(f.key for f in self.fixed)]))

    @cached_property
    def covers(self) -> tuple[tuple[Native, tuple[tuple[Read, Way], ...]], ...]:
        """Every native tensor with the ways in which a join gives it."""
        found: dict[int, list[tuple[Read, Way]]] = {id(row): [] for row in TABLE}
        for read in self.joins:
            for way in read.ways:
                found[id(way.native)].append((read, way))
        return tuple((row, tuple(found[id(row)])) for row in TABLE)


def _ways(rule: Join) -> Iterator[Way]:
    for piece in rule.native:
        for row in ROWS[piece.key]:
            if (both := _both(rule.given, row.when)) is not None:
                yield Way(row, piece, conjunction(both))


def _both(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, ...]] | None:
    """What satisfies both conditions; None if nothing does."""
    found: dict[str, tuple[Any, ...]] = {}
    for literal in (*conjunction(first), *conjunction(second)):
        known = found.get(literal.field, literal.allowed)
        if SOME in known:
            known = tuple(filter(None, literal.allowed))
        elif SOME in literal.allowed:
            known = tuple(filter(None, known))
        else:
            known = tuple(value for value in known if value in literal.allowed)
        if not known:
            return None
        found[literal.field] = known
    return found


def _terms(pattern: str | None, axes: Sequence[Axis], key: str = "") -> list[Term]:
    """Each axis behind `pattern` as a product of sizes; an axis that only this tensor has bears its key's name."""
    if pattern is None:
        return [_product((axis,)) for axis in axes]
    left, right = groups(pattern)
    if len(left) != len(axes):
        return [Term(1)] * (len(right) + 1)  # as no native tensor has it
    lengths: dict[str, Axis] = {}
    for group, length in zip(left, axes, strict=True):
        lengths |= dict.fromkeys(group, length) if len(group) == 1 else {name: _symbol(name, key) for name in group}
    return [_product([lengths[name] for name in group]) for group in right]


def _named(pattern: str | None, shape: Shape, key: str) -> Iterator[Equation]:
    """What the axes of a stored tensor say of sizes that its pattern names."""
    left = groups(pattern)[0] if pattern else ()
    for group, length in zip(left, shape, strict=True) if len(left) == len(shape) else ():
        if not group and length != 1:
            yield Equation((), 1)
        if len(group) == 1 and group[0] in NAMED:
            yield Equation((Term(1, group),), length)
        if len(group) > 1:
            yield Equation((Term(1, tuple(_symbol(name, key) for name in group)),), length)


NAMED = frozenset(
    {"rows", "cols", "rel_rows", "rel_cols", "patch_rows", "patch_cols", "in_chans", "num_heads", "kv_heads", "kv_dim"}
)
"""Axis names that stand for a size; see `rules.axis_sizes`."""


def _symbol(name: str, key: str) -> str:
    return name if name in NAMED else f"{name} of {key}"


def _product(axes: Sequence[Axis]) -> Term:
    factor, names = 1, []
    for axis in axes:
        if isinstance(axis, int):
            factor *= axis
        else:
            names.append(axis)
    return Term(factor, tuple(names))


def _equal(ours: Sequence[Term], theirs: Term, times: int) -> Equation:
    """The sum of `ours` is `times` what stands in the file."""
    if not theirs.names:
        return Equation(tuple(ours), theirs.factor * times)
    return Equation((*ours, Term(-theirs.factor * times, theirs.names)), 0)
