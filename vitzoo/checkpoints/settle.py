"""Facts are settled: one reading of a file, or an error that asks for what tells the readings apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from vitzoo import registry
from vitzoo.checkpoints.facts import GIVEN, TRAINING, Fact
from vitzoo.checkpoints.reading import Reading, Sizes, completed, function, patches
from vitzoo.errors import Argument, LayoutError, Part, SpecError, WeightsError, joined
from vitzoo.files.tensor_file import some
from vitzoo.layouts.candidate import HEAD, Candidate
from vitzoo.layouts.layout import Layout
from vitzoo.spec import ViTSpec
from vitzoo.spec.tensors import Contradiction

FREE = frozenset({*HEAD, "in_chans", "img_size", "drop_remainder", "drop_path_rate"})
"""What training changes of published weights: those of a file may be like them without it."""


NO_SIZES = Sizes()


@dataclass(frozen=True)
class Said:
    """All that is said of a file."""

    where: str
    facts: Sequence[Fact] = ()
    sizes: Sizes = NO_SIZES
    like: str | None = None
    """A model or weights of the registry whose architecture the file has, as the caller says."""

    @property
    def wishes(self) -> frozenset[str]:
        """The fields that the caller may choose anew, whatever the file has."""
        return frozenset(fact.name for fact in self.facts if not fact.of_file and fact.where == GIVEN)


@dataclass(frozen=True)
class Settled:
    """The readings of a file, which all compute the same, and weights of the registry that are like it."""

    readings: Sequence[Reading]
    layouts: Sequence[Layout]
    """All that may hold such a model, whatever else they may hold."""
    entries: Sequence[str] = ()
    because: tuple[str, ...] = ()


class Match(NamedTuple):
    """Weights of the registry whose architecture a candidate may have, and the candidate narrowed to it."""

    entry: str
    candidate: Candidate


def settle(candidates: Sequence[Candidate], said: Said) -> Settled:
    """The readings that are left, if all compute the same; else those like published weights, if these agree.

    Raises:
        LayoutError: no reading has all of its tensors, or all in shape.
        WeightsError: several are left; with the fields that tell them apart.
    """
    if said.like is not None:
        candidates = _alike(candidates, said)
    candidates = _squared(_of_size(candidates, said))
    whole, asked = _completed(candidates, said)
    matches = _matches(candidates)
    if not asked and _agree(whole, said):
        return Settled(whole, _layouts(candidates, whole), _entries(matches, whole))
    firsts: dict[int, Match] = {}
    for match in matches:  # weights of one architecture are one reading
        firsts.setdefault(id(match.candidate), match)
    likely, _ = _completed([one.candidate for one in firsts.values()], said, [one.entry for one in firsts.values()])
    if _agree(likely, said):
        entries = _entries(matches, likely)
        return Settled(
            likely, _layouts(candidates, likely), entries, (f"as in {some(entries, 3)}, whose tensors are alike",)
        )
    raise _question(candidates, whole, likely, asked, said)


def _alike(candidates: Sequence[Candidate], said: Said) -> list[Candidate]:
    """Those that are like the weights that the caller names, narrowed to what these have where a file is open."""
    assert said.like is not None
    spec = spec_of(said.like)
    found, wrong = [], []
    for candidate in candidates:
        unlike = [name for name in candidate.unlike(spec) if name not in FREE]
        try:
            found += [] if unlike else [candidate.like(spec)]
        except Contradiction as error:
            wrong.append(str(error))
        wrong += [", ".join(_there(candidate, name, spec) for name in unlike)] if unlike else []
    if not found:
        raise WeightsError(
            f"{said.where} is not like {said.like}: it has {min(wrong, key=len)}; name another, or leave ",
            Argument("like"),
            " out",
        )
    return found


def _there(candidate: Candidate, name: str, spec: ViTSpec) -> str:
    own = candidate.depth if name == "depth" else " or ".join(map(str, candidate.domains.options(name)))
    return f"{name} {own} (there {getattr(spec, name)})"


def spec_of(name: str) -> ViTSpec:
    """The architecture of a model or of weights of the registry."""
    found = registry.resolve(name)
    return registry.model_spec(name) if found.tag is None else registry.entry_spec(name)


def _of_size(candidates: Sequence[Candidate], said: Said) -> list[Candidate]:
    """Those whose tables may be for pictures of the size that the file is said to have."""
    size, found = said.sizes.of_file, []
    for candidate in candidates:
        patch = candidate.domains.only("patch_size")
        if size is None or not candidate.has_table or not isinstance(patch, tuple):
            found.append(candidate)
            continue
        one = candidate.copy()
        try:
            one.take_grid(patches(size, patch))
        except Contradiction:
            continue
        found.append(one)
    if not found and size is not None:
        grids = sorted({grid for candidate in candidates for _, grid in candidate.grids()})
        raise WeightsError(
            f"{said.where}: img_size {size[0]}x{size[1]} does not fit its table of positions, "
            f"which may be of {some((f'{rows}x{cols}' for rows, cols in grids), 6)} patches; give as many patches in "
            "pixels as ",
            Argument("source_img_size"),
        )
    return found


def _squared(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those whose table is a square, if one with a class token's usual slot is: that is assumed of all, and is said."""
    if all(one.square(usual=True) is None for one in candidates):
        return candidates
    return [one for one in candidates if len({grid for _, grid in one.grids()}) < 2 or one.square() is not None]


