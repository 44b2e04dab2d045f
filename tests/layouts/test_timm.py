"""timm's layouts against timm's own classes: a model written by either library is the same model in the other.

The folders are written by timm's `save_for_hf`. The sweep over all of timm's architectures is in
registry/test_against_timm.py; here is one architecture of each kind, and what a file can have wrong without an error.
"""

import json
import re
from copy import deepcopy
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peers.parity import built, exported, imported, round_trip
from peers.timm import layout_of, spec_fields
from safetensors.torch import load_file
from timm.data import resolve_data_config
from timm.layers import resample_abs_pos_embed
from timm.models import save_for_hf
from tiny import randomise
from torch import Tensor, nn

import vitzoo
from vitzoo import ViT
from vitzoo.errors import LayoutError
from vitzoo.layouts.layout import ANY
from vitzoo.layouts.tables import GROUPS, get_layout, layout_for
from vitzoo.layouts.timm.config import config
from vitzoo.layouts.timm.config import spec_fields as config_fields
from vitzoo.layouts.timm.pictures import STEPS
from vitzoo.spec import Preprocessing, ViTSpec

SIZES: dict[str, Any] = {
    "img_size": (32, 48),
    "patch_size": 8,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 5,
}
X = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))

# One of each kind, with what it is there for; the values are arguments that the small sizes need.
KINDS: dict[str, dict[str, Any]] = {
    "vit_base_patch16_224": {},
    "vit_base_patch16_224_miil": {},  # no bias of query, key and value
    "deit_base_distilled_patch16_224": {},
    "deit3_base_patch16_224": {},  # positions without a class slot, layer scale
    "vit_base_patch16_clip_quickgelu_224": {},  # norm before the blocks, no patch bias
    "vit_base_patch14_reg4_dinov2": {},
    "vit_giant_patch14_dinov2": {},  # packed gate and up
    "vit_so150m_patch16_reg4_gap_256": {},  # positions for all prefix tokens
    "vit_base_patch16_siglip_224": {},  # pooled by attention
    "vit_intern300m_patch14_448": {},  # no final norm
    "aimv2_large_patch14_224": {},  # RMS norm, a norm of patches, gate and up apart, no biases
    "vit_base_patch16_rpn_224": {},  # norm after the branch
    "vit_pwee_patch16_reg1_gap_256": {},  # parallel
    "vit_dwee_patch16_reg1_gap_256": {},  # differential attention
    "vit_dpwee_patch16_reg1_gap_256": {},  # parallel and differential
    "eva_giant_patch14_224": {},  # no key bias
    "eva02_tiny_patch14_224": {},  # packed, rotary
    "eva02_base_patch14_224": {},  # split, gate and up apart, norms within
    "eva02_enormous_patch14_clip_224": {},  # norm after the branch
    "beit3_base_patch16_224": {},  # norms within, eps 1e-5
    "vit_base_patch16_dinov3": {},
    "vit_7b_patch16_dinov3": {},  # gated
    "vit_base_patch16_rope_224": {},
    "vit_base_patch16_rope_mixed_ape_224": {},  # learned frequencies
    "vit_medium_patch16_rope_reg1_gap_256": {},
    "vit_pe_core_base_patch16_224": {"attn_pool_num_heads": 4},
    "vit_pe_lang_large_patch14_448": {},
    "vit_base_patch16_sapiens2": {"num_kv_heads": (2, 1)},  # grouped queries, norms of queries and keys
    "beit_base_patch16_224": {},
    "beitv2_base_patch16_224": {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
}


@cache
def _peer(architecture: str, changes: tuple[tuple[str, Any], ...]) -> nn.Module:
    model = timm.create_model(architecture, **{**SIZES, **KINDS.get(architecture, {}), **dict(changes)})
    return randomise(model.eval())


def peer_of(architecture: str, **changes: Any) -> nn.Module:
    return _peer(architecture, tuple(changes.items()))


def data_config(model: Any) -> dict[str, Any]:
    """JSON knows no tuples."""
    told = resolve_data_config(model=model)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}


