"""Truth is monotone: any true facts give the right reading or an error, and more of them never less.

The budget is `VITZOO_FACTS` examples; more than the suite's few run with `VITZOO_FACTS=20000 pytest tests/checkpoints/
test_facts.py`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitzoo import registry
from vitzoo.checkpoints import settle
from vitzoo.checkpoints.identify import Identified, Told, identify
from vitzoo.checkpoints.reading import function
from vitzoo.errors import LayoutError, SpecError, WeightsError
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.rules import Fixed
from vitzoo.layouts.tables import LAYOUTS
from vitzoo.spec import Activation, Pool, Rope, ViTSpec

BUDGET = int(os.environ.get("VITZOO_FACTS", "120"))
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


def outcome(file: File, facts: Mapping[str, Any], wanted: Any) -> Identified | None:
    facts = dict(facts)
    told = Told(facts.pop("layout", None), img_size=facts.pop("source_img_size", None))
    try:
        return identify(file, facts if wanted is None else {**facts, "img_size": wanted}, told)  # type: ignore[arg-type]
    except (LayoutError, WeightsError):
        return None


def right(found: Identified, layout: Layout, spec: ViTSpec, wanted: Any) -> bool:
    """Whether the model computes what the file's does; a table that was taken for a square was said to be."""
    target = spec if wanted is None else spec.replace(img_size=wanted)
    got = function(found.spec.replace(**found.changes))
    expected = function(target)
    if any(isinstance(rule, Fixed) and "layer_scale" in rule.given for rule in layout.rules):
        got |= {name: expected[name] for name in ("layer_scale", "layer_scale_mlp")}  # one of ones is none
    if any("taken for a square" in line for line in found.because) and wanted is None:
        got |= {name: expected[name] for name in ("img_size", "pos_prefix")}
    placed = spec.pos_embed != "none" or spec.rel_pos != "none"
    same_table = (
        not placed or found.spec.grid == spec.grid or any("taken for a square" in line for line in found.because)
    )
    return got == expected and same_table and found.about.resample in (None, layout.policy(spec))


@settings(max_examples=BUDGET)
@given(files(), st.data())
def test_true_facts_give_the_right_reading_or_an_error_and_more_never_less(
    case: tuple[Layout, ViTSpec], data: st.DataObject
) -> None:
    layout, spec = case
    file = File(spec, layout, data.draw(st.sampled_from(["", "module.", "model.backbone."])))
    true = {name: value for name, value in spec if name not in ("img_size", "drop_remainder", "drop_path_rate")}
    true = {name: value for name, value in true.items() if name not in ("layer_scale", "pos_embed")}
    true |= {"layout": layout.name, "source_img_size": spec.img_size}
    wanted = data.draw(st.sampled_from([None, spec.img_size, (64, 80)]))
    few = st.sets(st.sampled_from([*SHOWN_BY_NONE, "source_img_size"]), max_size=5)
    some = data.draw(st.one_of(few, st.sets(st.sampled_from(sorted(true)))))
    more = some | data.draw(st.sets(st.sampled_from(sorted(true))))
    first = outcome(file, {name: true[name] for name in some}, wanted)
    second = outcome(file, {name: true[name] for name in more}, wanted)
    whole = outcome(file, true, wanted)
    assert whole is not None, "all facts together are not enough"
    for found in (first, second, whole):
        if found is not None:
            assert right(found, layout, spec, wanted), (found.layout.name, found.spec, found.because)
    assert first is None or second is not None, f"{sorted(more - some)} too are true, and it is refused"


def test_the_property_sees_a_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the old preference put back (a reading that is complete wins over one that asks) the same facts lie."""
    spec = TINY.replace(patch_bias=False, norm_pre=True, norm_eps=1e-5, num_classes=0, act="quick_gelu")
    file = File(spec, LAYOUTS["open_clip"], "")
    facts = {"num_heads": 4, "norm_eps": 1e-5, "final_norm": "tokens", "pool": "cls"}
    assert outcome(file, facts, None) is None
    kept = settle._completed
    monkeypatch.setattr(settle, "_completed", lambda *given: (kept(*given)[0], {}))
    found = outcome(file, facts, None)
    assert found is not None
    assert not right(found, LAYOUTS["open_clip"], spec, None)
