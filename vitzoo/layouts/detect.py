"""The layouts that read a file, from its names and shapes alone, each with what it leaves of the spec."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import NamedTuple

from vitzoo.errors import Argument, LayoutError, Part
from vitzoo.files.tensor_file import some
from vitzoo.layouts.candidate import Candidate
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.placement import Placement, Several, choice, placements, stray, view
from vitzoo.layouts.rules import either
from vitzoo.layouts.strangers import stranger, turned_kernel
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.spec import Shape
from vitzoo.spec.tensors import Contradiction


def detect(
    shapes: Mapping[str, Shape],
    where: str,
    layouts: Iterable[Layout] = LAYOUTS.values(),
    prefix: str | None = None,
    in_chans: int | None = None,
) -> list[Candidate]:
    """Those of `layouts` that explain every tensor of a file, each with what is left of the spec.

    `prefix` is the caller's choice of a model in the file. `in_chans` is what the caller says of its pictures, where
    a kernel's axes may be in another order.

    Raises:
        LayoutError: no layout explains the file; it names the nearest and what they do not know, or what is missing. Or
            one explains it as several models.
    """
    layouts = list(layouts)
    # Cheap first: without its patch kernel a layout is not there.
    there = [layout for layout in layouts if any(key.endswith(layout.anchors) for key in shapes)]
    seen = [_candidate(layout, shapes, prefix) for layout in there]
    found = [one for one in seen if isinstance(one, Candidate)]
    if several := [one.layout for one in seen if isinstance(one, Unread) and one.several]:
        # A layout that leaves one of the models out, as its program does, is not preferred to those that ask.
        places = choice(one.prefix for layout in several for one in placements(layout, shapes, prefix))
        other: list[Part] = [". Or say whose file it is: ", Argument("layout", "...")] if found else []
        raise LayoutError(f"several models stand in {where}; choose one with ", *places, *other)
    if not found:
        raise LayoutError(*_nothing(shapes, where, layouts, prefix))
    for one in found:
        if wrong := _turned(one, in_chans):
            raise LayoutError(f"{where}: ", *wrong)
    whole = [one for one in found if not one.missing]
    if not whole:
        first = found[0]
        raise LayoutError(f"{where} does not fit layout '{first.layout.name}': {_missing(first)}; take a whole copy")
    return whole


class Unread(NamedTuple):
    """A layout that does not explain a file: the keys that it does not know, or else why."""

    layout: Layout
    keys: list[str]
    why: Sequence[Part]
    several: bool = False
    """Whether the file holds several models of the layout."""
    refused: bool = False
    """Whether none stands where the caller says, or one stands under two names."""


def _candidate(layout: Layout, shapes: Mapping[str, Shape], prefix: str | None) -> Candidate | Unread:
    try:
        placement = view(layout, shapes, prefix)
    except LayoutError as error:
        several = isinstance(error, Several)
        return Unread(layout, [], error.parts, several, not several)
    if unread := _unread(layout, placement, shapes):
        return Unread(layout, unread, [f"it does not know {some(unread, 3)}"])
    try:
        return Candidate(layout, placement, shapes)
    except Contradiction as error:
        return Unread(layout, [], [str(error)])


def _missing(candidate: Candidate) -> str:
    named = [f"{key} {list(shape)}" for key, shape in candidate.missing.items()]
    return f"missing {len(named)}: {', '.join(named[:4])}{', ...' if named[4:] else ''}"


def _unread(layout: Layout, placement: Placement, shapes: Mapping[str, Shape]) -> list[str]:
    """The keys of the file that no rule of the layout reads or drops."""
    drops = [drop for drop in layout.reads.drops if drop.empty]  # the others are among what it knows
    return [
        key
        for name, key in placement.names.items()
        if not layout.knows(name) and not any(drop.covers(name, shapes[key]) for drop in drops)
    ] + list(placement.strange)


def _turned(candidate: Candidate, in_chans: int | None) -> list[Part]:
    key = next((candidate.placement.names[name] for name in candidate.layout.anchors if name in candidate.shapes), None)
    shape = candidate.shapes[next(name for name in candidate.layout.anchors if name in candidate.shapes)] if key else ()
    return turned_kernel(key, shape, {"in_chans": in_chans}) if key and len(shape) == 4 else []


def _nothing(shapes: Mapping[str, Shape], where: str, layouts: Sequence[Layout], prefix: str | None) -> Iterator[Part]:
    """Why no layout explains a file: what it is, or the two nearest layouts with the difference."""
    if named := stranger(shapes):
        yield f"{where} is in no known layout: {named}"
        return
    near = [one for one in (_candidate(layout, shapes, prefix) for layout in layouts) if isinstance(one, Unread)]
    near.sort(key=lambda one: (one.refused, len(one.keys), -_alike(one.layout, shapes)))
    if near[0].refused:
        yield from (f"{where}: ", *near[0].why)
        return
    for one in near[:2]:
        if one.keys and (beside := stray(one.layout, shapes, prefix)):
            yield from (f"{where} ", *beside)
            return
    words = "; ".join(f"'{one.layout.name}', but {_blamed(one, shapes, prefix)}" for one in near[:2])
    yield f"{where} holds {len(shapes)} tensors in none of the known layouts; the nearest is {words}"


def _blamed(unread: Unread, shapes: Mapping[str, Shape], prefix: str | None) -> str:
    """Why a layout does not explain a file: what always goes together there, if without that it would."""
    layout, own = unread.layout, "".join(map(str, unread.why))
    for rule in layout.implies if not unread.keys else ():
        others = tuple(one for one in layout.implies if one is not rule)
        if isinstance(_candidate(replace(layout, implies=others), shapes, prefix), Candidate):
            given, then = (
                " and ".join(f"{name} {' or '.join(map(str, either(value)))}" for name, value in part.items())
                for part in rule
            )
            return f"its models with {given} have {then}, and this one has not" if given else f"it has {then} alone"
    return own


def _alike(layout: Layout, shapes: Mapping[str, Shape]) -> float:
    """How much the names of a file are like those of a layout, from 0 to 1."""
    names = {re.sub(r"\d+", "{i}", key) for key in shapes}
    own = {re.sub(r"\d+", "{i}", key) for key in layout.reads.keys}
    return SequenceMatcher(None, sorted(own), sorted(names), autojunk=False).ratio() if names else 0.0