def preprocessing_of(peer: Any) -> Preprocessing:
    told = data_config(peer)
    return Preprocessing(**{name: told[name] for name in STEPS})


def on_disk(peer: nn.Module, folder: Path) -> dict[str, Tensor]:
    save_for_hf(peer, str(folder), safe_serialization=True)
    return load_file(folder / "model.safetensors")


def outputs(model: Any, x: Tensor = X) -> tuple[Tensor, ...]:
    with torch.no_grad():
        features = model.forward_features(x)
        return features, model.forward_head(features, pre_logits=True), model(x)


def close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def ours(peer: nn.Module, folder: Path, **changes: Any) -> ViT:
    """timm's file as our model, through the table alone."""
    spec = ViTSpec(**{**spec_fields(peer), **changes})
    native, dropped = imported(get_layout(layout_of(peer)), spec, on_disk(peer, folder))
    assert not dropped
    return built(spec, native)


# --- equal to timm, both ways ----------------------------------------------------------------------------------------


@pytest.mark.proves(
    layout=(
        "timm",
        "timm_packed",
        "timm_eva",
        "timm_eva_packed",
        "timm_eva_split",
        "timm_eva_split_packed",
        "timm_beit",
    ),
    against="timm, one architecture of each kind: its folders of `save_for_hf`, and ours by its `create_model`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.parametrize("architecture", KINDS)
def test_the_same_numbers_both_ways(architecture: str, tmp_path: Path) -> None:
    peer = peer_of(architecture)
    layout, expected = layout_of(peer), outputs(peer)
    model = ours(peer, tmp_path / "theirs")
    model.preprocessing = preprocessing_of(peer)
    close(outputs(model), expected)
    assert expected[-1].std() > 0.01

    state, back = peer.state_dict(), exported(get_layout(layout), model.spec, model.state_dict())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key].view(torch.int32), state[key].view(torch.int32)) for key in state)
    assert layout_for("timm", model.spec).name in GROUPS["timm"]

    folder = vitzoo.save(model, tmp_path / "ours", layout=layout)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    close(outputs(theirs), expected)
    assert data_config(theirs) == data_config(model) == {**data_config(peer), "input_size": (3, 32, 48)}

    # A shrunk model of timm is like no entry of the registry: what its config.json does not say has to be given.
    told = {"pool_prefix": False, "pool_heads": None, **spec_fields(peer)}
    for written, known in ((folder, {}), (tmp_path / "theirs", told)):
        again = vitzoo.create(written, **known)
        close(outputs(again), expected)
        assert again.preprocessing == model.preprocessing
        free = {"layer_scale", "pos_prefix"}  # the initial value; what no table shows
        assert {n for n in ViTSpec.model_fields if getattr(again.spec, n) != getattr(model.spec, n)} <= free
        assert again.spec.num_pos_prefix == model.spec.num_pos_prefix


def test_every_layout_of_timm_is_covered() -> None:
    assert {layout_of(peer_of(name)) for name in KINDS} == set(GROUPS["timm"])


def test_the_group_writes_what_timm_reads(tmp_path: Path) -> None:
    """`layout="timm"` takes the table that can hold the model."""
    for architecture in ("vit_base_patch16_224", "vit_base_patch16_dinov3", "beit_base_patch16_224"):
        peer = peer_of(architecture)
        model = ours(peer, tmp_path / f"{architecture}-theirs")
        folder = vitzoo.save(model, tmp_path / architecture, layout="timm")
        close(outputs(timm.create_model(f"local-dir:{folder}", pretrained=True).eval()), outputs(peer))


# --- the control: what a swap of two tensors does to the outputs -----------------------------------------------------