def _completed(
    candidates: Sequence[Candidate], said: Said, entries: Sequence[str] | None = None
) -> tuple[list[Reading], dict[int, list[str]]]:
    """Complete readings, and what is open in the other candidates, by their number.

    Raises:
        LayoutError: none is left, since tensors are missing or out of shape.
    """
    whole, asked, failures = [], {}, []
    for number, candidate in enumerate(candidates):
        found = _complete(candidate, said)
        if isinstance(found, Reading):
            whole.append(replace(found, entry=None if entries is None else entries[number]))
        elif isinstance(found, list):
            asked[number] = found
        else:
            failures.append(found)
    if failures and not whole and not asked and entries is None:
        raise LayoutError(failures[0])
    return whole, asked


def _complete(candidate: Candidate, said: Said) -> Reading | list[str] | str:
    """The candidate's reading; or what is open; or, in words, why it is none."""
    try:
        found = completed(candidate, said.sizes)
        if isinstance(found, list) and (free := said.wishes.intersection(found)):
            candidate = candidate.copy()
            for name in sorted(free):  # whatever the file has, the caller has another instead
                candidate.take(name, min(candidate.domains.options(name), key=str))
            found = completed(candidate, said.sizes)
        if isinstance(found, Reading):
            if wrong := _untrue(found, said.facts):
                return wrong
            candidate.layout.bind(found.spec).check(candidate.shapes, said.where)
    except (Contradiction, LayoutError, SpecError) as error:
        return str(error)
    return found


def _untrue(reading: Reading, facts: Sequence[Fact]) -> str:
    """The facts about the file that a complete reading contradicts, in words; none, if it is a reading."""
    values = dict(reading.spec)
    return "; ".join(
        f"{fact.name} is {values[fact.name]} in the tensors, and {fact.value} {fact.where}"
        for fact in facts
        if fact.of_file and fact.name not in TRAINING and values[fact.name] != fact.value
        if not _says_the_same(reading, fact)
    )


def _says_the_same(reading: Reading, fact: Fact) -> bool:
    try:
        return function(reading.spec.replace(**{fact.name: fact.value})) == reading.function
    except SpecError:
        return False


def _matches(candidates: Sequence[Candidate]) -> list[Match]:
    """Published weights that are stored in a candidate's layout and have, as far as it shows, its architecture."""
    found: list[Match] = []
    for candidate in candidates:
        known: dict[ViTSpec, Candidate | None] = {}
        for name in registry.with_layout(candidate.layout.name):
            fields = registry.record(name).spec
            if any(candidate.sizes.get(size) != fields[size] for size in ("hidden_dim", "mlp_dim")):
                continue
            spec = registry.entry_spec(name)
            if spec not in known:
                known[spec] = _match(candidate, spec)
            if (narrowed := known[spec]) is not None:
                found.append(Match(name, narrowed))
    return [match for match in found if _ends_alike(match)] or found


