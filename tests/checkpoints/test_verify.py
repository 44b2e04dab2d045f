"""`verify` against the classes of other libraries: all of it is compared, and nothing is not equal."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
import transformers as hf
from peers.huggingface import CLASSES, CONFIG, PEERS
from torch import nn

import vitzoo
from vitzoo import ViT
from vitzoo.checkpoints import verify as verifying
from vitzoo.checkpoints.verify import Verification
from vitzoo.errors import LayoutError, SpecError, WeightsError
from vitzoo.layouts.huggingface.config import KINDS

TEXT = {**CONFIG, "vocab_size": 9, "num_hidden_layers": 1}
PATCHED = {**{name: value for name, value in CONFIG.items() if name != "image_size"}, "num_patches": 16}
DECODER = {f"decoder_{name}": value for name, value in CONFIG.items() if not name.endswith("_size")}
DECODER |= {"decoder_hidden_size": 32, "decoder_intermediate_size": 48}


def both(config: Any, vision: dict[str, Any], **more: Any) -> Any:
    return config(vision_config=vision, text_config=TEXT, **more)


# The classes of which tests/peers has no model yet, each with its configuration.
MORE: dict[str, tuple[Any, Any]] = {
    "masked": (hf.ViTForMaskedImageModeling, hf.ViTConfig(**CONFIG, encoder_stride=8)),
    "mae": (hf.ViTMAEModel, hf.ViTMAEConfig(**CONFIG)),
    "mae_whole": (hf.ViTMAEForPreTraining, hf.ViTMAEConfig(**CONFIG, **DECODER)),
    "siglip_whole": (hf.SiglipModel, both(hf.SiglipConfig, CONFIG)),
    "siglip2_whole": (hf.Siglip2Model, both(hf.Siglip2Config, PATCHED)),
    "siglip2_classifier": (hf.Siglip2ForImageClassification, both(hf.Siglip2Config, PATCHED, **CLASSES)),
    "clip_whole": (hf.CLIPModel, both(hf.CLIPConfig, CONFIG, projection_dim=7)),
    "aimv2_whole": (hf.Aimv2Model, both(hf.Aimv2Config, {**CONFIG, "use_head": False}, projection_dim=32)),
}
ALL = {**{name: (cls, config) for name, (cls, config, _) in PEERS.items()}, **MORE}


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    cls, config = ALL[request.param]
    torch.manual_seed(0)
    tiny.randomise(cls(config), std=0.2).save_pretrained(tmp_path)
    return tmp_path


def test_every_class_that_is_read_is_here() -> None:
    read = {name for kind in KINDS.values() for name in kind.tasks}
    own = {name for name in read if hasattr(hf, name)}  # AIMv2's authors have names of their own for one
    assert own == {cls.__name__ for cls, _ in ALL.values()}


def disturbed(model: ViT, key: str) -> Any:
    """`model` with one tensor of it moved, from its class of its own."""

    def build(*args: Any, **options: Any) -> ViT:
        again = vitzoo.create(args[1], **{name: value for name, value in options.items() if name != "pretrained"})
        with torch.no_grad():
            again.get_parameter(key).add_(
                torch.linspace(0, 1, again.get_parameter(key).numel()).view_as(model.get_parameter(key))
            )
        return again

    return build


@pytest.mark.proves(
    claim="`verify` of a folder that transformers wrote",
    against="every class of transformers that is read; each tensor that is moved is found",
    tolerance="1e-5",
)
@pytest.mark.parametrize("folder", ALL, indirect=True)
def test_all_that_a_folder_holds_is_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = vitzoo.verify(folder, "huggingface")
    assert result.rows
    assert result.equal, str(result)
    model = vitzoo.create(folder)
    wanted = "logits" if model.spec.num_classes else "embedding" if model.spec.out_dim else "tokens"
    assert wanted in {row.output for row in result.rows}
    for key, _ in model.named_parameters():
        monkeypatch.setattr(verifying, "build", disturbed(model, key))
        assert not vitzoo.verify(folder, "huggingface", sizes=[model.spec.img_size]).equal, key


def test_what_is_not_compared_is_said(tmp_path: Path) -> None:
    cls, config = MORE["aimv2_whole"]
    tiny.randomise(cls(config)).save_pretrained(tmp_path)
    said = str(vitzoo.verify(tmp_path, "huggingface"))
    assert "48x48: transformers" in said
    assert "pooled: transformers" in said
    assert "gives nothing that means the same" in said


@pytest.mark.parametrize("num_classes", [0, 5])
@pytest.mark.parametrize("peer", ["timm", "torchvision", "huggingface"])
def test_with_and_without_classes(tmp_path: Path, peer: str, num_classes: int) -> None:
    source = vitzoo.save(tiny.randomise(ViT(tiny.spec(num_classes=num_classes))), tmp_path / "model")
    result = vitzoo.verify(source, peer)
    assert result.equal
    assert {row.output for row in result.rows} >= {"tokens", *(["logits"] if num_classes else [])}


def test_nothing_compared_is_an_error_and_not_equal(tmp_path: Path) -> None:
    source = vitzoo.save(tiny.randomise(ViT(tiny.spec())), tmp_path / "model")
    with pytest.raises(SpecError, match=r"nothing to compare.* 64x64: torchvision .* takes 32x32 alone"):
        vitzoo.verify(source, "torchvision", sizes=[(64, 64)])
    assert not Verification("a", "b", 1e-5, ()).equal


def test_a_failure_of_another_library_is_told_and_no_difference(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = vitzoo.save(tiny.randomise(ViT(tiny.spec())), tmp_path / "model")

    def fails(*args: object, **options: object) -> nn.Module:
        raise RuntimeError("Missing key(s)\nin state_dict")

    monkeypatch.setattr(timm, "create_model", fails)
    result = run("verify", source, "timm")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("vitzoo: timm cannot build its own model of ")
    assert "RuntimeError: Missing key(s) in state_dict" in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.follows("; compare with another checkpoint instead")
def test_tensors_that_the_class_has_no_place_for_are_told(tmp_path: Path) -> None:
    cls, config = ALL["vit"]
    tiny.randomise(cls(config)).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(said | {"model_type": "vit_msn", "architectures": ["ViTMSNModel"]})
    )
    with pytest.raises(WeightsError, match=r"ViTMSNModel does not fit .*pooler"):
        vitzoo.verify(tmp_path, "huggingface")
    assert vitzoo.verify(tmp_path, tmp_path, sizes=[(32, 32)]).equal


def test_a_library_without_a_model_is_told(tmp_path: Path) -> None:
    source = vitzoo.save(tiny.randomise(ViT(tiny.spec())), tmp_path / "model")
    with pytest.raises(LayoutError, match="no model of 'open_clip' is at hand; compare with a checkpoint, or timm or"):
        vitzoo.verify(source, "open_clip")


@pytest.mark.parametrize("name", ["AIMv2Model", "AIMv2VisionModel"])
def test_a_class_that_transformers_never_had_is_run_as_the_one_that_it_has(name: str, tmp_path: Path) -> None:
    """AIMv2's authors published single towers under a type and classes of their own."""
    cls, config = ALL["aimv2"]
    tiny.randomise(cls(config)).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(said | {"model_type": "aimv2", "architectures": [name]}))
    result = vitzoo.verify(tmp_path, "huggingface")
    assert result.equal
    assert result.second.endswith("Aimv2VisionModel")


def test_what_transformers_says_while_it_loads_is_not_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice of the pooler that the class of an encoder draws where the file has none, and that is not compared."""
    level = hf.logging.get_verbosity()
    hf.logging.set_verbosity_warning()
    monkeypatch.setattr("warnings.warn", lambda *args, **options: None)
    folder = vitzoo.save(tiny.randomise(ViT(tiny.spec(num_classes=0))), tmp_path / "folder", layout="huggingface")
    capfd.readouterr()
    assert vitzoo.verify(folder).equal
    assert capfd.readouterr() == ("", "")
    assert hf.logging.get_verbosity() == hf.logging.WARNING
    hf.logging.set_verbosity(level)
