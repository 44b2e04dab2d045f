"""A configuration file as a list of rules between keys of the file and fields of the spec, read in both directions.

The first rule that can say a field, or write a key, does; one that stands after it is for the rest. A rule counts where
the fields that its `when` names have these values. Besides the spec's fields (`rope.kind` for one of a field) a table
may have names of its own, for what a class has and no spec says.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Any

from vitzoo.errors import LayoutError, SpecError, shown
from vitzoo.spec import Rope, ViTSpec
from vitzoo.spec.tensors import SOME, When, admits

Fields = dict[str, Any]
Values = tuple[Any, ...]
PAIRS = frozenset({"img_size", "patch_size", "rope.ref_grid"})
NESTED = "rope"
"""The field that has fields of its own."""


@dataclass(frozen=True)
class Rule:
    """What some keys of a file and some fields of a spec say of each other."""

    keys: tuple[str, ...]
    fields: tuple[str, ...]
    when: When = field(default_factory=dict, kw_only=True)

    def read(self, values: Values, known: Mapping[str, Any]) -> Values:
        """The fields, of the values of the keys and the fields that are known already."""
        raise NotImplementedError

    def write(self, values: Values, known: Mapping[str, Any]) -> Values | None:
        """The values of the keys; None where they cannot say it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Same(Rule):
    """A key whose value is the field's."""

    def read(self, values: Values, known: Mapping[str, Any]) -> Values:
        value = _tuples(values[0])
        return (pair(value) if self.fields[0] in PAIRS and value is not None else value,)

    def write(self, values: Values, known: Mapping[str, Any]) -> Values | None:
        return values


@dataclass(frozen=True)
class Words(Rule):
    """A table of what the keys say together, and what that is. The first row that has it counts, either way."""

    rows: tuple[tuple[Values, Values], ...] = ()

    def read(self, values: Values, known: Mapping[str, Any]) -> Values:
        for said, meant in self.rows:
            if said == values:
                return meant
        several = len(self.keys) > 1
        found = shown(values if several else values[0])
        expected = ", ".join(dict.fromkeys(str(said if several else said[0]) for said, _ in self.rows))
        raise LayoutError(f"{', '.join(self.keys)} is {found}; expected one of {expected}")

    def write(self, values: Values, known: Mapping[str, Any]) -> Values | None:
        fits = (said for said, meant in self.rows if all(map(admits, meant, values)))
        return next(fits, None)


@dataclass(frozen=True)
class Computed(Rule):
    """A key of which the field is computed, with the fields `of`; the way back tries `guesses` until one is right."""

    formula: Callable[..., Any]
    guesses: Callable[..., Iterable[Any]]
    of: tuple[str, ...] = ()

    def read(self, values: Values, known: Mapping[str, Any]) -> Values:
        return (self.formula(values[0], *(known[name] for name in self.of)),)

    def write(self, values: Values, known: Mapping[str, Any]) -> Values | None:
        others = [known[name] for name in self.of]
        right = (guess for guess in self.guesses(values[0], *others) if self.formula(guess, *others) == values[0])
        return next(((guess,) for guess in right), None)


@dataclass(frozen=True)
class Always(Rule):
    """A key that is written with one value; another value is refused when it is read, if there is a `reason` to."""

    value: Any = None
    reason: str = ""

    def read(self, values: Values, known: Mapping[str, Any]) -> Values:
        if self.reason and values[0] != self.value:
            raise LayoutError(f"{self.keys[0]} is {shown(values[0])}, expected {self.value!r}: {self.reason}")
        return ()

    def write(self, values: Values, known: Mapping[str, Any]) -> Values | None:
        return (self.value,)


Rules = tuple[Rule, ...]


def same(**fields: str) -> Rules:
    """Keys, each with the field that it is."""
    return tuple(Same((key,), (name,)) for key, name in fields.items())


def word(key: str, name: str, values: Mapping[Any, Any], **when: Any) -> Words:
    """One key and one field that spell their values differently."""
    return Words((key,), (name,), tuple(((said,), (meant,)) for said, meant in values.items()), when=when)


def words(keys: str, fields: str, *rows: tuple[Values, Values], when: When | None = None) -> Words:
    """Several keys or fields, in one text with spaces."""
    return Words(tuple(keys.split()), tuple(fields.split()), rows, when=when or {})


def ratio(
    key: str, name: str, formula: Callable[..., int], *of: str, whole: bool = False, when: When | None = None
) -> Computed:
    """A key that is about the quotient of the field and the first of the fields `of`; `formula` rounds as the class."""

    def guesses(width: int, dim: int, *others: Any) -> Iterable[Any]:
        if whole:
            return range(1, 33)
        # What is rounded or packed in twos is less than what the ratio gives, or half of it.
        near = (width * factor / dim for factor in (1, 2))
        return (guess for value in near for guess in (value, nextafter(value, inf)))

    return Computed((key,), (name,), formula, guesses, ("hidden_dim", *of), when=when or {})