TINY: dict[str, Any] = {**SIZES, "img_size": 16, "embed_dim": 16, "num_classes": 3}
SEEN = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def pair(a: str, b: str, blocks: int = 2) -> set[tuple[str, str]]:
    return {(a.format(i=i), b.format(i=i)) for i in range(blocks)}


KEY_BIASES = {"attn_type": "rope", "use_rot_pos_emb": False, "ref_feat_shape": None}
# Architecture, further arguments, how many pairs of one shape there are, and those of them that nothing can tell apart
# because the network is symmetric in them: 2,690 swaps, of which 12 are not noticed, and each has its reason.
SWAPS: tuple[tuple[str, dict[str, Any], int, set[tuple[str, str]]], ...] = (
    # The logits of two heads are averaged: only the sum of their biases counts.
    ("deit_base_distilled_patch16_224", {}, 114, {("head.bias", "head_dist.bias")}),
    ("deit3_base_patch16_224", {}, 177, set()),
    ("vit_base_patch16_siglip_224", {}, 207, set()),
    ("aimv2_large_patch14_224", {}, 30, set()),
    ("vit_base_patch16_rpn_224", {}, 110, set()),
    # What attention and MLP give is added: only the sum of their output biases counts.
    (
        "vit_pwee_patch16_reg1_gap_256",
        {},
        82,
        pair("blocks.{i}.attn_out_proj.bias", "blocks.{i}.mlp_out_proj.bias"),
    ),
    # Lambda holds q1 * k1 and q2 * k2.
    (
        "vit_dwee_patch16_reg1_gap_256",
        {},
        206,
        pair("blocks.{i}.attn.lambda_q1", "blocks.{i}.attn.lambda_k1")
        | pair("blocks.{i}.attn.lambda_q2", "blocks.{i}.attn.lambda_k2"),
    ),
    (
        "vit_dpwee_patch16_reg1_gap_256",
        {},
        87,
        pair("blocks.{i}.lambda_q1", "blocks.{i}.lambda_k1") | pair("blocks.{i}.lambda_q2", "blocks.{i}.lambda_k2"),
    ),
    ("vit_giant_patch14_dinov2", {"embed_dim": 24}, 177, set()),
    ("eva_giant_patch14_224", {}, 176, set()),
    ("eva02_tiny_patch14_224", {}, 176, set()),
    ("eva02_base_patch14_224", {}, 234, set()),
    # Without rotary embedding a key's bias adds the same to all scores of a query, which softmax does not see.
    ("eva02_base_patch14_224", KEY_BIASES, 273, {("blocks.0.attn.k_proj.bias", "blocks.1.attn.k_proj.bias")}),
    ("vit_base_patch16_sapiens2", {"num_kv_heads": (2, 1)}, 154, set()),
    ("vit_pe_core_base_patch16_224", {"attn_pool_num_heads": 4}, 228, set()),
    ("beit_base_patch16_224", {}, 259, set()),
)


def swaps(state: dict[str, Tensor]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in combinations(state, 2) if state[a].shape == state[b].shape]


@pytest.mark.proves(
    claim="swapping two tensors of one shape is noticed: 2,678 of 2,690 swaps",
    against="timm; the 12 that cannot show are asserted by name",
)
@pytest.mark.parametrize(("architecture", "changes", "count", "symmetric"), SWAPS)
def test_a_swap_of_two_tensors_is_noticed(
    architecture: str, changes: dict[str, Any], count: int, symmetric: set[tuple[str, str]]
) -> None:
    """All pairs of one shape; the tolerance is that of the tests of parity above."""
    peer = peer_of(architecture, **{**TINY, **changes})
    state, spec = peer.state_dict(), ViTSpec(**spec_fields(peer))
    binding = get_layout(layout_of(peer)).bind(spec, writing=True)
    model, (*_, expected) = ViT(spec).eval(), outputs(peer, SEEN)

    def noticed(tensors: dict[str, Tensor]) -> bool:
        model.load_state_dict(binding.import_all(tensors))
        return not torch.allclose(outputs(model, SEEN)[-1], expected, rtol=1e-5, atol=1e-5)

    assert not noticed(state)
    pairs = swaps(state)
    unnoticed = {(a, b) for a, b in pairs if not noticed({**state, a: state[b], b: state[a]})}
    print(f"{architecture}: {len(pairs) - len(unnoticed)} of {len(pairs)} swaps noticed")
    assert (unnoticed, len(pairs)) == (symmetric, count)


