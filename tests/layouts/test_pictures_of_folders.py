"""How pictures are prepared, as the folders of transformers and timm say it: pixels and outputs of their own code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
import transformers as hf
from PIL import Image
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

import vitzoo
from vitzoo import ViT, registry
from vitzoo.errors import LayoutError
from vitzoo.layouts.huggingface import processor as hf_processor
from vitzoo.layouts.huggingface.config import KINDS
from vitzoo.layouts.timm import pictures as timm_pictures
from vitzoo.registry.recipes import load_recipe
from vitzoo.spec import About, Preprocessing
from vitzoo.spec.weights import LATER
from vitzoo.train.augment import training_transform

CAT = Path(__file__).parents[2] / "examples" / "cat.png"
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
SIZES |= {"image_size": 56, "patch_size": 14}
CROPPED = {"size": {"shortest_edge": 47}, "do_center_crop": True, "crop_size": {"height": 42, "width": 42}}
MEAN = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}

# name -> (class, its configuration, preprocessor_config.json, what its class has to be told at another size)
FOLDERS: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "dinov2": (
        hf.Dinov2Model,
        hf.Dinov2Config(**SIZES, mlp_ratio=2),
        {"image_processor_type": "BitImageProcessor", **CROPPED, **MEAN},
        {},
    ),
    "dinov3": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**SIZES), {"size": {"height": 42, "width": 28}, **MEAN}, {}),
    "dinov3_cropped": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**SIZES), {**CROPPED, **MEAN, "resample": 3}, {}),
    "vit": (hf.ViTModel, hf.ViTConfig(**SIZES), {"size": 56, **MEAN}, {}),
    "vit_smaller": (hf.ViTModel, hf.ViTConfig(**SIZES), {"size": 28, **MEAN}, {"interpolate_pos_encoding": True}),
    "deit": (hf.DeiTModel, hf.DeiTConfig(**SIZES), {"size": 59, "crop_size": 56}, {}),
    "clip": (
        hf.CLIPVisionModel,
        hf.CLIPVisionConfig(**SIZES),
        {"image_processor_type": "CLIPImageProcessor", **CROPPED},
        {"interpolate_pos_encoding": True},
    ),
    "beit": (hf.BeitModel, hf.BeitConfig(**SIZES), {"size": 56, "do_center_crop": False}, {}),
}


def pictures() -> Iterator[Image.Image]:
    """Of sizes whose margins leave each remainder when they are divided by four."""
    whole = Image.open(CAT).convert("RGB")
    for more in range(8):
        yield whole.crop((0, 0, whole.width - 5 * more, whole.height - 3 * more))
        yield whole.crop((0, 0, whole.height - 7 * more, whole.height)).resize((60 + 9 * more, 81))


def written(folder: Path, name: str) -> Any:
    cls, config, processor, _ = FOLDERS[name]
    torch.manual_seed(0)
    model = tiny.randomise(cls(config), std=0.2)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


@pytest.mark.proves(
    claim="pictures of a folder as transformers prepares them",
    against="`AutoImageProcessor` (Pillow's backend where there is one) and its model, also at another size",
    tolerance="1e-5 of 0..1; outputs 1e-4",
)
@torch.no_grad()
@pytest.mark.parametrize("name", FOLDERS)
def test_pixels_and_outputs_are_those_of_their_processor_and_model(tmp_path: Path, name: str) -> None:
    peer, more = written(tmp_path, name), FOLDERS[name][3]
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    ours = vitzoo.create(tmp_path)
    again = vitzoo.create(vitzoo.save(ours, tmp_path / "again", ours.load_report.layout))
    assert again.preprocessing == ours.preprocessing
    prepare = vitzoo.preprocess(ours)
    for picture in pictures():
        theirs = processor(picture, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(prepare(picture)[None], theirs, atol=2e-5, rtol=1e-5)
        tokens = peer(theirs, **more).last_hidden_state
        torch.testing.assert_close(ours.forward_features(prepare(picture)[None]), tokens, atol=1e-4, rtol=1e-4)


def test_the_class_of_a_processor_without_a_type_is_that_of_transformers() -> None:
    types = {*KINDS, *(kind.nested for kind in KINDS.values() if kind.nested)}
    theirs = {name: IMAGE_PROCESSOR_MAPPING_NAMES.get(name) for name in types}
    assert {name: found["torchvision"] for name, found in theirs.items() if found} == hf_processor.CLASSES
    with pytest.raises(LayoutError, match=r"no image_processor_type is not known, .*as image_processor_type one of Vi"):
        hf_processor.preprocessing_fields({"size": 48}, {"model_type": "dinov2_with_registers"})


def test_a_size_of_pictures_of_its_own_is_kept_shown_and_let_go(tmp_path: Path, run: Any) -> None:
    written(tmp_path, "dinov2")
    model = vitzoo.create(tmp_path)
    assert (model.spec.img_size, model.preprocessing.img_size) == ((56, 56), (42, 42))
    assert vitzoo.preprocess(model)(CAT).shape == (3, 42, 42)
    assert model.pretrained_cfg["input_size"] == (3, 42, 42)
    assert "crop: centre 42x42" in run("info", tmp_path).out
    assert json.loads(run("info", tmp_path, "--json").out)["preprocessing"]["img_size"] == [42, 42]
    native = vitzoo.save(model, tmp_path / "native")
    assert vitzoo.create(native).preprocessing == model.preprocessing
    for size in (56, 70):
        for source in (tmp_path, native):
            asked = vitzoo.create(source, img_size=size)
            assert asked.preprocessing.img_size is None
            assert vitzoo.preprocess(asked)(CAT).shape == (3, size, size)
    assert training_transform(model, load_recipe("full"))(Image.open(CAT).convert("RGB")).shape == (3, 42, 42)
    model.set_input_size(70)
    assert vitzoo.preprocess(model)(CAT).shape == (3, 70, 70)


@torch.no_grad()
def test_timm_prepares_pictures_of_a_size_of_their_own(tmp_path: Path) -> None:
    model = tiny.randomise(ViT(tiny.spec(), About(resample="timm")))
    model.preprocessing = Preprocessing(img_size=24, crop_pct=0.9)
    folder = vitzoo.save(model, tmp_path / "timm", "timm")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    assert theirs.patch_embed.img_size == (32, 32)
    again = vitzoo.create(folder)
    assert (again.spec, again.preprocessing) == (model.spec, model.preprocessing)
    x = transform(Image.open(CAT).convert("RGB"))
    assert x.equal(vitzoo.preprocess(again)(CAT))
    torch.testing.assert_close(again(x[None]), theirs(x[None]), atol=1e-5, rtol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    del config["model_args"]["dynamic_img_size"]  # then timm takes the model's own size
    assert "img_size" not in timm_pictures.preprocessing_fields(config)
    (folder / "config.json").write_text(json.dumps(config))
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert timm.data.resolve_model_data_config(theirs)["input_size"] == (3, 32, 32)


def test_a_class_of_timm_for_one_size_is_refused_with_what_works(tmp_path: Path) -> None:
    fields = {"rel_pos": "block", "pos_embed": "none", "qkv_bias": "qv", "pool": "avg", "final_norm": "pooled"}
    model = vitzoo.create(tiny.spec(**fields, layer_scale=0.1), resample="timm", generator=0)
    model.preprocessing = Preprocessing(img_size=24)
    with pytest.raises(LayoutError, match=r"prepared at \(24, 24\).* create the model with that img_size"):
        vitzoo.save(model, tmp_path / "timm", "timm_beit")
    native = vitzoo.save(model, tmp_path / "native")
    vitzoo.save(vitzoo.create(native, img_size=24), tmp_path / "timm", "timm_beit")


def test_who_does_not_know_the_newer_fields_reads_all_that_has_none() -> None:
    for name in registry.list_pretrained():
        assert not set(registry.weights_entry(name).preprocessing.model_dump(mode="json")) & set(LATER), name
    stated = Preprocessing(img_size=28, crop_offset="down", resize_type="float32")
    assert Preprocessing(**stated.model_dump(mode="json")) == stated


def test_the_report_says_at_which_size_pictures_are_prepared(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    written(folder, "dinov2")
    said = "pictures are prepared at (42, 42), and the positions are for (56, 56): they are resampled"
    assert said in str(vitzoo.create(folder).load_report)
    assert said in str(vitzoo.create(vitzoo.save(vitzoo.create(folder), tmp_path / "native")).load_report)
    assert "prepared at" not in str(vitzoo.create(folder, img_size=(42, 42)).load_report)


def test_naflex_squashes_to_as_many_patches_as_its_processor_takes(tmp_path: Path) -> None:
    sizes = {name: value for name, value in SIZES.items() if name != "image_size"}
    config = hf.Siglip2VisionConfig(**{**sizes, "patch_size": 8}, num_patches=16)
    tiny.randomise(hf.Siglip2VisionModel(config)).save_pretrained(tmp_path)
    for patches, size in ((36, (48, 48)), (16, None)):
        hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=patches).save_pretrained(tmp_path)
        model = vitzoo.create(tmp_path)
        assert model.preprocessing.img_size == size
        again = hf_processor.processor_config("hf_siglip2", model.spec, model.preprocessing)
        assert again["max_num_patches"] == patches
