"""What open_clip_config.json says, against models that open_clip builds of it."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import tiny
import torch
from safetensors.torch import save_file

import vitzoo
from vitzoo.errors import LayoutError
from vitzoo.layouts.beside import read_beside
from vitzoo.layouts.open_clip.config import DEFAULTS, FILE, PREPROCESSING_DEFAULTS, WEIGHTS, told

VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 8, "mlp_ratio": 2.0}
TEXT = {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 2, "layers": 1}
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def folder_of(path: Path, weights: str, quick: bool = False, **vision: Any) -> torch.nn.Module:
    model = tiny.randomise(open_clip.CLIP(5, {**VISION, **vision}, TEXT, quick_gelu=quick)).eval()
    path.mkdir(exist_ok=True)
    said = {"embed_dim": 5, "vision_cfg": {**VISION, **vision}, "text_cfg": TEXT, "quick_gelu": quick}
    pictures = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "squash"}
    (path / FILE).write_text(json.dumps({"model_cfg": said, "preprocess_cfg": pictures}))
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    torch.save(state, path / weights) if weights.endswith(".bin") else save_file(state, path / weights)
    return model


@pytest.mark.proves(
    claim="open_clip_config.json: heads, activation, norms, pool, mean and std of a tower",
    against="open_clip `CLIP`, folders and files with its configuration",
    tolerance="1e-5",
)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    ("quick", "vision"),
    [
        (False, {}),
        (True, {"head_width": 16}),
        (False, {"ls_init_value": 0.1}),
        (False, {"no_ln_pre": True, "pool_type": "avg"}),
        (False, {"final_ln_after_pool": True, "act_kwargs": {"approximate": "none"}}),
    ],
)
@torch.no_grad()
def test_a_folder_says_all_of_its_tower(quick: bool, vision: dict[str, Any], weights: str, tmp_path: Path) -> None:
    peer = folder_of(tmp_path, weights, quick, **vision)
    for path in (tmp_path, tmp_path / weights):
        model = vitzoo.create(path)
        torch.testing.assert_close(model(X), peer.encode_image(X), rtol=1e-5, atol=1e-5)
        found = model.preprocessing
        assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert (found.interpolation, found.crop_mode, found.crop_pct) == ("bilinear", "squash", 1.0)
    assert read_beside(tmp_path / weights).file == FILE


@torch.no_grad()
def test_the_configuration_follows_the_weights_it_is_for(tmp_path: Path) -> None:
    """A repository has open_clip's weights and transformers', each with a configuration of its own."""
    folder_of(tmp_path, WEIGHTS[0])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_size": 32}))
    assert read_beside(tmp_path / WEIGHTS[0]).layout == "open_clip"
    assert read_beside(tmp_path / "model.safetensors").layout == "hf_vit"
    (tmp_path / "config.json").write_text(json.dumps({"of": "something else"}))
    assert read_beside(tmp_path / "model.safetensors").layout == "open_clip"


@pytest.mark.parametrize(
    ("vision", "expected"),
    [
        ({"timm_pool": "avg", "timm_proj": "linear"}, {"head": "projection", "out_dim": 5, "head_bias": False}),
        ({"timm_pool": "token", "timm_proj": "linear", "timm_proj_bias": True}, {"pool": "cls", "head_bias": True}),
        ({"timm_pool": "token", "timm_proj": None}, {"head": "projection", "out_dim": 5, "head_bias": True}),
        ({"timm_pool": "avg", "timm_proj": "none"}, {"head": "linear", "out_dim": None, "num_classes": 0}),
    ],
)
@torch.no_grad()
def test_a_tower_of_timm_is_its_entry_point(vision: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    vision = {"timm_model_name": "test_vit", "image_size": 160, **vision}
    peer = folder_of(tmp_path, WEIGHTS[0], **vision)
    beside = read_beside(tmp_path / WEIGHTS[0])
    assert beside.name == "test_vit"
    assert expected.items() <= beside.fields.items()
    x = torch.randn(1, 3, 160, 160)
    torch.testing.assert_close(vitzoo.create(tmp_path)(x), peer.encode_image(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"vision_cfg": {"attentional_pool": True}}, "attentional_pool is True, expected False: it adds tensors"),
        ({"vision_cfg": {"layers": [3, 4, 6, 3]}}, "which is a ResNet"),
        ({"vision_cfg": {"windowed": 7}}, "windowed in vision_cfg is not known"),
        ({"vision_cfg": {"pool_type": "none"}}, "pool_type is 'none'; expected one of tok, avg"),
        ({"vision_cfg": {"timm_model_name": "test_vit", "timm_proj": "mlp"}}, "timm_proj, timm_proj_bias"),
        ({}, "expected model_cfg with embed_dim and vision_cfg"),
    ],
)
def test_what_is_not_read_is_named(model: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=f"{FILE}: .*{message}"):
        told({"model_cfg": {"embed_dim": 5, **model}})
    with pytest.raises(LayoutError, match="resize_mode is 'longest'; expected one of shortest, squash"):
        told({"model_cfg": {"embed_dim": 5, "vision_cfg": {}}, "preprocess_cfg": {"resize_mode": "longest"}})


def test_every_tower_that_open_clip_ships_is_read_or_named() -> None:
    """Their model_cfg is what open_clip_config.json holds."""
    read, refused = [], []
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        try:
            read.append((told({"model_cfg": config}), config))
        except LayoutError as error:
            refused.append(str(error))
    assert all("ResNet" in why or "attentional_pool is True" in why or "'mlp'" in why for why in refused)
    assert len(read) > 100
    for said, config in read:
        assert said.name == config["vision_cfg"].get("timm_model_name")
        assert said.fields.get("out_dim") == (None if said.fields["head"] == "linear" else config["embed_dim"])


def test_defaults_are_those_of_open_clip() -> None:
    from open_clip.model import CLIPVisionCfg
    from open_clip.transform import PreprocessCfg

    theirs = {**vars(CLIPVisionCfg()), "quick_gelu": False, "act_kwargs.approximate": None, "norm_kwargs.eps": 1e-5}
    assert {key: theirs[key] for key in DEFAULTS} == DEFAULTS
    pictures = vars(PreprocessCfg())
    assert {key: list(v) if isinstance(v := pictures[key], tuple) else v for key in PREPROCESSING_DEFAULTS} == (
        PREPROCESSING_DEFAULTS
    )
