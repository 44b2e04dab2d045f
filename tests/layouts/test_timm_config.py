"""What a config.json of timm says, against what timm builds of it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from peers.timm import spec_fields as of_module
from timm.layers import SwiGLUPacked
from timm.models import save_for_hf
from tiny import randomise
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, TimmWrapperModel

import vitzoo
from vitzoo.errors import LayoutError
from vitzoo.layouts.beside import Beside, read_beside
from vitzoo.layouts.timm.config import entry_point, told
from vitzoo.spec import ViTSpec

# What changes no output, or what the tensors show.
FREE = {"layer_scale", "pos_embed", "drop_path_rate"}


def built(architecture: str, **arguments: Any) -> ViTSpec:
    with torch.device("meta"):
        return ViTSpec(**of_module(timm.create_model(architecture, **arguments)))


def said(architecture: str, **arguments: Any) -> ViTSpec:
    found = entry_point(architecture, json.loads(json.dumps(arguments)), "config.json")
    return ViTSpec(**{**found.usual, **found.stated})


def as_timm(spec: ViTSpec) -> ViTSpec:
    """timm counts an embedding's numbers as classes."""
    return spec.replace(head="linear", num_classes=spec.out_dim) if spec.out_dim else spec


def differing(found: ViTSpec, expected: ViTSpec) -> dict[str, tuple[Any, Any]]:
    free = FREE | ({"pos_prefix"} if found.num_pos_prefix == expected.num_pos_prefix else set())
    free |= {"pool_prefix", "pool_heads", "pool_mlp_dim"} if expected.pool != "map" else set()
    return {
        name: (getattr(found, name), getattr(expected, name))
        for name in ViTSpec.model_fields
        if name not in free and getattr(found, name) != getattr(expected, name)
    }


ENTRY_POINTS = {
    "vit_base_patch16_224": (
        {"embed_dim": 64, "num_heads": 4},
        {"global_pool": "avg"},
        {"mlp_ratio": 3.0, "embed_dim": 96},
    ),
    "vit_base_patch16_siglip_224": ({"global_pool": "avg", "fc_norm": False}, {"act_layer": "gelu"}),
    "deit_base_distilled_patch16_224": ({"depth": 3}, {"no_embed_class": True}),
    "deit3_base_patch16_224": ({"no_embed_class": False}, {"reg_tokens": 4}),
    "vit_base_patch14_reg4_dinov2": ({"no_embed_class": False}, {"reg_tokens": 1, "img_size": 224}),
    "vit_giant_patch14_dinov2": ({"embed_dim": 96, "num_heads": 4}, {"mlp_ratio": 4.0}),
    "vit_so150m_patch16_reg4_gap_256": ({"global_pool": "token", "class_token": True}, {"final_norm": False}),
    "aimv2_large_patch14_224": ({"qkv_bias": True}, {"proj_bias": True}, {"embed_norm_layer": ""}),
    "vit_base_patch16_rpn_224": ({"mlp_ratio": 2.5}, {"norm_layer": "rmsnorm"}),
    "vit_pwee_patch16_reg1_gap_256": ({"proj_bias": False}, {"attn_layer": "attn"}),
    "vit_dwee_patch16_reg1_gap_256": ({"proj_bias": False}, {"attn_layer": "attn"}),
    "vit_dpwee_patch16_reg1_gap_256": ({"proj_bias": False},),
    "vit_base_patch16_clip_224": ({"pre_norm": False}, {"norm_layer": "layernorm"}),
    "eva02_tiny_patch14_224": ({"embed_dim": 96}, {"swiglu_mlp": False}, {"global_pool": "token"}),
    "eva_giant_patch14_224": ({"use_rot_pos_emb": True}, {"use_rot_pos_emb": True, "ref_feat_shape": 7}),
    "eva02_base_patch14_224": ({"ref_feat_shape": 12}, {"rope_temperature": 100.0}, {"use_rot_pos_emb": False}),
    "eva02_enormous_patch14_clip_224": ({"qkv_bias": False}, {"use_post_norm": False}),
    "vit_base_patch16_dinov3": ({"global_pool": "token"}, {"rope_temperature": 50.0}, {"num_reg_tokens": 0}),
    "vit_small_plus_patch16_dinov3": ({"embed_dim": 96, "num_heads": 4}, {"swiglu_mlp": False}),
    "vit_base_patch16_rope_mixed_ape_224": ({"rope_type": "cat"}, {"no_embed_class": True}),
    "vit_pe_core_base_patch16_224": ({"global_pool": "avg"}, {"class_token": False}, {"attn_pool_mlp_ratio": 2.0}),
    "beit_base_patch16_224": ({"use_rel_pos_bias": False}, {"global_pool": "token"}, {"qkv_bias": False}),
}
CASES = [(name, changes) for name, several in ENTRY_POINTS.items() for changes in ({}, *several)]


