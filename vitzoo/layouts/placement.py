"""Where a model stands in a file: what stands in front of the names of its tensors, and what stands beside it.

A layout's patch kernel is its anchor: the part of a key in front of the kernel's own name is a prefix, however it is
spelled (`model.backbone.`, `module.base_encoder.`, `params/img/`). What stands under the prefix is the model's; what
stands outside of it has to be explained: by a rule of the layout, by what training programs are known to leave beside a
model, or by the caller, who chose the prefix. Nothing else is left out.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from vitzoo.errors import Argument, LayoutError, Part, joined
from vitzoo.files.tensor_file import some
from vitzoo.layouts.leftovers import leftover
from vitzoo.layouts.rules import OUTSIDE, Drop
from vitzoo.spec import Shape

if TYPE_CHECKING:
    from vitzoo.layouts.layout import Layout

# Modules that wrap any module of a model and put their name into the keys, at whatever depth: torch.compile
# (torch/_dynamo/eval_frame.py), FSDP and activation checkpointing (torch/distributed/fsdp, .../checkpoint_wrapper.py).
TRANSPARENT = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

# Where a linear layer stands that a user put in the place of a classifier: there, or in a sequence or module.
REPLACED = re.compile(r"(\.head)?(\.[0-9]+|\.fc|\.linear|\.classifier|\.head)?")

MOST_CHOICES = 6
"""Places that an error names."""


class Several(LayoutError):
    """A file in which a layout's model stands at several places."""


@dataclass(frozen=True)
class Placement:
    """One place in a file where a layout's model may stand."""

    prefix: str
    """What is taken off the names of the model's tensors."""
    names: Mapping[str, str]
    """From the rules' names ("../" before one outside of the scope) to the keys of the file, unknown ones too."""
    left: Mapping[str, str] = field(default_factory=dict)
    """Keys that are no part of the model, each with the reason."""
    strange: tuple[str, ...] = ()
    """Keys outside of the prefix for which no reason is known."""


def placements(layout: "Layout", shapes: Mapping[str, Shape], prefix: str | None = None) -> list[Placement]:
    """Where the model of a file with these tensors may stand, read in `layout`.

    `prefix` is the caller's choice: a place must begin with it, and what does not is left out. Each place is given that
    leaves nothing unexplained; if there is none, each under which the layout knows everything; and else the nearest.

    Raises:
        LayoutError: two keys that stand for one name.
    """
    bare = {key: _bare(key, layout.prefixes) for key in shapes}
    chosen = None if prefix is None else _ended(_bare(prefix, layout.prefixes))
    found = [
        _placed(layout, shapes, bare, place, chosen)
        for place in _places(layout, {name: shapes[key] for key, name in bare.items()})
        if chosen is None or place.startswith(chosen)
    ]
    models = [one for one in found if all(map(layout.knows, one.names))]
    whole = [one for one in models if not one.strange]
    if whole or models or len(found) < 2:
        return whole or models or found
    return [min(found, key=lambda one: (_unexplained(layout, one), len(one.prefix)))]


def view(layout: "Layout", shapes: Mapping[str, Shape], prefix: str | None = None) -> Placement:
    """The one place where the model of a file stands.

    Raises:
        Several: places to choose from.
        LayoutError: none under the caller's prefix.
    """
    found = placements(layout, shapes, prefix)
    if len(found) == 1:
        return found[0]
    if not found:
        raise LayoutError(
            f"no model of layout '{layout.name}' stands behind the prefix '{prefix}'; there is ",
            *choice(one.prefix for one in placements(layout, shapes)),
        )
    names = [one.prefix for one in found]
    raise Several(f"{len(found)} models of layout '{layout.name}' stand in the file; choose one with ", *choice(names))


def choice(prefixes: Iterable[str]) -> list[Part]:
    """The places that a caller may choose; of two that begin alike the shorter, which is right for both."""
    names = set(prefixes)
    shortest = (name for name in names if not any(other != name and name.startswith(other) for other in names))
    return joined((Argument("prefix", name) for name in islice(sorted(shortest), MOST_CHOICES)), " or ")


def stray(layout: "Layout", shapes: Mapping[str, Shape], prefix: str | None = None) -> list[Part]:
    """What stands beside or in the model and no rule explains, with the way to leave it out; else nothing.

    For a file that is this layout's but for a few tensors; of another, it says nothing.
    """
    try:
        found = view(layout, shapes, prefix)
    except LayoutError:
        return []
    unknown = [found.names[name] for name in found.names if not layout.knows(name)]
    repeated = tuple({key.partition("{i}")[0] for key in layout.reads.keys if "{i}" in key})
    if any(name.startswith(repeated) for name in found.names if not layout.knows(name)):
        return []  # a block with other parts is another block, and no model is whole without a part of it
    odd = [*found.strange, *unknown]
    if not odd or 2 * len(odd) >= len(shapes) or not any(name in found.names for name in layout.anchors):
        return []
    behind = f" behind the prefix '{found.prefix}'" if found.prefix else ""
    norms = [key for key in odd if key.endswith("running_mean")]
    kind = f" ({norms[0].rpartition('.')[0]} is a batch norm, whose epsilon no file shows)" if norms else ""
    drop = sorted({_widest(key, shapes.keys() - odd) for key in odd})
    return [
        f"holds a model in layout '{layout.name}'{behind}, and with it {some(odd, 4)}{kind}, which this layout does "
        f"not know; if the model is whole without {'it' if len(odd) == 1 else 'them'}, give ",
        Argument("drop", drop),
    ]


