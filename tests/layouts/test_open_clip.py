"""CLIP's image towers against OpenCLIP's real classes, and Perception Encoder against a reference and timm's filter."""

from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.parity import X, built, check, exported, imported, largest, round_trip, saved
from peers.perception_encoder import VisionTransformer as PerceptionEncoder
from peers.timm import layout_of, spec_fields
from timm.models.eva import Eva
from timm.models.eva import checkpoint_filter_fn as eva_filter
from torch import nn

from vitzoo.errors import LayoutError
from vitzoo.layouts.open_clip.tables import LAYOUTS
from vitzoo.spec import Resample, ViTSpec

BY_NAME = {layout.name: layout for layout in LAYOUTS}
EMBEDDING = {"head": "projection", "out_dim": 5, "num_classes": 0}
CLIP = {"mlp_dim": 48, "patch_bias": False, "norm_pre": True, "norm_eps": 1e-5, "head_bias": False, **EMBEDDING}
VISION = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 2, "head_width": 8, "mlp_ratio": 2.0}
TEXT = {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 2, "layers": 1}
ROPE = {"kind": "axial", "theta": 10000.0, "columns_first": True, "offset": 1.0}
TIMM_TOWERS = {
    "timm": "vit_base_patch16_224",
    "timm_packed": "vit_giant_patch14_dinov2",
    "timm_eva": "eva_giant_patch14_224",
    "timm_eva_packed": "eva02_tiny_patch14_224",
    "timm_eva_split": "eva02_base_patch14_224",
    "timm_eva_split_packed": "vit_base_patch16_sapiens2",
    "timm_beit": "beit_base_patch16_224",
}
BLOCKS = tuple(f"transformer.resblocks.{i}.ln_1.weight" for i in range(2))


BARE = {"head": "linear", "out_dim": None, "num_classes": 0}


def spec(**fields: Any) -> ViTSpec:
    return tiny.spec(**{**CLIP, **fields})


def pe_spec(class_token: bool = True, core: bool = True, **fields: Any) -> ViTSpec:
    own: dict[str, Any] = {"rope": {**ROPE, "offset": float(class_token)}}
    own |= {} if class_token else {"class_token": False, "pos_prefix": "none"}
    own |= {"pool": "map", "pool_prefix": True, "pool_heads": 2, "pool_mlp_dim": 96} if core else {}
    own |= {} if core else {"pool": "none", "final_norm": "none", "layer_scale": 0.1, **BARE}
    return spec(**{**own, **fields})


def perception_encoder(class_token: bool = True, core: bool = True) -> nn.Module:
    return tiny.randomise(PerceptionEncoder(32, 8, 24, 2, 3, 48, 5, class_token, core)).eval()


def clip(quick: bool = False, **vision: Any) -> nn.Module:
    model = open_clip.CLIP(5, {**VISION, **vision}, TEXT, quick_gelu=quick)
    return tiny.randomise(model).eval()


def inside_clip(names: tuple[str, ...]) -> tuple[str, str]:
    return (f"visual.{names[0]}", f"visual.{names[1]}")


# --- OpenCLIP and OpenAI -------------------------------------------------------------------------------------------


@pytest.mark.proves(
    layout="open_clip", against="open_clip `CLIP`, its own tower", tolerance="1e-5, tensors bit for bit"
)
@pytest.mark.proves(
    claim="torchvision, OpenCLIP", against="open_clip's own class", tolerance="1e-5, tensors bit for bit"
)
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
def test_quick_gelu_is_not_gelu() -> None:
    """The tensors fit either architecture, and the outputs differ."""
    peer = clip(quick=True)
    native, _ = imported(BY_NAME["open_clip"], spec(), peer.state_dict())
    assert largest(built(spec(), native)(X), peer.visual(X)) > 1e-4


@torch.no_grad()
def test_a_projection_has_no_bias() -> None:
    """A head with a bias reads zeros, and is written only while it holds zeros."""
    peer, want = clip(), spec(head_bias=True)
    native, _ = imported(BY_NAME["open_clip"], want, peer.state_dict())
    assert not native["head.proj.bias"].any()
    assert exported(BY_NAME["open_clip"], want, native).keys() == peer.visual.state_dict().keys()
    native["head.proj.bias"][0] = 0.5
    with pytest.raises(LayoutError, match=r"a part of head.proj.bias that has to be zero"):
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


