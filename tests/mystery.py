"""Checkpoints of which only names and shapes are there: of every layout, with a spec that it holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from vitzoo import registry
from vitzoo.checkpoints.identify import Identified
from vitzoo.checkpoints.reading import function
from vitzoo.errors import LayoutError, SpecError
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.rules import Fixed
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.spec import Activation, Pool, Rope, ViTSpec

TINY = ViTSpec(img_size=48, patch_size=16, hidden_dim=32, depth=2, num_heads=4, mlp_dim=48, num_classes=5)
GRIDS = ((3, 3), (2, 5), (2, 4), (3, 5), (1, 3), (6, 6))
SHOWN_BY_NONE = (
    "act",
    "block",
    "final_norm",
    "layout",
    "norm_eps",
    "num_heads",
    "pool",
    "pool_prefix",
    "pos_prefix",
    "rope",
)
"""Facts that count most: a few of them alone are where a reading may win that leaves less open."""
# What no tensor shows, with values to try beside the layout's own.
HIDDEN: Mapping[str, tuple[Any, ...]] = {
    "norm_eps": (1e-6, 1e-5, 1e-12),
    "act": tuple(Activation),
    "pool": tuple(Pool),
    "pool_prefix": (False, True),
    "block": ("pre_norm", "post_norm"),
    "final_norm": ("tokens", "pooled", "none"),
    "num_classes": (5, 0),
    "rope": (None, Rope.parse({"kind": "axial", "theta": 100.0}, "rope")),
    "layer_scale": (None, 1e-5),
    "reg_tokens": (0, 2),
    "class_token": (True, False),
    "pos_prefix": ("cls", "none", "all"),
}


class File:
    """A checkpoint of which only names and shapes are there."""

    metadata: Mapping[str, str] = {}
    notes = ()
    left: Mapping[str, str] = {}

    def __init__(self, spec: ViTSpec, layout: Layout, prefix: str) -> None:
        stored = layout.bind(spec, writing=True).stored
        keys = layout.written(stored)
        self.path = Path("somewhere/mystery.pth")
        self.shapes = {f"{prefix}{keys[name]}": shape for name, shape in stored.items()}
        self.dtypes = dict.fromkeys(self.shapes, torch.float32)


def bases() -> dict[str, list[ViTSpec]]:
    """For each layout, tiny models of every kind that the registry has in it; a plain ViT for the others."""
    found: dict[str, list[ViTSpec]] = {}
    for name, layout in LAYOUTS.items():
        for entry in registry.with_layout(name):
            try:
                tiny = shrunk(registry.entry_spec(entry))
            except SpecError:
                continue
            if not layout.refusals(tiny) and tiny not in found.setdefault(name, []):
                found[name].append(tiny)
        if not found.get(name):
            try:
                found[name] = [layout.without(TINY, layout.refusals(TINY))]
            except (LayoutError, SpecError):
                found.pop(name, None)
    return found


def shrunk(spec: ViTSpec) -> ViTSpec:
    heads = None if spec.num_kv_heads is None else 2
    sizes = {"img_size": 48, "patch_size": 16, "hidden_dim": 32, "depth": 2, "num_heads": 4, "mlp_dim": 48}
    more = {"head_dim": None, "num_kv_heads": heads, "reg_tokens": min(spec.reg_tokens, 2), "drop_remainder": False}
    last = {"out_dim": 20} if spec.out_dim else {"num_classes": min(spec.num_classes, 5)}
    pool = {"pool_heads": None, "pool_mlp_dim": None}
    return spec.replace(**sizes, **more, **last, **pool)


BASES = bases()


@st.composite
def files(draw: st.DrawFn) -> tuple[Layout, ViTSpec]:
    """A layout, and a spec that it holds."""
    layout = LAYOUTS[draw(st.sampled_from(sorted(BASES)))]
    spec = draw(st.sampled_from(BASES[layout.name]))
    rows, cols = draw(st.sampled_from(GRIDS))
    changes: list[tuple[str, Any]] = [("img_size", (rows * spec.patch_size[0], cols * spec.patch_size[1]))]
    for name in draw(st.sets(st.sampled_from(sorted(HIDDEN)), max_size=4)):
        changes.append((name, draw(st.sampled_from(HIDDEN[name]))))
    for name, value in changes:
        try:
            changed = spec.replace(**{name: value})
            layout.bind(changed, writing=True)
        except (SpecError, LayoutError):
            continue
        spec = changed
    return layout, spec


def facts_of(layout: Layout, spec: ViTSpec) -> dict[str, Any]:
    """All that is true of such a file and may be said of it, by the names of `create`'s arguments."""
    untold = ("img_size", "drop_remainder", "drop_path_rate", "layer_scale", "pos_embed")
    known = {name: value for name, value in spec if name not in untold}
    return known | {"layout": layout.name, "source_img_size": spec.img_size}


def right(found: Identified, layout: Layout, spec: ViTSpec, wanted: Any) -> bool:
    """Whether the model computes what the file's does; a table that was taken for a square was said to be."""
    target = spec if wanted is None else spec.replace(img_size=wanted)
    got = function(found.spec.replace(**found.changes))
    expected = function(target)
    if any(isinstance(rule, Fixed) and "layer_scale" in rule.given for rule in layout.rules):
        got |= {name: expected[name] for name in ("layer_scale", "layer_scale_mlp")}  # one of ones is none
    squared = any("taken for a square" in line for line in found.because)
    if squared:
        got |= {name: expected[name] for name in ("pos_prefix", *(("img_size",) if wanted is None else ()))}
    placed = spec.pos_embed != "none" or spec.rel_pos != "none"
    same_table = not placed or found.spec.grid == spec.grid or squared
    return got == expected and same_table and found.about.resample in (None, layout.policy(spec))
