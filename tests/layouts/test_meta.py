"""Meta's layouts against references in our words, timm's own classes, and timm's filter for the authors' files."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.dinov2 import DinoVisionTransformer as Dinov2
from peers.dinov3 import DinoVisionTransformer as Dinov3
from peers.parity import X, built, check, exported, imported, largest, round_trip, saved
from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.eva import checkpoint_filter_fn as eva_filter
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn as vit_filter
from tiny import randomise
from torch import Tensor, nn

from vitzoo.errors import LayoutError
from vitzoo.layouts.meta import LAYOUTS
from vitzoo.spec import ViTSpec

BY_NAME = {layout.name: layout for layout in LAYOUTS}
TIMM = tiny.timm_arguments(depth=4)
TIMM.pop("num_classes")
LEARNED_ROPE = {"kind": "dinov3", "theta": 100.0, "pairs": "halves", "stored": True}
HEAD = ("blocks.0.norm1.weight", "blocks.1.norm1.weight")


def spec(**fields: Any) -> ViTSpec:
    return tiny.spec(**{"depth": 4, "num_classes": 0, **fields})


def dinov2_spec(gated: bool = False, registers: int = 0) -> ViTSpec:
    more = {"mlp": "gated", "act": "silu"} if gated else {}
    return spec(layer_scale=1.0, reg_tokens=registers, **more)


def dinov3_spec(gated: bool = False, **fields: Any) -> ViTSpec:
    more = {"mlp": "gated", "act": "silu"} if gated else {}
    own = {"pos_embed": "none", "rope": LEARNED_ROPE, "norm_eps": 1e-5, "qkv_bias": "qv", "layer_scale": 1.0}
    return spec(reg_tokens=2, **{**own, **more, **fields})


def dinov2(gated: bool = False, registers: int = 0, chunks: int = 0) -> nn.Module:
    return randomise(Dinov2(32, 8, 24, 4, 3, 40, gated, registers, chunks)).eval()


@torch.no_grad()
def dinov3(gated: bool = False, local_norm: bool = False) -> nn.Module:
    """Periods rounded to bfloat16, as in the released files; the key's bias holds what the mask hides."""
    peer = randomise(Dinov3(8, 24, 4, 3, 40, gated, 2, local_norm)).eval()
    peer.rope_embed.periods.copy_(peer.rope_embed.periods.bfloat16())
    for block in peer.blocks:
        block.attn.qkv.bias_mask.copy_(torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(24))
    return peer


# --- DINOv2 --------------------------------------------------------------------------------------------------------


