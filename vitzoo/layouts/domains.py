"""What is known of a spec while it is found out: for each field the values that are left. Facts only remove some.

A clause says what goes together: `Never` that some literals are not all true, `OneOf` that of several conjunctions one
is. `propagate` removes all values that a single clause rules out, until nothing changes.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import EnumType
from functools import cache, cached_property
from itertools import product
from typing import Any, NamedTuple, get_args

from vitzoo.spec import AttentionKind, Head, Pool, PosEmbed, PosPrefix, RelPos, RopeKind, ViTSpec
from vitzoo.spec.tensors import SOME, Contradiction

Values = frozenset[Any]


@dataclass(frozen=True)
class Literal:
    """That a field has one of the values `allowed` (`SOME` for any but none); or, if not `holds`, that it has not."""

    field: str
    allowed: tuple[Any, ...]
    holds: bool = True
    _seen: dict[Values, tuple[bool, bool]] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def root(self) -> str:
        return self.field.partition(".")[0]

    def negated(self) -> "Literal":
        return Literal(self.field, self.allowed, not self.holds)

    def among(self, values: Values) -> tuple[bool, bool]:
        """Whether it is true of all of the values, and whether it may be of one; each answer is kept."""
        if values not in self._seen:
            met = [_meets(value, self.allowed) for value in values]
            self._seen[values] = (
                all(one is self.holds for one in met),
                any(one is not (not self.holds) for one in met),
            )
        return self._seen[values]


Conjunction = tuple[Literal, ...]


class OpenRope(NamedTuple):
    """A rotary embedding of which the kind is known, and whether its periods are stored."""

    kind: RopeKind
    stored: bool


ROPES: tuple[Any, ...] = (*(OpenRope(kind, False) for kind in RopeKind), OpenRope(RopeKind.DINOV3, True))
SLOTS = "num_pos_prefix"
PREFIX = "num_prefix_tokens"
TOKENS = ("class_token", "dist_token", "reg_tokens")


@cache
def universe() -> Mapping[str, Values]:
    """Every field of the spec with all values that it may have; `SOME` stands for those that are not counted."""
    found: dict[str, Values] = {SLOTS: frozenset({0, SOME})}
    for name, about in ViTSpec.model_fields.items():
        kind, default = about.annotation, about.default
        if isinstance(kind, EnumType):
            found[name] = frozenset(kind)  # type: ignore[call-overload]
        elif kind is bool:
            found[name] = frozenset({False, True})
        elif type(None) in get_args(kind):
            found[name] = frozenset({None, SOME})
        else:
            found[name] = frozenset({SOME, 0} if name in ("reg_tokens", "num_classes") or default == 0 else {SOME})
    return found | {"rope": frozenset({None, *ROPES})}


@dataclass(frozen=True)
class Never:
    """The literals are not all true."""

    literals: Conjunction

    @cached_property
    def fields(self) -> frozenset[str]:
        return _rests_on(self.literals)


@dataclass(frozen=True)
class OneOf:
    """At least one of the conjunctions is true."""

    ways: tuple[Conjunction, ...]

    @cached_property
    def fields(self) -> frozenset[str]:
        return frozenset().union(*map(_rests_on, self.ways))


def _rests_on(literals: Conjunction) -> frozenset[str]:
    """The fields on which the truth of these hangs; prefix tokens are counted by three."""
    return frozenset(field for one in literals for field in (TOKENS if one.root == PREFIX else (one.root,)))


Clause = Never | OneOf


def implies(condition: Mapping[str, Any], then: Mapping[str, tuple[Any, ...]]) -> Iterable[Never]:
    """Where all of the first holds, each field of the second has one of its values."""
    given = conjunction(condition)
    return (Never((*given, Literal(name, values, False))) for name, values in then.items())


def conjunction(fields: Mapping[str, Any]) -> Conjunction:
    """All of these fields have their value, or one of their values."""
    return tuple(Literal(name, value if isinstance(value, tuple) else (value,)) for name, value in fields.items())


# What `ViTSpec` itself asks for (its `_check`).
SPEC_CLAUSES: tuple[Clause, ...] = tuple(
    clause
    for condition, then in (
        ({"dist_token": True}, {"class_token": (True,)}),
        ({"pos_prefix": PosPrefix.CLS, "pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED)}, {"class_token": (True,)}),
        ({"pool": (Pool.CLS, Pool.CLS_AVG)}, {"class_token": (True,)}),
        ({"pool": Pool.CLS_DIST}, {"dist_token": (True,), "head": (Head.DISTILLED,)}),
        ({"head": Head.DISTILLED}, {"pool": (Pool.CLS_DIST,)}),
        ({"head": Head.PROJECTION}, {"num_classes": (0,), "out_dim": (SOME,)}),
        ({"out_dim": SOME}, {"head": (Head.PROJECTION,)}),
        (
            {"rel_pos": (RelPos.BLOCK, RelPos.SHARED)},
            {"class_token": (True,), "dist_token": (False,), "reg_tokens": (0,)},
        ),
        (
            {"attention": (AttentionKind.DIFF, AttentionKind.DIFF_DUAL)},
            {"rope": (None,), "rel_pos": (RelPos.NONE,), "num_kv_heads": (None,)},
        ),
        ({"pos_embed": PosEmbed.NONE}, {SLOTS: (0,)}),
        ({"pos_prefix": PosPrefix.NONE}, {SLOTS: (0,)}),
        ({"pos_prefix": PosPrefix.CLS, "pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED)}, {SLOTS: (1,)}),
    )
    for clause in implies(condition, then)
)


class Domains:
    """The values that are left of each field."""

    def __init__(self, values: Mapping[str, Values], changed: Iterable[str] | None = None) -> None:
        self.values = dict(values)
        self.changed = set(self.values if changed is None else changed)

    def copy(self) -> "Domains":
        return Domains(self.values, self.changed)

    def options(self, field: str) -> Values:
        """The values that are left; of `rope.kind`, those of the part."""
        if field in self.values:
            return self.values[field]
        root, _, part = field.partition(".")
        if field == PREFIX:
            counts = product(*(self.values[name] for name in TOKENS))
            return frozenset(SOME if SOME in count else sum(count) for count in counts)
        return frozenset(None if value is None else getattr(value, part, SOME) for value in self.values[root])

    def only(self, field: str) -> Any:
        """The one value that is left, `SOME` if it is not counted; None also where several are left."""
        found = self.options(field)
        return next(iter(found)) if len(found) == 1 else None

    def sure(self, field: str) -> bool:
        """Whether one value is left, and known."""
        found = self.options(field)
        return len(found) == 1 and not any(value is SOME or isinstance(value, OpenRope) for value in found)

    def certain(self, literal: Literal) -> bool:
        return literal.among(self.options(literal.field))[0]

    def possible(self, literal: Literal) -> bool:
        return literal.among(self.options(literal.field))[1]

    def demand(self, literal: Literal) -> None:
        """Remove the values with which a literal is not true.

        Raises:
            Contradiction: none is left.
        """
        if not self.possible(literal):
            raise Contradiction(f"{literal.field} cannot be {'' if literal.holds else 'other than '}{_words(literal)}")
        if literal.field == PREFIX:
            return  # which of the tokens it is stays open
        kept: set[Any] = set()
        part = literal.field.partition(".")[2]
        for value in self.values[literal.root]:
            seen = getattr(value, part, SOME if value else None) if part else value
            met = _meets(seen, literal.allowed)
            if met is literal.holds or (met is None and (part or not literal.holds)):
                kept.add(value)
            elif met is None:
                kept.update(one for one in literal.allowed if _covers(seen, one))
        if kept != self.values[literal.root]:
            self.values[literal.root] = frozenset(kept)
            self.changed.add(literal.root)

    def allow(self, field: str, *values: Any) -> None:
        """Keep these values alone; a Contradiction if none is left."""
        self.demand(Literal(field, values))


def _meets(value: Any, allowed: Sequence[Any]) -> bool | None:
    """Whether a value is among those that are allowed; None if it may be, once it is counted."""
    if any(value == one if one is not SOME else bool(value) for one in allowed):
        return True
    return None if any(_covers(value, one) for one in allowed) else False


def _covers(value: Any, one: Any) -> bool:
    """Whether a value that is not counted yet may turn out to be this one."""
    if isinstance(value, OpenRope):
        return one is not None and one is not SOME and (one.kind, one.stored) == value
    return value is SOME and bool(one)


def _words(literal: Literal) -> str:
    return " or ".join(map(str, literal.allowed))


def propagate(domains: Domains, clauses: Sequence[Clause]) -> None:
    """Remove every value that a clause rules out by itself, again and again.

    Raises:
        Contradiction: a field has no value left.
    """
    while domains.changed:
        changed, domains.changed = frozenset(domains.changed), set()
        for clause in clauses:
            if clause.fields & changed or clause.fields & domains.changed:
                _never(domains, clause) if isinstance(clause, Never) else _one_of(domains, clause)


def _never(domains: Domains, clause: Never) -> None:
    unsure: list[Literal] = []
    for literal in clause.literals:
        if not domains.certain(literal):
            unsure.append(literal)
            if len(unsure) > 1:
                return
    if not unsure:
        words = (f"{one.field} {'' if one.holds else 'other than '}{_words(one)}" for one in clause.literals)
        raise Contradiction(f"{' and '.join(words)} cannot be")
    domains.demand(unsure[0].negated())


def _one_of(domains: Domains, clause: OneOf) -> None:
    ways = [way for way in clause.ways if all(domains.possible(literal) for literal in way)]
    if not ways:
        raise Contradiction("none of the ways to read a tensor is left")
    first, *others = ways
    for literal in first:
        same = [one for way in others for one in way if one.field == literal.field and one.holds]
        if len(ways) == 1:
            domains.demand(literal)
        elif literal.holds and _everywhere(literal.field, others):
            domains.demand(Literal(literal.field, (*literal.allowed, *(v for one in same for v in one.allowed))))


def _everywhere(field: str, ways: Sequence[Conjunction]) -> bool:
    return all(any(one.field == field and one.holds for one in way) for way in ways)