def _remains(patch: Any, size: Any) -> bool:
    return any(side % length for side, length in zip(pair(size), pair(patch), strict=True))


def remainder(key: str) -> Computed:
    """Whether whole patches, whose size `key` is, leave a rest of the picture. Nothing is written: the sizes say it."""
    return Computed((key,), ("drop_remainder",), _remains, lambda *_: (), ("img_size",))


@dataclass(frozen=True)
class Found:
    """What a file says: fields of the spec and of the table's own, and the keys that each rests on."""

    fields: Mapping[str, Any]
    sources: Mapping[str, frozenset[str]]

    def spec(self) -> Fields:
        """The spec's fields alone."""
        return {name: value for name, value in _nested(self.fields).items() if name in ViTSpec.model_fields}

    def resting_on(self, keys: Iterable[str]) -> frozenset[str]:
        """The fields that rest on no other keys; of the nested one, some of its fields are enough."""
        keys = frozenset(keys)
        sure = {name for name, sources in self.sources.items() if sources <= keys}
        return frozenset(sure | {name.partition(".")[0] for name in sure if "." in name})


def read(rules: Iterable[Rule], keys: Mapping[str, Any], where: str, known: Mapping[str, Any] | None = None) -> Found:
    """What `keys`, of a file called `where`, say; `known` are fields that the class has, whatever its file says.

    Raises:
        LayoutError: a value that no rule has a meaning for.
    """
    fields: Fields = dict(known or {})
    sources: dict[str, frozenset[str]] = dict.fromkeys(fields, frozenset())
    for rule in rules:
        if not all(key in keys for key in rule.keys) or not _counts(rule, fields):
            continue
        if rule.fields and all(name in fields for name in rule.fields):
            continue
        of = rule.of if isinstance(rule, Computed) else ()
        if not all(name in fields for name in of):
            continue
        try:
            values = rule.read(tuple(_tuples(keys[key]) for key in rule.keys), fields)
        except LayoutError as error:
            raise LayoutError(f"{where}: {error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError):
            found = ", ".join(f"{key} {shown(keys[key])}" for key in rule.keys)
            raise LayoutError(f"{where}: {found} cannot be read; mend the file, or move it away") from None
        rests = frozenset(rule.keys).union(*(sources[name] for name in (*rule.when, *of)))
        for name, value in zip(rule.fields, values, strict=True):
            if name not in fields:
                fields[name], sources[name] = value, rests
    return Found(fields, sources)


def write(rules: Iterable[Rule], spec: ViTSpec, own: Mapping[str, Any] | None = None) -> Fields:
    """The keys that say `spec`, and the table's `own` names, so far as they can; see `misread` for what they cannot."""
    fields, keys = {**flat(spec), **(own or {})}, Fields()
    for rule in rules:
        if any(key in keys for key in rule.keys) or not _counts(rule, fields):
            continue
        if not all(name in fields for name in rule.fields):
            continue
        said = rule.write(tuple(fields[name] for name in rule.fields), fields)
        if said is not None:
            keys |= {key: _lists(value) for key, value in zip(rule.keys, said, strict=True)}
    return keys


def misread(spec: ViTSpec, found: Mapping[str, Any], untold: Iterable[str]) -> list[str]:
    """Where what was read is not what `spec` says, in words; fields of `untold` do not matter."""
    told = {name: value for name, value in found.items() if name not in frozenset(untold)}
    try:
        again = spec.replace(**told)
    except SpecError as error:
        return [f"nothing could read it back: {error}"]
    return [
        f"{name} is {getattr(spec, name)}, and would be read as {getattr(again, name)}"
        for name in told
        if getattr(again, name) != getattr(spec, name)
    ]


def flat(spec: ViTSpec) -> Fields:
    """The spec's fields by name, those of the nested one beside it."""
    fields = {name: _tuples(value) for name, value in spec.model_dump(mode="json").items()}
    if (inner := fields[NESTED]) is not None:
        fields |= {f"{NESTED}.{name}": _tuples(value) for name, value in inner.items()}
    return fields


def pair(value: Any) -> tuple[int, int]:
    """Height and width; one length is a square."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _nested(fields: Mapping[str, Any]) -> Fields:
    """The fields of a field in its place; it is left out unless all that it needs is there."""
    inner = {name.partition(".")[2]: value for name, value in fields.items() if "." in name}
    outer = {name: value for name, value in fields.items() if "." not in name and value is not SOME}
    needed = {name for name, info in Rope.model_fields.items() if info.is_required()}
    return outer | ({NESTED: inner} if NESTED not in outer and needed <= inner.keys() else {})


def _counts(rule: Rule, fields: Mapping[str, Any]) -> bool:
    return all(name in fields and admits(allowed, fields[name]) for name, allowed in rule.when.items())


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value