@pytest.mark.proves(
    layout=(
        *("open_clip_timm", "open_clip_timm_projected", "open_clip_timm_packed", "open_clip_timm_packed_projected"),
        *("open_clip_timm_eva", "open_clip_timm_eva_projected"),
        *("open_clip_timm_eva_packed", "open_clip_timm_eva_packed_projected"),
        *("open_clip_timm_eva_split", "open_clip_timm_eva_split_projected"),
        *("open_clip_timm_eva_split_packed", "open_clip_timm_eva_split_packed_projected"),
        *("open_clip_timm_beit", "open_clip_timm_beit_projected"),
    ),
    against="open_clip `CLIP` around a tower of timm, a shrunk architecture of each layout",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("layout", TIMM_TOWERS)
@torch.no_grad()
def test_timm_tower(layout: str, projected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's own class inside open_clip's own class; only the sizes are ours."""
    small = {**tiny.timm_arguments(num_heads=2), "mlp_ratio": 2.0}
    small.pop("num_classes")
    small |= {"num_kv_heads": (2, 1)} if "sapiens" in TIMM_TOWERS[layout] else {}
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **told: create(name, **{**small, **told}))
    vision = {"timm_model_name": TIMM_TOWERS[layout], "timm_model_pretrained": False, "image_size": 32}
    vision |= {"timm_pool": "avg" if "beit" in layout else "token", "timm_proj": "linear" if projected else ""}
    peer = tiny.randomise(open_clip.CLIP(5, vision, TEXT))
    assert layout_of(peer.visual.trunk) == layout
    want = ViTSpec(**{**spec_fields(peer.visual.trunk), **EMBEDDING, "head_bias": not projected})
    name = f"open_clip_{layout}{'_projected' if projected else ''}"
    first, second = (f"visual.trunk.blocks.{i}.norm1.weight" for i in range(2))
    check(BY_NAME[name], want, peer.visual, saved(tmp_path, peer.state_dict()), peer.visual(X), (first, second))


# --- Perception Encoder --------------------------------------------------------------------------------------------


@pytest.mark.proves(
    layout=("pe", "pe_no_class"),
    against="a reference in our words, `peers.perception_encoder`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("core", [True, False])
@torch.no_grad()
def test_perception_encoder_takes_raw_indices_at_any_size(class_token: bool, core: bool, tmp_path: Path) -> None:
    peer, want = perception_encoder(class_token, core), pe_spec(class_token, core)
    layout = BY_NAME["pe" if class_token else "pe_no_class"]
    state = saved(tmp_path, peer.state_dict())
    check(layout, want, peer, state, peer(X), (BLOCKS[0], BLOCKS[1]))
    whole = {f"visual.{key}": t for key, t in state.items()} | {"positional_embedding": torch.ones(8, 8)}
    native, dropped = imported(layout, want, whole)
    assert dropped.keys() == {"positional_embedding"}
    # Indices are taken as they are at any size, and the table is stretched without antialias.
    wide = torch.randn(1, 3, 24, 48, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(built(want, native, Resample.PE)(wide), peer(wide), rtol=1e-5, atol=1e-5)


@pytest.mark.proves(layout="pe", against="timm `Eva`, by timm's filter for the authors' files", tolerance="1e-5")
@pytest.mark.proves(
    claim="DINOv2, DINOv3, PE in their authors' layouts", against="timm's own filters", tolerance="1e-5"
)
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
def test_what_is_pooled_and_how_it_is_turned_shows() -> None:
    """Each of these has the same tensors and other outputs, and none may be written as PE."""
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
    },
    optional={"num_classes": st.just(0)},  # without the projection
)
TIMM = tiny.spec(**EMBEDDING)


@pytest.mark.proves(
    claim="import then export, random small architectures", against="every layout, hypothesis", tolerance="bit for bit"
)
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