# --- import of export is the same, bit for bit -----------------------------------------------------------------------

ROPES: tuple[Any, ...] = (
    None,
    {"kind": "axial", "theta": 100.0, "ref_grid": (3, 2)},
    {"kind": "dinov3", "theta": 100.0, "pairs": "halves"},
    {"kind": "mixed", "theta": 10.0},
)
# What is drawn for a field that a layout holds; one that holds no other value than the default is not drawn.
DRAWN: dict[str, tuple[Any, ...]] = {
    "class_token": (True, False),
    "dist_token": (False, False, True),
    "reg_tokens": (0, 3),
    "pos_embed": ("learned", "fixed", "none"),
    "pos_prefix": ("cls", "none", "all"),
    "patch_norm": (False, True),
    "rope": ROPES,
    "rel_pos": ("none", "block", "shared"),
    "norm": ("layer", "rms"),
    "norm_pre": (False, True),
    "final_norm": ("tokens", "pooled", "none"),
    "layer_scale": (None, 0.1),
    "layer_scale_mlp": (True, False),
    "block": ("pre_norm", "post_norm", "parallel"),
    "attention": ("softmax", "diff", "diff_dual"),
    "num_kv_heads": (None, 1),
    "qkv_bias": ("all", "qv", "none"),
    "qk_norm": (False, True),
    "attn_norm": (False, True),
    "proj_bias": (True, False),
    "mlp_bias": (True, False),
    "mlp": ("plain", "gated"),
    "mlp_norm": (False, True),
    "pool": ("cls", "avg", "map", "none"),
    "pool_heads": (None, 1),
    "pool_mlp_dim": (None, 12),
}


@st.composite
def specs(draw: st.DrawFn, layout: str) -> ViTSpec:
    """Drawn field by field, then mended until the layout can hold it."""
    table = get_layout(layout)
    patch, grid = (draw(st.tuples(st.integers(1, 3), st.integers(1, 4))) for _ in range(2))
    fields = {
        name: draw(
            st.sampled_from([value for value in values if table.holds[name] is ANY or value in table.holds[name]])
        )
        for name, values in DRAWN.items()
        if name in table.holds
    }
    if not fields["class_token"]:
        fields |= {"dist_token": False, "rel_pos": "none"}
        fields |= {name: other for name, other in (("pos_prefix", "none"), ("pool", "avg")) if fields[name] == "cls"}
    if fields.get("reg_tokens") and fields["pos_prefix"] == "cls":
        fields["pos_prefix"] = "all"
    if fields["pool"] == "map" and "pool_heads" in fields:  # Eva's pool takes all tokens in
        fields["pool_prefix"] = True
    if fields.get("dist_token"):
        fields |= {"pool": "cls_dist", "head": "distilled"}
    spec = ViTSpec(
        img_size=(patch[0] * grid[0], patch[1] * grid[1]),
        patch_size=patch,
        in_chans=draw(st.integers(1, 4)),
        hidden_dim=16,
        depth=draw(st.integers(1, 3)),
        num_heads=draw(st.sampled_from((1, 2, 4))),
        mlp_dim=draw(st.sampled_from((8, 14))),
        num_classes=draw(st.sampled_from((0, 5))),
        **fields,
    )
    for _ in range(3):
        if refused := set(table.refusals(spec)):
            assume(refused <= set(ViTSpec.model_fields))
            spec = table.without(spec, refused)
    assume(not table.refusals(spec))
    return spec