def _widest(key: str, kept: Iterable[str]) -> str:
    """The shortest name with `*` that covers a key and none of those that are kept."""
    starts = (key[: match.end()] for match in re.finditer(r"[./]", key))
    return next((f"{start}*" for start in starts if not any(other.startswith(start) for other in kept)), key)


def _ended(prefix: str) -> str:
    """`model` as well as `model.`, if a caller writes it so."""
    return prefix if not prefix or prefix[-1] in "./_" else f"{prefix}."


def _bare(key: str, prefixes: Iterable[str]) -> str:
    return _without(TRANSPARENT.sub("", key) if "_mod" in key else key, prefixes)


def _without(name: str, prefixes: Iterable[str]) -> str:
    while prefix := next((p for p in prefixes if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name


def _places(layout: "Layout", names: Mapping[str, Shape]) -> list[str]:
    """What stands in front of the layout's patch kernel, the shortest first; an optimiser's copy is none."""
    found = dict[str, None]()
    for name, shape in names.items():
        for anchor in layout.anchors:
            if name.endswith(anchor) and leftover(name, shape) is None:
                place = name.removesuffix(anchor)
                while end := next((p for p in layout.prefixes if place.endswith(p)), None):
                    place = place.removesuffix(end)
                found[place] = None
    scoped = next((scope for scope in layout.scopes if any(name.startswith(scope) for name in names)), "")
    return sorted(found, key=len) or [scoped]


def _placed(
    layout: "Layout", shapes: Mapping[str, Shape], bare: Mapping[str, str], place: str, chosen: str | None
) -> Placement:
    scope = next((scope for scope in sorted(layout.scopes, key=len, reverse=True) if place.endswith(scope)), "")
    parent = place.removesuffix(scope)
    names: dict[str, str] = {}
    left, strange = {}, []
    for key, name in bare.items():
        rule = _rule(layout, name, place, parent, bool(scope))
        if rule is None or not layout.knows(rule):
            reason = _reason(layout, name, shapes[key], place)
            if reason is None and rule is None and chosen is not None and not name.startswith(chosen):
                reason = f"it stands outside of the prefix '{chosen}', which was given"
            if reason is not None:
                left[key] = reason
                continue
        if rule is None:
            strange.append(key)
        elif rule in names:
            raise LayoutError(
                f"{names[rule]} and {key} are one tensor in layout '{layout.name}', under two names; keep one of them"
            )
        else:
            names[rule] = key
    return Placement(place, _one_classifier(layout, names, shapes), left, tuple(strange))


def _rule(layout: "Layout", name: str, place: str, parent: str, scoped: bool) -> str | None:
    """The rules' name of a tensor; None for one outside of the prefix that no rule reads."""
    if name.startswith(place):
        inside = _without(name.removeprefix(place), layout.prefixes)
        outside = f"{OUTSIDE}{inside}"
        return outside if not scoped and layout.outside(outside) else unchunked(inside, layout.chunks)
    outside = f"{OUTSIDE}{name.removeprefix(parent)}"
    return outside if scoped and name.startswith(parent) and layout.outside(outside) else None


def _reason(layout: "Layout", name: str, shape: Shape, place: str) -> str | None:
    """Why a tensor is no part of the model that stands under `place`."""
    if not name.startswith(place):
        drops = [rule for rule in layout.rules if isinstance(rule, Drop) and rule.key.startswith(OUTSIDE)]
        for parent in _parents(place):
            if name.startswith(parent):
                relative = f"{OUTSIDE}{name.removeprefix(parent)}"
                for drop in drops:
                    if drop.covers(relative, shape):
                        return drop.reason
    return leftover(name, shape)


def _parents(place: str) -> Iterator[str]:
    """What a prefix stands in: of `module.teacher.backbone.`, `module.teacher.`, `module.` and the file itself."""
    for end in reversed([0, *(match.end() for match in re.finditer(r"[./]", place[:-1]))]):
        yield place[:end]


def unchunked(name: str, chunks: str) -> str:
    """`blocks.1.7.norm1.weight` is of block 7, which stands in chunk 1."""
    words = name.split(".")
    if words[0] == chunks and len(words) > 2 and words[1].isdigit() and words[2].isdigit():
        del words[1]
    return ".".join(words)


def _one_classifier(layout: "Layout", names: dict[str, str], shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The names, with a linear layer that a user put in the classifier's place under the classifier's own name.

    A sequence of dropout and one linear layer is that layer. One of more layers computes something else, and stays.
    """
    for own, root in layout.classifiers.items():
        inside = [name for name in names if name.startswith(f"{root}.") and not layout.knows(name)]
        modules = {name.rpartition(".")[0] for name in inside}
        if len(modules) != 1 or f"{own}.weight" in names:
            continue
        found = modules.pop()
        linear = len(shapes.get(names.get(f"{found}.weight", ""), ())) == 2
        leaves = {name.removeprefix(f"{found}.") for name in inside} <= {"weight", "bias"}
        if linear and leaves and REPLACED.fullmatch(found.removeprefix(root)):
            moved = {f"{own}{name.removeprefix(found)}": names[name] for name in inside}
            names = {name: key for name, key in names.items() if name not in inside} | moved
    return names


def _unexplained(layout: "Layout", placement: Placement) -> int:
    return len(placement.strange) + sum(not layout.knows(name) for name in placement.names)