@pytest.mark.proves(
    layout="dinov2",
    against="a reference in our words, `peers.dinov2`; timm `VisionTransformer`, by timm's own filter",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    claim="DINOv2, DINOv3, PE in their authors' layouts",
    against="references written from the authors' code",
    tolerance="1e-5",
)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("registers", [0, 3])
@torch.no_grad()
def test_dinov2(gated: bool, registers: int, tmp_path: Path) -> None:
    peer = dinov2(gated, registers)
    state, want = saved(tmp_path, peer.state_dict()), dinov2_spec(gated, registers)
    check(BY_NAME["dinov2"], want, peer, state, peer(X)[:, 0], HEAD, free=("mask_token",))
    native, dropped = imported(BY_NAME["dinov2"], want, state)
    assert dropped == {"mask_token": "stands for hidden patches while pretraining"}
    # A second judge: timm loads the authors' file.
    more = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 80 / 24} if gated else {}
    folded = {"reg_tokens": registers, "no_embed_class": True} if registers else {}
    judge = VisionTransformer(**{**TIMM, **more}, num_classes=0, init_values=1.0, **folded).eval()
    judge.load_state_dict(vit_filter(dict(state), judge), strict=True)
    torch.testing.assert_close(built(want, native)(X), judge(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunks", [1, 2, 4])
@torch.no_grad()
def test_the_teachers_backbone_of_a_dinov2_training_checkpoint_is_the_model(chunks: int, tmp_path: Path) -> None:
    """The teacher's backbone is the model, whatever stands around it."""
    peer, other = dinov2(chunks=chunks), randomise(Dinov2(32, 8, 24, 4, 3, 40, False, 0, chunks), seed=7)
    state = {f"student.backbone.{key}": t for key, t in other.state_dict().items()}
    state |= {f"teacher.backbone.{key}": t for key, t in peer.state_dict().items()}
    state |= {"teacher.dino_head.mlp.0.weight": torch.ones(2), "dino_loss.center": torch.ones(1, 2)}
    native, dropped = imported(BY_NAME["dinov2"], dinov2_spec(), saved(tmp_path, state))
    torch.testing.assert_close(built(dinov2_spec(), native)(X), peer(X)[:, 0], rtol=1e-5, atol=1e-5)
    assert "student" in dropped["student.backbone.cls_token"]
    assert "loss" in dropped["teacher.dino_head.mlp.0.weight"]
    plain = dinov2()
    plain.load_state_dict(exported(BY_NAME["dinov2"], dinov2_spec(), native), strict=True)
    torch.testing.assert_close(plain(X), peer(X), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_halves_of_dinov2s_packed_gate_do_not_change_places() -> None:
    """The halves of w12 swapped change no shape, and the outputs."""
    peer = dinov2(gated=True)
    state = peer.state_dict()
    turned = {key: torch.cat(t.chunk(2)[::-1]) if ".w12." in key else t for key, t in state.items()}
    native, _ = imported(BY_NAME["dinov2"], dinov2_spec(gated=True), turned)
    assert largest(built(dinov2_spec(gated=True), native)(X), peer(X)[:, 0]) > 1e-3


def test_the_activation_follows_from_the_kind_of_mlp() -> None:
    for layout, one in (("dinov2", dinov2_spec()), ("dinov3", dinov3_spec())):
        with pytest.raises(LayoutError, match=r"cannot hold the model's blocks.0.mlp.fc1.weight"):
            BY_NAME[layout].bind(one.replace(act="silu"), writing=True)


# --- DINOv3 --------------------------------------------------------------------------------------------------------


@pytest.mark.proves(
    layout="dinov3", against="a reference in our words, `peers.dinov3`", tolerance="1e-5, tensors bit for bit"
)
@pytest.mark.proves(
    claim="DINOv2, DINOv3, PE in their authors' layouts",
    against="references written from the authors' code",
    tolerance="1e-5",
)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("local_norm", [False, True])
@torch.no_grad()
def test_dinov3(gated: bool, local_norm: bool, tmp_path: Path) -> None:
    peer = dinov3(gated, local_norm)
    expected = peer(X)
    for block in peer.blocks:
        block.attn.qkv.bias[24:48] = 0.0  # what the mask hides is not kept
    torch.testing.assert_close(peer(X), expected)
    state, want = saved(tmp_path, peer.state_dict()), dinov3_spec(gated)
    local = ("local_cls_norm.weight", "local_cls_norm.bias") if local_norm else ()
    model = check(BY_NAME["dinov3"], want, peer, state, expected[:, 0], HEAD, free=("mask_token", *local))
    # Coordinates are normalised, so another size needs nothing else.
    wide = torch.randn(1, 3, 24, 48, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.forward_features(wide), peer(wide), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_dinov3s_mask_hides_the_key_bias(tmp_path: Path) -> None:
    """With rotary embedding a key bias shows, so the mask has to be obeyed; NaN in it is tolerated."""
    peer = dinov3()
    state = saved(tmp_path, peer.state_dict())
    native, _ = imported(BY_NAME["dinov3"], dinov3_spec(), state)
    torch.testing.assert_close(built(dinov3_spec(), native)(X), peer(X)[:, 0], rtol=1e-5, atol=1e-5)
    unmasked = {**native, **{k: state[k] for k in native if k.endswith("qkv.bias")}}
    assert largest(built(dinov3_spec(), unmasked)(X), peer(X)[:, 0]) > 1e-3
    unset = {k: torch.full_like(t, float("nan")) if k.endswith("bias_mask") else t for k, t in state.items()}
    again, _ = imported(BY_NAME["dinov3"], dinov3_spec(), unset)
    assert all(torch.equal(native[key], again[key]) for key in native)
    with pytest.raises(LayoutError, match=r"bias_mask is not what layout 'dinov3' says"):
        imported(BY_NAME["dinov3"], dinov3_spec(), {**state, "blocks.0.attn.qkv.bias_mask": torch.ones(72)})
    with pytest.raises(LayoutError, match=r"a part of blocks.0.attn.qkv.bias that has to be zero"):
        exported(BY_NAME["dinov3"], dinov3_spec(), unmasked)


@torch.no_grad()
def test_dinov3s_stored_periods_are_kept() -> None:
    """Released periods are rounded to bfloat16, and computed ones give other numbers."""
    peer = Dinov3(8, 48, 4, 3, 40, False, 2, False)
    randomise(peer)
    exact = peer.rope_embed.periods.clone()
    peer.rope_embed.periods.copy_(exact.bfloat16())
    for block in peer.blocks:
        block.attn.qkv.bias_mask.copy_(torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(48))
    want = dinov3_spec(hidden_dim=48)
    native, _ = imported(BY_NAME["dinov3"], want, peer.state_dict())
    assert torch.equal(native["rope.periods"], exact.bfloat16().float())
    torch.testing.assert_close(built(want, native)(X), peer(X)[:, 0], rtol=1e-5, atol=1e-5)
    computed = dinov3_spec(hidden_dim=48, rope={**LEARNED_ROPE, "stored": False})
    with pytest.raises(LayoutError, match=r"rope_embed.periods is not what"):
        imported(BY_NAME["dinov3"], computed, peer.state_dict())
    assert torch.equal(
        exported(BY_NAME["dinov3"], computed, {k: t for k, t in native.items() if k != "rope.periods"})[
            "rope_embed.periods"
        ],
        exact,
    )


@pytest.mark.proves(
    layout="dinov3", against="tokens of timm `Eva`, by timm's filter for the authors' files", tolerance="1e-4"
)
@torch.no_grad()
def test_dinov3_has_timms_tokens_and_another_pool() -> None:
    """Timm's file filter agrees on the tokens, but its default pool is another."""
    peer = dinov3()
    peer.rope_embed.periods.copy_(100.0 ** (torch.arange(2) / 2))
    judge = Eva(
        **TIMM, num_classes=0, init_values=1.0, num_reg_tokens=2, use_abs_pos_emb=False, use_rot_pos_emb=True,
        rope_type="dinov3", rope_temperature=100.0, rope_rotate_half=True, qkv_bias=True, qkv_fused=True,
        dynamic_img_size=True, norm_layer=partial(nn.LayerNorm, eps=1e-5), global_pool="avg", use_fc_norm=False,
    ).eval()  # fmt: skip
    judge.load_state_dict(eva_filter(peer.state_dict(), judge), strict=True)
    native, _ = imported(BY_NAME["dinov3"], dinov3_spec(), peer.state_dict())
    model = built(dinov3_spec(), native)
    torch.testing.assert_close(model.forward_features(X), judge.forward_features(X), rtol=1e-4, atol=1e-4)
    assert largest(model(X), judge(X)) > 1e-3
    for change in ({"pairs": "neighbours"}, {"columns_first": True}):
        turned = dinov3_spec(rope={**LEARNED_ROPE, **change})
        assert largest(built(turned, native)(X), peer(X)[:, 0]) > 1e-3
        with pytest.raises(LayoutError, match="layout 'dinov3' has rope"):
            BY_NAME["dinov3"].bind(turned, writing=True)


# --- codes that build on timm's class ------------------------------------------------------------------------------


def of_timm(**more: Any) -> nn.Module:
    return randomise(VisionTransformer(**TIMM, **more)).eval()


@pytest.mark.proves(
    layout=("dino", "mae", "deit", "ijepa"),
    against="timm `VisionTransformer`, `VisionTransformerDistilled`, whose names are the authors'",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.parametrize(
    ("layout", "make", "fields"),
    [
        ("dino", lambda: of_timm(num_classes=0), {}),
        ("dino", lambda: of_timm(num_classes=5), {"num_classes": 5}),
        ("mae", lambda: of_timm(num_classes=0), {"pos_embed": "fixed"}),
        (
            "mae",
            lambda: of_timm(num_classes=5, global_pool="avg", fc_norm=True),
            {"num_classes": 5, "pool": "avg", "final_norm": "pooled"},
        ),
        ("deit", lambda: of_timm(num_classes=5), {"num_classes": 5}),
        (
            "deit",
            lambda: randomise(VisionTransformerDistilled(**TIMM, num_classes=5)).eval(),
            {"num_classes": 5, "dist_token": True, "pos_prefix": "all", "pool": "cls_dist", "head": "distilled"},
        ),
        (
            "ijepa",
            lambda: of_timm(num_classes=0, class_token=False, global_pool="avg", fc_norm=False),
            {"class_token": False, "pos_embed": "fixed", "pos_prefix": "none", "pool": "avg"},
        ),
    ],
)
@torch.no_grad()
def test_layouts_of_timms_class(layout: str, make: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    peer = make()
    check(BY_NAME[layout], spec(**fields), peer, saved(tmp_path, peer.state_dict()), peer(X), HEAD)


@pytest.mark.proves(
    layout="deit3",
    against="timm `VisionTransformer`, by timm's filter for the authors' files",
    tolerance="1e-5, tensors bit for bit",
)
@torch.no_grad()
def test_deit3(tmp_path: Path) -> None:
    """The authors' gamma_1 and gamma_2 are timm's layer scales, by timm's own filter."""
    judge = of_timm(num_classes=5, init_values=1.0, no_embed_class=True)
    state = {
        k.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): t for k, t in judge.state_dict().items()
    }
    loaded = vit_filter(saved(tmp_path, dict(state)), judge, adapt_layer_scale=True)
    assert loaded.keys() == judge.state_dict().keys()
    want = spec(num_classes=5, layer_scale=1.0, pos_prefix="none")
    native, _ = imported(BY_NAME["deit3"], want, state)
    torch.testing.assert_close(built(want, native)(X), judge(X), rtol=1e-5, atol=1e-5)
    back = exported(BY_NAME["deit3"], want, native)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    swapped = {**state, "blocks.0.gamma_1": state["blocks.0.gamma_2"], "blocks.0.gamma_2": state["blocks.0.gamma_1"]}
    assert largest(built(want, imported(BY_NAME["deit3"], want, swapped)[0])(X), judge(X)) > 1e-3


@torch.no_grad()
def test_what_surrounds_a_pretrained_encoder_is_dropped() -> None:
    peer = of_timm(num_classes=0)
    around = {"mask_token": torch.ones(1, 1, 24), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    _, dropped = imported(BY_NAME["mae"], spec(pos_embed="fixed"), {**peer.state_dict(), **around})
    assert dropped.keys() == around.keys()
    teacher = {f"module.backbone.{key}": t for key, t in peer.state_dict().items()}
    native, dropped = imported(BY_NAME["dino"], spec(), {**teacher, "module.head.mlp.0.weight": torch.ones(2)})
    assert dropped == {"module.head.mlp.0.weight": "projection head of the pretraining loss"}
    torch.testing.assert_close(built(spec(), native)(X), peer(X), rtol=1e-5, atol=1e-5)


def test_a_tensor_that_no_rule_knows_is_an_error() -> None:
    state: dict[str, Tensor] = {**dinov2().state_dict(), "cls_norm.weight": torch.ones(24)}
    with pytest.raises(LayoutError, match=r"not expected 1: cls_norm.weight"):
        imported(BY_NAME["dinov2"], dinov2_spec(), state)


sizes = st.fixed_dictionaries(
    {
        "depth": st.integers(1, 3),
        "img_size": st.sampled_from([(8, 8), (8, 24), (32, 16)]),
        "hidden_dim": st.sampled_from([24, 36]),
        "in_chans": st.integers(1, 4),
    }
)


@pytest.mark.proves(
    claim="import then export, random small architectures", against="every layout, hypothesis", tolerance="bit for bit"
)
@pytest.mark.parametrize(
    ("layout", "one"),
    [
        ("dino", spec()),
        ("dinov2", dinov2_spec(registers=4)),
        ("dinov2", dinov2_spec(gated=True)),
        ("dinov3", dinov3_spec()),
        ("dinov3", dinov3_spec(gated=True, qkv_bias="none")),
        ("mae", spec(pos_embed="fixed")),
        ("deit", spec(num_classes=5, dist_token=True, pos_prefix="all", pool="cls_dist", head="distilled")),
        ("deit3", spec(num_classes=5, layer_scale=1.0, pos_prefix="none")),
        ("ijepa", spec(class_token=False, pos_embed="fixed", pos_prefix="none", pool="avg")),
    ],
)
@settings(max_examples=20)
@given(changes=sizes)
def test_import_of_export_is_the_same_bit_for_bit(layout: str, one: ViTSpec, changes: dict[str, Any]) -> None:
    round_trip(BY_NAME[layout], one.replace(**changes))