@pytest.mark.proves(
    layout=(
        "timm",
        "timm_packed",
        "timm_eva",
        "timm_eva_packed",
        "timm_eva_split",
        "timm_eva_split_packed",
        "timm_beit",
    ),
    against="import of export, random architectures",
    tolerance="bit for bit",
)
@pytest.mark.proves(
    claim="import then export, random small architectures", against="every layout, hypothesis", tolerance="bit for bit"
)
@pytest.mark.parametrize("layout", GROUPS["timm"])
@settings(max_examples=80)
@given(data=st.data())
def test_import_of_export_is_the_same_bit_for_bit(layout: str, data: st.DataObject) -> None:
    round_trip(get_layout(layout), data.draw(specs(layout)))


def test_what_a_class_of_timm_cannot_be_is_refused() -> None:
    spec = ViTSpec(**spec_fields(peer_of("eva02_base_patch14_224")))
    with pytest.raises(LayoutError, match="rel_pos is block, and layout 'timm_eva_split' has rel_pos none"):
        get_layout("timm_eva_split").bind(spec.replace(rel_pos="block", rope=None), writing=True)
    with pytest.raises(LayoutError, match=r"head_dim is 8, .*or choose another layout"):
        get_layout("timm_eva_split").bind(spec.replace(head_dim=8), writing=True)


# --- what goes silently wrong ----------------------------------------------------------------------------------------

SQUARE: dict[str, Any] = {"img_size": 32}
WIDE = torch.randn(1, 3, 16, 64, generator=torch.Generator().manual_seed(3))


def far(a: Tensor, b: Tensor, least: float = 1e-3) -> bool:
    return (a - b).abs().max().item() > least


