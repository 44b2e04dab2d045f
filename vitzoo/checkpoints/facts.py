"""Facts about a checkpoint, each with where it comes from, and what they leave of the readings of a file.

A fact is either about the file, and removes every reading that has another value; or it is what somebody wants, or what
is usual, and narrows a reading only if the file may have it. Facts of the first kind are taken first, so the order in
which they are given changes nothing. What is usual in the program that a configuration names is the weakest, but where
some readings may have it those that cannot are dropped.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from vitzoo.errors import Argument, Part, SpecError, WeightsError, joined
from vitzoo.layouts.beside import Beside
from vitzoo.layouts.candidate import Candidate
from vitzoo.spec import PosEmbed, ViTSpec
from vitzoo.spec.base import explained
from vitzoo.spec.tensors import SOME, Contradiction

# A caller who gives another value of these wants the weights adapted. Of all else the file has the only one.
ADAPTABLE = frozenset(
    {"num_classes", "in_chans", "img_size", "patch_size", "pool", "head", "out_dim", "drop_path_rate"}
)
# These change how a model trains, not what it computes. (Whether positions are learned or fixed; none shows.)
TRAINING = frozenset({"layer_scale", "drop_path_rate", "pos_embed"})
GIVEN = "was given"
GRID = frozenset({"img_size", "drop_remainder"})
"""What a size of pictures says of a table of positions is settled apart: see `settle`."""


@dataclass(frozen=True)
class Fact:
    """That a field of the spec has a value; `where` says who says so: "given", "in config.json"."""

    name: str
    value: Any
    where: str
    of_file: bool = True
    """Whether it says what the file has, and not what is wanted or usual."""
    usual: bool = False
    """Whether it is what the program has that the configuration beside the file names."""


def facts(given: Mapping[str, Any], beside: Beside, usual: ViTSpec | None) -> list[Fact]:
    """All that is said of a file: by the caller, and by the configuration beside it.

    `usual` is the architecture that the configuration names, of which a file may be a variant.

    Raises:
        SpecError: a value that a field does not take.
    """
    parsed = {name: field_value(name, value) for name, value in given.items()}
    found = [Fact(name, value, GIVEN, name not in ADAPTABLE) for name, value in parsed.items()]
    for name, value in beside.fields.items():
        silent = f"is the default of its class, of which {beside.file} says nothing"
        found.append(Fact(name, field_value(name, value), silent if name in beside.silent else f"was in {beside.file}"))
    weaker = [*beside.usual.items(), *(() if usual is None else usual)]
    found += [Fact(name, field_value(name, value), f"is usual in {beside.file}", False, True) for name, value in weaker]
    return [fact for fact in found if fact.name not in GRID and not (fact.name in TRAINING and _shown(fact))]


def _shown(fact: Fact) -> bool:
    """Whether tensors show all of it that matters."""
    return fact.name != "pos_embed" or not fact.of_file or fact.value is not PosEmbed.NONE


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    about = ViTSpec.model_fields[name]
    kind: Any = Annotated[about.annotation, *about.metadata] if about.metadata else about.annotation
    return TypeAdapter(kind)


def field_value(name: str, value: Any) -> Any:
    """A value as the spec has it: a name as its enum, one length as a square; a SpecError for one it does not take."""
    if isinstance(value, list):
        value = tuple(value)
    try:
        return _adapter(name).validate_python(value)
    except ValidationError as error:
        raise SpecError("; ".join(explained(ViTSpec, error, name))) from None


def narrowed(candidates: Sequence[Candidate], known: Iterable[Fact], where: str) -> list[Candidate]:
    """The readings that are left, each narrowed by the facts.

    Raises:
        WeightsError: none is left; with the facts that the file contradicts, or that its layout does.
    """
    known = list(known)
    ordered = sorted((fact for fact in known if not fact.usual), key=lambda fact: not fact.of_file)
    left = [
        one
        for one in (candidate.copy() for candidate in candidates)
        if all(_taken(one, fact) or not fact.of_file for fact in ordered)
    ]
    if not left:
        raise _contradicted(candidates, [fact for fact in ordered if fact.of_file], where)
    for fact in known:
        if fact.usual:  # the configuration names one program: a reading that cannot be its is none
            left = [one for one in left if _taken(one, fact)] or left
    for one in left:
        one.probe()
    return left


def _taken(candidate: Candidate, fact: Fact) -> bool:
    """Narrow the candidate to a fact; False, and nothing is changed, if it has another value."""
    other = candidate.copy()
    try:
        other.take(fact.name, fact.value)
    except Contradiction:
        return False
    candidate.__dict__ = other.__dict__
    return True


def _contradicted(candidates: Sequence[Candidate], known: Sequence[Fact], where: str) -> WeightsError:
    """What is said of a file and is not so: as the reading sees it that contradicts the fewest facts."""
    wrong = {id(one): [fact for fact in known if not _taken(one.copy(), fact)] for one in candidates}
    nearest = min(candidates, key=lambda one: (not wrong[id(one)], len(wrong[id(one)])))
    untrue = wrong[id(nearest)]
    pairs = [(a, b) for a, b in combinations(known, 2) if a.name == b.name and a.value != b.value]
    if untrue:
        lines = [_in_words(nearest, fact) for fact in untrue]
    elif pairs:
        lines = [f"{a.name} {a.value} {a.where}, and {b.value} {b.where}; one of them is wrong" for a, b in pairs]
    else:
        names = ", ".join(dict.fromkeys(fact.name for fact in known))
        lines = [f"the values of {names} do not go together in layout '{nearest.layout.name}'"]
    blamed = untrue or [fact for pair in pairs for fact in pair] or list(known)
    return WeightsError(f"{where}: {'; '.join(lines)}", *_ways_out(blamed))


def _ways_out(blamed: Sequence[Fact]) -> list[Part]:
    """What to do about facts that are not true of a file."""
    given = dict.fromkeys(fact.name for fact in blamed if fact.where == GIVEN)
    ways: list[list[Part]] = [["leave ", *joined(map(Argument, given)), " out"]] if given else []
    if any(fact.where != GIVEN for fact in blamed):
        ways.append(["mend the configuration beside it, or move it away"])
    return [part for way in ways for part in ("; ", *way)]


def _in_words(candidate: Candidate, fact: Fact) -> str:
    shown = candidate.domains.options(fact.name) if fact.name != "depth" else frozenset({candidate.depth})
    if fact.name == "num_heads" and not candidate.domains.sure("num_heads"):
        rows = f"the {candidate.sizes.get('attn_dim')} rows of the queries"
        return f"{rows} are not divisible by num_heads {fact.value}, which {fact.where}"
    values = " or ".join(sorted(str(value) for value in shown if value is not SOME)) or "other"
    place = (
        "in the tensors" if candidate.layout.domains.get(fact.name) != shown else f"in layout '{candidate.layout.name}'"
    )
    return f"{fact.name} is {values} {place}, and {fact.value} {fact.where}"
