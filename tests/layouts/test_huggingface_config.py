"""What transformers' config.json says where it is not as `save_pretrained` writes it for one tower."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers as hf
from peers.huggingface import CONFIG, compare, saved

import vitzoo
from vitzoo.errors import LayoutError
from vitzoo.layouts.huggingface import config as hf_config

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def changed(path: Path, *left_out: str, **values: Any) -> None:
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in left_out}))


@torch.no_grad()
def test_aimv2_with_its_fields_at_the_top(tmp_path: Path) -> None:
    """As single towers were published: the type of the model of two, a class of the authors, no word of a pool."""
    peer, _, _ = saved("aimv2", tmp_path)
    changed(tmp_path / "config.json", "use_head", model_type="aimv2", architectures=["AIMv2Model"])
    model = vitzoo.create(tmp_path)
    assert model.load_report.layout == "hf_aimv2"
    torch.testing.assert_close(model.forward_features(X), peer(X).last_hidden_state, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_attention_pool_of_aimv2_is_refused_until_it_is_switched_off(tmp_path: Path) -> None:
    peer = tiny.randomise(hf.Aimv2VisionModel(hf.Aimv2VisionConfig(**CONFIG, use_head=True))).eval()
    peer.save_pretrained(tmp_path)
    advice = r"config.json: use_head is True, expected False: the attention pool of AIMv2 .*Set use_head to false"
    with pytest.raises(LayoutError, match=advice):
        vitzoo.create(tmp_path)
    changed(tmp_path / "config.json", "use_head")  # it is the class's own default
    with pytest.raises(LayoutError, match=advice):
        vitzoo.create(tmp_path)
    changed(tmp_path / "config.json", use_head=False)
    model = vitzoo.create(tmp_path)
    torch.testing.assert_close(model.forward_features(X), peer(X).last_hidden_state, rtol=1e-5, atol=1e-5)
    reasons = [row.detail for row in model.load_report.rows if row.action == "dropped"]
    assert reasons
    assert all("no query projection" in why for why in reasons)


def test_the_pool_of_a_whole_aimv2_is_refused() -> None:
    """`aimv2-large-patch14-224-lit` is a model of pictures and texts, whose tower pools."""
    config = {"model_type": "aimv2", "architectures": ["Aimv2Model"], "vision_config": {"hidden_size": 32}}
    with pytest.raises(LayoutError, match="use_head is True"):
        hf_config.spec_fields(config)
    config["vision_config"] = {"hidden_size": 32, "use_head": False}
    assert hf_config.spec_fields(config)["pool"] == "avg"


@pytest.mark.parametrize(
    "name", ["vit", "vit_classifier", "dinov2", "dinov2_classifier", "siglip", "clip", "deit_teacher"]
)
@torch.no_grad()
def test_a_file_without_architectures_says_what_all_classes_have(name: str, tmp_path: Path) -> None:
    peer, _, _ = saved(name, tmp_path)
    changed(tmp_path / "config.json", "architectures")
    compare(peer, vitzoo.create(tmp_path), 32)