@pytest.mark.proves(
    claim="timm's `model_args`: what an entry point is with them",
    against="timm: the modules that it builds of 21 entry points, each as it is and with other arguments",
)
@pytest.mark.parametrize(
    ("architecture", "arguments"), CASES, ids=lambda value: value if isinstance(value, str) else ",".join(value)
)
def test_an_entry_point_with_arguments_is_what_timm_builds(architecture: str, arguments: dict[str, Any]) -> None:
    expected = built(architecture, **arguments)
    found = said(architecture, **arguments, num_classes=expected.num_classes)
    assert found.output_dim == expected.output_dim
    assert differing(as_timm(found), expected) == {}


SMALL = {"img_size": 48, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 6}


def whole(beside: Beside) -> dict[str, Any]:
    assert not beside.fields.keys() & beside.usual.keys()
    return {**beside.usual, **beside.fields}


def test_a_narrower_model_of_save_for_hf_has_its_ratio(tmp_path: Path) -> None:
    for name, more, width in (("narrow", {}, 256), ("ratio", {"mlp_ratio": 3.0}, 192)):
        peer = timm.create_model("vit_tiny_patch16_224", **SMALL, **more)
        save_for_hf(peer, str(tmp_path / name), model_args={**SMALL, **more})
        beside = read_beside(tmp_path / name / "pytorch_model.bin")
        assert (beside.name, beside.layout, beside.file) == ("vit_tiny_patch16_224", "timm", "config.json")
        assert differing(ViTSpec(**whole(beside)), ViTSpec(**of_module(peer))) == {}
        assert whole(beside)["mlp_dim"] == width
        stated = {"img_size": (48, 48), "hidden_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 6, "pool": "cls"}
        assert stated.items() <= beside.fields.items()


def test_what_json_cannot_name_is_usual_and_not_stated(tmp_path: Path) -> None:
    """UNI2-h, Virchow2 and H0-mini set a packed SwiGLU in code: the entry point alone would build a plain MLP."""
    arguments = {"img_size": 56, "patch_size": 14, "depth": 2, "num_heads": 4, "embed_dim": 48, "mlp_ratio": 5.33334}
    arguments |= {"init_values": 1e-5, "num_classes": 0, "no_embed_class": True, "reg_tokens": 8}
    peer = timm.create_model("vit_giant_patch14_224", mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU, **arguments)
    config = {"architecture": "vit_giant_patch14_224", "global_pool": "token", "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps(config))
    beside = read_beside(tmp_path)
    in_code = {"mlp", "act", "mlp_dim", "norm", "norm_eps", "block", "attention", "mlp_bias", "mlp_out_bias"}
    assert in_code <= beside.usual.keys()
    expected = ViTSpec(**of_module(peer))
    assert set(differing(ViTSpec(**whole(beside)), expected)) == {"mlp", "act", "mlp_dim"}
    by_name = {**config, "model_args": {**arguments, "mlp_layer": "SwiGLUPacked", "act_layer": "silu"}}
    assert differing(ViTSpec(**{**told(by_name).usual, **told(by_name).fields}), expected) == {}
    assert told(by_name).fields["mlp_dim"] == expected.mlp_dim


SHARED: dict[str, list[Any]] = {
    **{"embed_dim": [48, 96], "mlp_ratio": [2.5, 8 / 3], "img_size": [32, [32, 48]], "patch_size": [8, 16]},
    **{"in_chans": [1, 4], "num_classes": [0, 7], "init_values": [1e-4], "class_token": [True]},
    **{"qkv_bias": [True, False], "qk_norm": [True, False], "no_embed_class": [True, False]},
    "global_pool": ["token", "avg", "map", ""],
}
OF_VIT: dict[str, list[Any]] = {
    **{"reg_tokens": [0, 2], "pre_norm": [True, False], "final_norm": [True, False], "fc_norm": [True, False]},
    **{"norm_layer": ["layernorm", "rmsnorm"], "act_layer": ["silu", "quick_gelu"], "pos_embed": ["learn", "none"]},
    **{"proj_bias": [True, False], "scale_attn_norm": [True], "scale_mlp_norm": [True], "attn_layer": ["diff"]},
}
OF_EVA: dict[str, list[Any]] = {
    **{"num_reg_tokens": [0, 2], "rope_type": ["cat", "dinov3"], "rope_temperature": [50.0], "ref_feat_shape": [7]},
    **{"rope_rotate_half": [True, False], "rope_grid_indexing": ["xy", "ij"], "use_abs_pos_emb": [True, False]},
    **{"swiglu_mlp": [True, False], "swiglu_align_to": [0, 8], "scale_mlp": [True, False], "qkv_fused": [True, False]},
    **{"scale_attn_inner": [True], "attn_type": ["eva", "rope"], "use_fc_norm": [True, False]},
    **{"attn_pool_num_heads": [1, 2], "attn_pool_mlp_ratio": [2.0, 3.0]},
}
OF_BEIT: dict[str, list[Any]] = {
    **{"use_rel_pos_bias": [True, False], "use_abs_pos_emb": [True, False], "swiglu_mlp": [True, False]},
    "use_fc_norm": [True, False],
}


@pytest.mark.parametrize("architecture", ENTRY_POINTS)
def test_any_arguments_are_what_timm_builds_or_refused(architecture: str) -> None:
    """Arguments drawn at random, each entry point with its own."""
    with torch.device("meta"):
        kind = type(timm.create_model(architecture, depth=1)).__name__
    every = SHARED | {"Eva": OF_EVA, "Beit": OF_BEIT}.get(kind, OF_VIT)
    choose, compared = random.Random(architecture), 0
    for _ in range(16):
        arguments = {name: choose.choice(every[name]) for name in choose.sample(list(every), choose.randint(0, 4))}
        arguments |= {"depth": 1, **({"num_heads": 3} if "embed_dim" in arguments else {})}
        try:
            expected = built(architecture, **arguments)
        except Exception:
            continue
        try:
            found = said(architecture, **arguments)
        except LayoutError:
            continue
        # An entry point may say where its last norm stands; with another pool tensors show it.
        shown = {"final_norm"} if "global_pool" in arguments else set()
        assert differing(as_timm(found), expected).keys() <= shown, arguments
        compared += 1
    assert compared > 4


def test_pictures_that_timm_pads_are_refused() -> None:
    padded = {"img_size": 56, "dynamic_img_size": True, "dynamic_img_pad": True}
    with pytest.raises(LayoutError, match=r"dynamic_img_pad is True.*padded to whole patches, and no spec does that"):
        said("vit_tiny_patch16_224", **padded)
    assert said("vit_tiny_patch16_224", **{**padded, "img_size": 64}).img_size == (64, 64)


@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("vit_pe_core_tiny_patch16_384", {"mlp_ratio": 2.5}),
        ("vit_pe_spatial_tiny_patch16_512", {}),
        ("vit_base_patch16_siglip_224", {"class_token": True}),
        ("vit_small_patch16_dinov3", {"use_abs_pos_emb": True}),
    ],
)
def test_the_class_of_the_entry_point_tells_layouts_apart(
    architecture: str, more: dict[str, Any], tmp_path: Path
) -> None:
    """Tensors of a narrowed model do not show a rotary embedding, nor is it like any that was published."""
    peer = randomise(timm.create_model(architecture, **{**SMALL, **more}).eval())
    save_for_hf(peer, str(tmp_path), model_args={**SMALL, **more})
    x = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(vitzoo.create(tmp_path).eval()(x), peer(x), rtol=1e-5, atol=1e-5)