def _ends_alike(match: Match) -> bool:
    """Whether the file has a last layer if the weights have one: without it a pool may be another."""
    spec = registry.entry_spec(match.entry)
    return bool(spec.num_classes or spec.out_dim) == any(
        name in match.candidate.sizes for name in ("num_classes", "out_dim")
    )


def _match(candidate: Candidate, spec: ViTSpec) -> Candidate | None:
    if set(candidate.unlike(spec)) - FREE:
        return None
    if candidate.sizes.get("attn_dim", spec.attn_dim) != spec.attn_dim:
        return None
    try:
        return candidate.like(spec)
    except Contradiction:
        return None


def _agree(readings: Sequence[Reading], said: Said) -> bool:
    """Whether there are readings, and all compute the same but for what the caller chooses anew."""
    return bool(readings) and not _differing(readings, said)


def _layouts(candidates: Sequence[Candidate], readings: Sequence[Reading]) -> list[Layout]:
    spec = readings[0].spec
    return [candidate.layout for candidate in candidates if not set(candidate.unlike(spec)) - FREE]


def _differing(readings: Sequence[Reading], said: Said) -> list[str]:
    """The fields in which readings compute differently; not those that the caller chooses anew."""
    first, *others = (reading.function for reading in readings)
    return [name for name in first if name not in said.wishes and any(other[name] != first[name] for other in others)]


def _entries(matches: Sequence[Match], readings: Sequence[Reading]) -> list[str]:
    """The matching weights that compute what the readings do, as far as training leaves it; each once."""
    first, names = readings[0].function, dict.fromkeys(reading.candidate.layout.name for reading in readings)
    return list(
        dict.fromkeys(
            match.entry
            for match in matches
            if match.candidate.layout.name in names
            and not {
                name
                for name, value in Reading(match.candidate, registry.entry_spec(match.entry)).function.items()
                if name not in FREE | {"pos_prefix"} and value != first[name]
            }
        )
    )


def _question(
    candidates: Sequence[Candidate],
    whole: Sequence[Reading],
    likely: Sequence[Reading],
    asked: Mapping[int, list[str]],
    said: Said,
) -> WeightsError:
    """What tells the readings that are left apart."""
    layouts = list(dict.fromkeys(candidate.layout.name for candidate in candidates))
    if likely:
        differing = _differing(likely, said)
        values: dict[str, str | None] = {}
        for reading in likely:
            fields = reading.spec.model_dump(mode="json")
            values.setdefault(", ".join(f"{name}={fields[name]}" for name in differing), reading.entry)
        lines = [f"{each} as in {entry}" for each, entry in values.items()]
        return WeightsError(
            f"{said.where} fits several architectures, which differ in {', '.join(differing)}: {some(lines, 4)}. Give ",
            *joined(map(Argument, differing)),
            ", or one of the names as ",
            Argument("like", "..."),
        )
    names = dict.fromkeys(
        [*(name for number in asked for name in asked[number]), *(_differing(whole, said) if whole else ())]
    )
    open_fields = [name for name in ViTSpec.model_fields if name in names and name != "img_size"]
    parts: list[Part] = [f"{said.where} can be read in layout {some(layouts, 3)}"]
    if open_fields:
        parts += ["; what its tensors do not show has to be given: ", *joined(map(Argument, open_fields))]
    if "img_size" in names:
        parts += _ask_size(candidates, said, bool(open_fields))
    if len(layouts) > 1:
        parts += [". Or say whose file it is: ", Argument("layout", "...")]
    return WeightsError(*parts)


def _ask_size(candidates: Sequence[Candidate], said: Said, more: bool) -> list[Part]:
    wanted = said.sizes.wanted
    start = ", and say" if more else ": it does not show"
    if not any(candidate.has_table for candidate in candidates):
        return [f"{start} the size of its pictures, (height, width) in pixels: ", Argument("img_size")]
    grids = sorted({grid for candidate in candidates for _, grid in candidate.grids()})
    words = some((f"{rows}x{cols}" for rows, cols in grids), 6)
    return [
        f"{start} the size of the pictures, (height, width) in pixels, that its table of positions is for, "
        f"of {words} patches: ",
        Argument("source_img_size", list(wanted) if wanted else None),
    ]