def test_a_grid_of_as_many_patches_in_another_shape_is_resampled(tmp_path: Path) -> None:
    """4x4 and 2x8 patches are 16 each; and 17 positions are 16 only for who knows that there is a class slot."""
    peer = peer_of("vit_base_patch16_224", **SQUARE)
    model = ours(peer, tmp_path / "theirs")
    folder = vitzoo.save(model, tmp_path / "ours", layout="timm")
    wide = vitzoo.create(folder, img_size=(16, 64), resample="timm")
    rows = {row.tensor: row for row in wide.load_report.rows}
    assert (rows["pos_embed.grid"].action, rows["pos_embed.prefix"].action) == ("resampled", "loaded")
    table = resample_abs_pos_embed(peer.pos_embed, new_size=[2, 8], old_size=[4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(wide.pos_embed.grid.flatten(0, 1), table[0, 1:], rtol=1e-5, atol=1e-6)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=(16, 64)).eval()
    close(outputs(wide, WIDE), outputs(theirs, WIDE))
    counted = {**wide.state_dict(), "pos_embed.grid": model.pos_embed.grid.reshape(2, 8, -1)}
    assert far(outputs(built(wide.spec, counted), WIDE)[-1], outputs(theirs, WIDE)[-1])

    slotless = get_layout("timm").bind(model.spec.replace(pos_prefix="none"))
    with pytest.raises(LayoutError, match=r"shape of pos_embed: expected \[1, 16, 48\], found \[1, 17, 48\]"):
        slotless.import_all(peer.state_dict())


def test_a_picture_of_as_many_patches_in_another_shape_moves_the_table(tmp_path: Path) -> None:
    peer = peer_of("vit_base_patch16_224", **SQUARE, dynamic_img_size=True)
    model = ours(peer, tmp_path)
    close(outputs(model, WIDE), outputs(peer, WIDE))
    with torch.no_grad():
        patches, grid = model.patch_embed(WIDE)
        unmoved = patches + model.pos_embed.grid.flatten(0, 1)
        assert grid == (2, 8)
        assert far(model.embed(WIDE)[0][:, 1:], unmoved)


def test_norm_before_the_pool_is_not_norm_after_it(tmp_path: Path) -> None:
    token, before, after = (
        peer_of("vit_base_patch16_224", **changes)
        for changes in ({}, {"global_pool": "avg", "fc_norm": False}, {"global_pool": "avg"})
    )
    models = [ours(peer, tmp_path / str(number)) for number, peer in enumerate((token, before, after))]
    assert [m.spec.final_norm for m in models] == ["tokens", "tokens", "pooled"]
    for model, peer in zip(models, (token, before, after), strict=True):
        close(outputs(model), outputs(peer))
    with pytest.raises(LayoutError, match=r"missing 2: fc_norm.weight \[48\].*not expected 2: norm.weight \[48\]"):
        get_layout("timm").bind(models[2].spec).import_all(before.state_dict())
    # Another pool does not move the norm, nor lose it.
    pooled = vitzoo.create(vitzoo.save(models[0], tmp_path / "ours", layout="timm"), global_pool="avg")
    before, after = deepcopy(before), deepcopy(after)
    before.load_state_dict(token.state_dict(), strict=True)
    close(outputs(pooled), outputs(before))
    after.load_state_dict(
        {k.replace("norm.", "fc_norm.") if k.startswith("norm.") else k: v for k, v in token.state_dict().items()}
    )
    assert far(outputs(pooled)[-1], outputs(after)[-1])


@pytest.mark.parametrize(
    ("architecture", "changes", "included"),
    [
        ("vit_base_patch16_224", {"global_pool": "map"}, False),
        ("vit_base_patch16_224", {"global_pool": "map", "pool_include_prefix": True}, True),
        ("vit_pe_core_base_patch16_224", {}, True),
    ],
)
def test_whether_the_pool_takes_the_prefix_in(
    architecture: str, changes: dict[str, Any], included: bool, tmp_path: Path
) -> None:
    peer = peer_of(architecture, **changes)
    model = ours(peer, tmp_path / "theirs")
    close(outputs(model), outputs(peer))
    other = built(model.spec.replace(pool_prefix=not included), model.state_dict())
    assert far(outputs(other)[-1], outputs(peer)[-1])
    folder = vitzoo.save(model, tmp_path / "ours", layout=layout_of(peer))
    assert vitzoo.create(folder).spec.pool_prefix is included


def test_dinov3_is_averaged_in_timm_alone(tmp_path: Path) -> None:
    peer = peer_of("vit_base_patch16_dinov3")
    averaged = ours(peer, tmp_path / "theirs")
    token = built(averaged.spec.replace(pool="cls"), averaged.state_dict())
    close(outputs(averaged), outputs(peer))
    assert far(outputs(token)[-1], outputs(peer)[-1])
    for pool, model in (("avg", averaged), ("cls", token)):  # a folder of ours says which
        folder = vitzoo.save(model, tmp_path / pool, layout="timm")
        close(outputs(timm.create_model(f"local-dir:{folder}", pretrained=True).eval()), outputs(model))


@pytest.mark.parametrize("architecture", ["vit_giant_patch14_dinov2", "eva02_tiny_patch14_224"])
def test_packed_layers_are_gate_first(architecture: str, tmp_path: Path) -> None:
    peer = peer_of(architecture)
    model, first = ours(peer, tmp_path), peer.blocks[0].mlp.fc1.weight
    gate, up = model.blocks[0].mlp.gate.weight, model.blocks[0].mlp.up.weight
    assert torch.equal(torch.cat([gate, up]), first)
    native = model.state_dict()
    turned = {**native, "blocks.0.mlp.gate.weight": up, "blocks.0.mlp.up.weight": gate}
    assert {k: v.shape for k, v in turned.items()} == {k: v.shape for k, v in native.items()}
    assert far(outputs(built(model.spec, turned))[-1], outputs(peer)[-1])


@given(
    dim=st.integers(1, 3000), width=st.integers(1, 12000), layout=st.sampled_from(("timm", "timm_packed", "timm_eva"))
)
def test_a_width_survives_timms_ratio(dim: int, width: int, layout: str) -> None:
    """timm's argument is a ratio, of which it takes int(dim * ratio): 4304 of 1152, 2730 of 1024."""
    gated = {"mlp": "gated", "act": "silu"} if layout == "timm_packed" else {}
    spec = ViTSpec(hidden_dim=dim, depth=1, num_heads=1, mlp_dim=width, **gated)
    said = config(spec, layout, Preprocessing())
    packed = 2 if layout == "timm_packed" else 1
    assert int(dim * json.loads(json.dumps(said))["model_args"]["mlp_ratio"]) == packed * width
    assert config_fields(said)["mlp_dim"] == width


def test_preprocessing_follows_the_model_and_its_weights(tmp_path: Path) -> None:
    model = ours(peer_of("vit_base_patch16_224"), tmp_path / "theirs")
    own = Preprocessing(
        mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bilinear", crop_pct=0.7, crop_mode="squash"
    )
    model.preprocessing = own
    folder = vitzoo.save(model, tmp_path / "ours", layout="timm")
    told = data_config(timm.create_model(f"local-dir:{folder}", pretrained=True))
    assert told == {"input_size": (3, 32, 48), **own.model_dump(mode="json"), "mean": own.mean, "std": own.std}
    larger = vitzoo.create(folder, img_size=(64, 40), in_chans=1)
    assert larger.preprocessing == own
    assert vitzoo.preprocess(larger)(torch.zeros(3, 100, 100)).shape == (1, 64, 40)
    assert data_config(larger) == {**told, "input_size": (1, 64, 40)}


def test_no_tensor_is_left_out_or_made_up(tmp_path: Path) -> None:
    peer = peer_of("eva02_base_patch14_224")
    state, model = on_disk(peer, tmp_path), ours(peer, tmp_path)
    again = vitzoo.create(vitzoo.save(model, tmp_path / "ours", layout="timm"))
    assert sorted(row.tensor for row in again.load_report.rows) == sorted(model.state_dict())
    assert again.load_report.counts == {"loaded": len(model.state_dict())}
    binding = get_layout(layout_of(peer)).bind(model.spec)
    for key in state:  # each alone, gone and under another name
        rest = {k: v for k, v in state.items() if k != key}
        with pytest.raises(LayoutError, match=f"missing 1: {re.escape(key)} "):
            binding.import_all(rest)
        with pytest.raises(LayoutError, match=f"missing 1: {re.escape(key)} .*not expected 1: {re.escape(key)}_ "):
            binding.import_all({**rest, f"{key}_": state[key]})


def test_tokens_positions_and_missing_biases_are_not_folded(tmp_path: Path) -> None:
    """The class token and its position stay two tensors, and a key without bias has none after the way back."""
    peer = peer_of("eva_giant_patch14_224")
    state, model = peer.state_dict(), ours(peer, tmp_path)
    native, layout = model.state_dict(), get_layout(layout_of(peer))
    assert torch.equal(native["cls_token"], state["cls_token"][0])
    assert torch.equal(native["pos_embed.prefix"], state["pos_embed"][0, :1])
    query, key, value = native["blocks.1.attn.qkv.bias"].chunk(3)
    assert torch.equal(query, state["blocks.1.attn.q_bias"])
    assert torch.equal(value, state["blocks.1.attn.v_bias"])
    assert not key.any()
    assert not any("k_bias" in name or name.endswith("qkv.bias") for name in exported(layout, model.spec, native))
    key[3] = 0.5
    with pytest.raises(LayoutError, match=r"no place for a part of blocks.1.attn.qkv.bias .* up to 0.5"):
        exported(layout, model.spec, native)


def test_an_activation_that_no_spec_has_is_refused() -> None:
    with pytest.raises(LayoutError, match="act_layer is 'relu'; expected one of gelu, gelu_tanh, quick_gelu, silu"):
        config_fields({"architecture": "vit_base_patch16_224", "model_args": {"act_layer": "relu"}})
