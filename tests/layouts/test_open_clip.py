"""CLIP's image towers against OpenCLIP's real classes, and Perception Encoder against a reference and timm's filter."""

from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_parity import X, built, check, exported, imported, largest, round_trip, saved
from references.perception_encoder import VisionTransformer as PerceptionEncoder
from timm.models.eva import Eva
from timm.models.eva import checkpoint_filter_fn as eva_filter
from timm_peer import randomise
from torch import nn

from vitzoo.errors import LayoutError
from vitzoo.layouts.open_clip import LAYOUTS
from vitzoo.spec import Resample, ViTSpec

BY_NAME = {layout.name: layout for layout in LAYOUTS}
SIZES: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "hidden_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 48,
    "num_classes": 5,
    "patch_bias": False,
    "norm_pre": True,
    "norm_eps": 1e-5,
    "head_bias": False,
}
VISION = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 2, "head_width": 8, "mlp_ratio": 2.0}
TEXT = {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 2, "layers": 1}
ROPE = {"kind": "axial", "theta": 10000.0, "columns_first": True, "offset": 1.0}
BLOCKS = tuple(f"transformer.resblocks.{i}.ln_1.weight" for i in range(2))


def spec(**fields: Any) -> ViTSpec:
    return ViTSpec(**{**SIZES, **fields})


def pe_spec(class_token: bool = True, core: bool = True, **fields: Any) -> ViTSpec:
    own: dict[str, Any] = {"rope": {**ROPE, "offset": float(class_token)}}
    own |= {} if class_token else {"class_token": False, "pos_prefix": "none"}
    own |= {"pool": "map", "pool_prefix": True, "pool_heads": 2, "pool_mlp_dim": 96} if core else {}
    own |= {} if core else {"pool": "none", "final_norm": "none", "layer_scale": 0.1, "num_classes": 0}
    return spec(**{**own, **fields})


def perception_encoder(class_token: bool = True, core: bool = True) -> nn.Module:
    return randomise(PerceptionEncoder(32, 8, 24, 2, 3, 48, 5, class_token, core)).eval()


def clip(quick: bool = False, **vision: Any) -> nn.Module:
    model = open_clip.CLIP(5, {**VISION, **vision}, TEXT, quick_gelu=quick)
    return randomise(model).eval()


def inside_clip(names: tuple[str, ...]) -> tuple[str, str]:
    return (f"visual.{names[0]}", f"visual.{names[1]}")


# --- OpenCLIP and OpenAI -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quick", "vision", "fields"),
    [
        (False, {}, {}),
        (True, {}, {"act": "quick_gelu"}),
        (False, {"ls_init_value": 0.1}, {"layer_scale": 0.1}),
        (False, {"no_ln_pre": True, "pool_type": "avg"}, {"norm_pre": False, "pool": "avg"}),
        (False, {"final_ln_after_pool": True}, {"final_norm": "pooled"}),
    ],
)
@torch.no_grad()
def test_open_clip(quick: bool, vision: dict[str, Any], fields: dict[str, Any], tmp_path: Path) -> None:
    """The tower inside a whole checkpoint; what stands beside it is dropped, each tensor with its reason."""
    peer = clip(quick, **vision)
    state, want = saved(tmp_path, peer.state_dict()), spec(**fields)
    check(BY_NAME["open_clip"], want, peer.visual, state, peer.visual(X), inside_clip(BLOCKS))
    _, dropped = imported(BY_NAME["open_clip"], want, state)
    assert dropped.keys() == {key for key in state if not key.startswith("visual.")}


@torch.no_grad()
def test_pitfall_02_quick_gelu_is_not_gelu() -> None:
    """Pitfall 2: the tensors fit either architecture, and the outputs differ."""
    peer = clip(quick=True)
    native, _ = imported(BY_NAME["open_clip"], spec(), peer.state_dict())
    assert largest(built(spec(), native)(X), peer.visual(X)) > 1e-4


@torch.no_grad()
def test_a_projection_has_no_bias() -> None:
    """A head with a bias reads zeros, and is written only while it holds zeros."""
    peer, want = clip(), spec(head_bias=True)
    native, _ = imported(BY_NAME["open_clip"], want, peer.state_dict())
    assert not native["head.fc.bias"].any()
    assert exported(BY_NAME["open_clip"], want, native).keys() == peer.visual.state_dict().keys()
    native["head.fc.bias"][0] = 0.5
    with pytest.raises(LayoutError, match=r"a part of head.fc.bias that has to be zero"):
        exported(BY_NAME["open_clip"], want, native)


@torch.no_grad()
def test_openai_file_in_half_precision() -> None:
    state = {key: t.half() for key, t in clip(quick=True).state_dict().items()}
    state |= {name: torch.tensor(8) for name in ("input_resolution", "context_length", "vocab_size")}
    want = spec(act="quick_gelu")
    native, dropped = imported(BY_NAME["open_clip"], want, state)
    assert {"input_resolution", "context_length", "vocab_size"} <= dropped.keys()
    back = exported(BY_NAME["open_clip"], want, native)
    assert all(t.dtype is torch.float16 and torch.equal(t, state[f"visual.{key}"]) for key, t in back.items())


