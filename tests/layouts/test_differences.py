"""What an export says of pixels is so: without a line they are equal, and with one they are as far apart as it says."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
import transformers as hf
from PIL import Image

import vitzoo
from vitzoo import ViT
from vitzoo.checkpoints.save import Export
from vitzoo.layouts.differences import differences
from vitzoo.layouts.huggingface.processor import processor_config
from vitzoo.layouts.tables import LAYOUTS, get_layout
from vitzoo.spec import About, Preprocessing, ViTSpec

CAT = Path(__file__).parents[2] / "examples" / "cat.png"
SPEC = tiny.spec()
# Crops that leave a margin of 4, 3 and 0 pixels of the shorter side.
RATIOS = (32 / 36, 32 / 35, 1.0)
CROPS = tuple(product(["center", "squash"], RATIOS, ["nearest", "down"]))
GREY = {"mean": (0.5,), "std": (0.5,)}


def pictures() -> list[Image.Image]:
    whole = Image.open(CAT).convert("RGB")
    return [whole.crop((0, 0, width, 200)) for width in (200, 206, 213, 219, 225, 231)]


def moved(theirs: Any, ours: Any) -> list[bool]:
    """Of each picture, whether the two are more apart than rounding."""
    return [float((theirs(picture) - ours(picture)).abs().max()) > 1e-4 for picture in pictures()]


@pytest.mark.parametrize(
    ("crop_mode", "crop_pct", "offset"), product(["center", "squash"], RATIOS, ["nearest", "down"])
)
def test_crops(tmp_path: Path, crop_mode: str, crop_pct: float, offset: str) -> None:
    how = Preprocessing(crop_pct=crop_pct, crop_mode=crop_mode, crop_offset=offset)
    about, ours = About(preprocessing=how), vitzoo.images.transform.Transform((32, 32), 3, how)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor_config("hf_vit", SPEC, how)))
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    config = {**how.model_dump(mode="json"), "input_size": (3, 32, 32)}
    readers = {
        "hf_vit": lambda picture: processor(picture, return_tensors="pt")["pixel_values"][0],
        "timm": timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config)),
    }
    for name, theirs in readers.items():
        said = [line for line in differences(get_layout(name), SPEC, about) if "cropped one pixel" in line]
        found = moved(theirs, ours)
        assert any(found) == bool(said), (name, said, found)
        assert all(found) == any(line.startswith("every picture") for line in said), (name, said, found)
        picture, to_the_right = pictures()[0], ours(pictures()[0])
        if said and all(found):  # by one pixel, that is
            step = 1 if name == "hf_vit" else -1
            assert theirs(picture).roll((-step, -step), (1, 2))[:, 1:-1, 1:-1].allclose(to_the_right[:, 1:-1, 1:-1])


def test_what_is_said_of_other_backends_holds(tmp_path: Path) -> None:
    for size, most in ((32, 2.5), (448, 17.5)):
        how = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), crop_offset="down", crop_mode="squash")
        spec = SPEC.replace(img_size=size)
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor_config("hf_vit", spec, how)))
        fast = hf.AutoImageProcessor.from_pretrained(tmp_path)
        plain = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
        ours = vitzoo.images.transform.Transform((size, size), 3, how)
        for picture in pictures():
            one, other = (p(picture, return_tensors="pt")["pixel_values"][0] for p in (fast, plain))
            assert 0 < float((one - ours(picture)).abs().max() * 255) < most
            assert other.allclose(ours(picture), atol=1e-5)
    said = differences(get_layout("hf_vit"), SPEC, About(preprocessing=how))
    assert len(said) == 1
    assert 'backend="pil") gives the same pixels' in said[0]


def test_a_grey_model_fails_in_the_pipeline_and_does_with_what_is_said(tmp_path: Path) -> None:
    model = tiny.randomise(ViT(SPEC.replace(in_chans=1), About(preprocessing=Preprocessing(**GREY))))
    with pytest.warns(UserWarning, match=r"fails on a model of 1 channel; give its processor picture.convert\(\"L\"\)"):
        folder = vitzoo.save(model, tmp_path / "grey", "huggingface")
    picture = Image.open(CAT)
    with pytest.raises(ValueError, match="channel"):
        hf.pipeline("image-classification", model=str(folder))(picture)
    peer = hf.AutoModelForImageClassification.from_pretrained(folder)
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.no_grad():
        x = processor(picture.convert("L"), return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(peer(x).logits, model(vitzoo.preprocess(model)(picture)[None]), atol=1e-4, rtol=1e-4)
    bands = differences(get_layout("hf_vit"), SPEC.replace(in_chans=4), About())
    assert any("a model of 4 channels; give its processor an array (4, height, width)" in line for line in bands)


def test_another_size_than_the_models_own(tmp_path: Path) -> None:
    about = About(preprocessing=Preprocessing(img_size=24, crop_offset="down"), resample="huggingface")
    said = {name: " ".join(differences(get_layout(name), SPEC, about)) for name in ("hf_vit", "hf_dinov2", "timm")}
    assert "interpolate_pos_encoding=True alone" in said["hf_vit"]
    assert "interpolate_pos_encoding" not in said["hf_dinov2"]
    assert "policy 'timm', and vitzoo as 'huggingface'" in said["timm"]
    model = tiny.randomise(ViT(SPEC, about))
    folder = vitzoo.save(model, tmp_path / "folder", "huggingface")
    peer = hf.AutoModelForImageClassification.from_pretrained(folder)
    x = vitzoo.preprocess(model)(CAT)[None]
    with pytest.raises(ValueError, match="doesn't match model"):
        peer(x)
    with torch.no_grad():
        torch.testing.assert_close(peer(x, interpolate_pos_encoding=True).logits, model(x), atol=1e-5, rtol=1e-5)


def test_floats_in_timm() -> None:
    how = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), resize_type="float32")
    ours = vitzoo.images.transform.Transform((32, 32), 3, how)
    config = {**how.model_dump(mode="json"), "input_size": (3, 32, 32)}
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))
    assert all(float((theirs(one) - ours(one).clamp(0, 1)).abs().max() * 255) < 1 for one in pictures())
    assert any("up to 1 of 255" in line for line in differences(get_layout("timm"), SPEC, About(preprocessing=how)))
    assert not any("timm rounds" in line for line in differences(get_layout("timm"), SPEC, About()))


def test_what_differs_is_printed_and_only_where_a_configuration_is_written(tmp_path: Path, run: Any) -> None:
    assert not [
        name
        for name in LAYOUTS
        if name.split("_")[0] not in ("hf", "timm") and differences(LAYOUTS[name], SPEC, About())
    ]
    source = vitzoo.save(tiny.randomise(ViT(SPEC)), tmp_path / "native")
    result = run("convert", source, tmp_path / "folder", "--layout", "huggingface")
    assert "otherwise there: transformers resizes with torchvision" in result.out
    found = json.loads(run("convert", source, tmp_path / "json", "--layout", "huggingface", "--json").out)
    assert len(found["differences"]) == 2
    assert "otherwise there" not in run("convert", source, tmp_path / "one.safetensors", "--layout", "huggingface").out
    assert Export.planned("timm", ViTSpec.parse(tiny.FIELDS, "tiny"), About()).differences(tmp_path / "timm") == ()