def test_an_argument_that_may_change_numbers_is_named() -> None:
    config = {"architecture": "vit_base_patch16_224", "model_args": {"drop_rate": 0.1, "gated_attn": True}}
    with pytest.raises(LayoutError, match=r"timm's argument gated_attn in model_args is not known"):
        told(config)
    for architecture in ("vit_base_patch16_224", "vit_of_somebody_224"):
        with pytest.raises(LayoutError, match=r"global_pool is 'max'; expected one of token, avg, map"):
            told({"architecture": architecture, "model_args": {"global_pool": "max"}})
    assert told({"architecture": "vit_base_patch16_224", "model_args": {"drop_rate": 0.1}}).fields == {
        "dist_token": False
    }


def test_an_entry_point_that_nobody_knows_says_what_every_class_would_mean() -> None:
    said = told({"architecture": "vit_of_somebody_224", "model_args": {"embed_dim": 64, "qkv_bias": True}})
    assert (said.fields, said.usual) == ({"hidden_dim": 64}, {})
    said = told({"architecture": "vit_of_somebody_224", "model_args": {"reg_tokens": 4, "qkv_bias": True}})
    assert said.fields == {"reg_tokens": 4, "qkv_bias": "all"}


@pytest.mark.parametrize("cls", [TimmWrapperModel, TimmWrapperForImageClassification])
def test_transformers_wrapper_says_what_timms_file_says(cls: type, tmp_path: Path) -> None:
    arguments = {name: value for name, value in SMALL.items() if name != "num_classes"}
    config = TimmWrapperConfig(architecture="vit_tiny_patch16_224", model_args=arguments, num_labels=6)
    peer = cls(config)
    peer.save_pretrained(tmp_path)
    beside = read_beside(tmp_path / "model.safetensors")
    assert (beside.name, beside.layout) == ("vit_tiny_patch16_224", "timm")
    assert differing(ViTSpec(**whole(beside)), ViTSpec(**of_module(peer.timm_model))) == {}