@pytest.mark.parametrize("projected", [False, True])
@torch.no_grad()
def test_timm_tower(projected: bool, tmp_path: Path) -> None:
    vision = {
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
        "timm_pool": "token",
        "timm_proj": "linear" if projected else "",
        "image_size": 224,
    }
    peer = randomise(open_clip.CLIP(5, vision, TEXT)).eval()
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    sizes = {"img_size": 224, "patch_size": 16, "hidden_dim": 192, "depth": 12, "mlp_dim": 768, "num_classes": 5}
    want = ViTSpec(num_heads=3, head_bias=not projected, **sizes)
    layout = BY_NAME[f"open_clip_timm{'_projected' if projected else ''}"]
    state = saved(tmp_path, peer.state_dict())
    native, _ = imported(layout, want, state)
    expected = peer.visual(x)
    scale = expected.abs().max()
    torch.testing.assert_close(built(want, native)(x) / scale, expected / scale, rtol=1e-5, atol=1e-5)
    back = exported(layout, want, native)
    assert all(torch.equal(tensor, state[f"visual.{key}"]) for key, tensor in back.items())
    peer.visual.load_state_dict(back, strict=True)


# --- Perception Encoder --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("core", [True, False])
@torch.no_grad()
def test_pitfall_07_perception_encoder_and_its_raw_indices(class_token: bool, core: bool, tmp_path: Path) -> None:
    peer, want = perception_encoder(class_token, core), pe_spec(class_token, core)
    layout = BY_NAME["pe" if class_token else "pe_no_class"]
    state = saved(tmp_path, peer.state_dict())
    check(layout, want, peer, state, peer(X), (BLOCKS[0], BLOCKS[1]))
    whole = {f"visual.{key}": t for key, t in state.items()} | {"positional_embedding": torch.ones(8, 8)}
    native, dropped = imported(layout, want, whole)
    assert dropped.keys() == {"positional_embedding"}
    # Pitfall 7: indices are taken as they are at any size, and the table is stretched without antialias.
    wide = torch.randn(1, 3, 24, 48, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(built(want, native, Resample.PE)(wide), peer(wide), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_timm_reads_the_same_perception_encoder() -> None:
    peer = perception_encoder()
    judge = Eva(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2.0, num_classes=5, global_pool="map",
        attn_type="rope", use_pre_transformer_norm=True, use_rot_pos_emb=True, ref_feat_shape=(4, 4),
        rope_grid_offset=1.0, rope_grid_indexing="xy", attn_pool_num_heads=2, attn_pool_mlp_ratio=4.0,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    ).eval()  # fmt: skip
    judge.load_state_dict(eva_filter(peer.state_dict(), judge), strict=True)
    native, _ = imported(BY_NAME["pe"], pe_spec(), peer.state_dict())
    torch.testing.assert_close(built(pe_spec(), native)(X), judge(X), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_pitfall_12_what_is_pooled_and_how_it_is_turned() -> None:
    """Pitfalls 10 and 12: each of these has the same tensors and other outputs, and none may be written as PE."""
    peer = perception_encoder()
    for block in peer.transformer.resblocks:
        block.attn.in_proj_weight.mul_(6)  # sharp attention: what turns it shows
    native, _ = imported(BY_NAME["pe"], pe_spec(), peer.state_dict())
    torch.testing.assert_close(built(pe_spec(), native)(X), peer(X), rtol=1e-5, atol=1e-5)
    ropes = ({"pairs": "halves"}, {"columns_first": False}, {"theta": 100.0}, {"offset": 0.0})
    for change in ({"pool_prefix": False}, *({"rope": {**ROPE, **rope}} for rope in ropes)):
        other = pe_spec(**change)
        assert largest(built(other, native)(X), peer(X)) > 1e-4
        with pytest.raises(LayoutError):
            BY_NAME["pe"].bind(other, writing=True)


# --- every layout --------------------------------------------------------------------------------------------------

sizes = st.fixed_dictionaries(
    {
        "depth": st.integers(1, 3),
        "img_size": st.sampled_from([(8, 8), (8, 24), (32, 16)]),
        "hidden_dim": st.sampled_from([24, 36]),
        "num_classes": st.sampled_from([0, 5]),
    }
)
TIMM = ViTSpec(**{key: SIZES[key] for key in list(SIZES)[:7]}, head_bias=True)


@pytest.mark.parametrize(
    ("layout", "one"),
    [
        ("open_clip", spec(layer_scale=0.1)),
        ("pe", pe_spec()),
        ("pe", pe_spec(core=False)),
        ("pe_no_class", pe_spec(class_token=False)),
        *((layout.name, TIMM) for layout in LAYOUTS if "timm" in layout.name and "beit" not in layout.name),
    ],
)
@settings(max_examples=15)
@given(changes=sizes)
def test_import_of_export_is_the_same_bit_for_bit(layout: str, one: ViTSpec, changes: dict[str, Any]) -> None:
    round_trip(BY_NAME[layout], one.replace(**changes))
