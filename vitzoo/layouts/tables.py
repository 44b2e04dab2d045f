"""The known layouts by name, and the groups of those that belong to one library."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

from vitzoo.errors import LayoutError, shown
from vitzoo.layouts import big_vision, google, meta, moco, openmmlab
from vitzoo.layouts.huggingface import tables as huggingface
from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.open_clip import tables as open_clip
from vitzoo.layouts.rules import same
from vitzoo.layouts.timm import tables as timm
from vitzoo.layouts.torchvision import tables as torchvision
from vitzoo.spec import ViTSpec
from vitzoo.spec.tensors import NAMES

NATIVE = Layout(
    "vitzoo",
    tuple(same(name, name) for name in NAMES),
    holds=dict.fromkeys(ViTSpec.model_fields, ANY),
    origin="docs/registry.md",
)

BEFORE = {"head.proj.weight": "head.fc.weight", "head.proj.bias": "head.fc.bias"}
"""Tensors that the first native format had under another name."""

NATIVES = {1: replace(NATIVE, rules=tuple(same(BEFORE.get(name, name), name) for name in NAMES)), 2: NATIVE}
"""The layout of native files in each format."""

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        NATIVE,
        *timm.LAYOUTS,
        *huggingface.LAYOUTS,
        *torchvision.LAYOUTS,
        *google.LAYOUTS,
        *big_vision.LAYOUTS,
        *meta.LAYOUTS,
        *open_clip.LAYOUTS,
        *openmmlab.LAYOUTS,
        *moco.LAYOUTS,
    )
}

GROUPS: dict[str, tuple[str, ...]] = {
    "timm": (
        "timm",
        "timm_eva",
        "timm_beit",
        "timm_eva_split",
        "timm_packed",
        "timm_eva_packed",
        "timm_eva_split_packed",
    ),
    "huggingface": huggingface.GROUP,
    "google": ("google", "google_linen"),
    "big_vision": ("big_vision", "big_vision_scan", "big_vision_naflex", "big_vision_naflex_scan"),
    "torchvision": ("torchvision", "torchvision_v1"),
    "pe": ("pe", "pe_no_class"),
    open_clip.TRUNKS: tuple(layout.name for layout in open_clip.TIMM_TOWERS),
}
"""Names that stand for the first of these layouts that can hold a model."""


def get_layout(name: str) -> Layout:
    """A layout by its name; LayoutError with the nearest names, or all there are."""
    if not isinstance(name, str) or name not in LAYOUTS:
        close = difflib.get_close_matches(str(name), LAYOUTS)
        programs = dict.fromkeys([*GROUPS, *(one for one in LAYOUTS if "_" not in one)])
        hint = (
            f"did you mean {' or '.join(close)}?" if close else f"give one by its name, such as {', '.join(programs)}"
        )
        raise LayoutError(f"unknown layout {shown(name)}; {hint}")
    return LAYOUTS[name]


def named(name: str) -> list[Layout]:
    """The layout of this name, or those of a group; LayoutError with the names there are."""
    return [get_layout(member) for member in (GROUPS.get(name, (name,)) if isinstance(name, str) else (name,))]


def layout_for(name: str, spec: ViTSpec, drop: Sequence[str] = ()) -> Layout:
    """The layout to write a model in: `name`, or the first of the group `name` that can hold it.

    Raises:
        LayoutError: unknown, or none can hold it; what stands in the way is named for the one that comes closest.
    """
    return min(named(name), key=lambda layout: len(set(layout.refusals(spec)) - set(drop)))
