"""Test-time augmentation: the mean over views that are cut and mirrored by torchvision."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from PIL import Image

import vitzoo
from vitzoo.errors import SpecError
from vitzoo.evaluation.measure import evaluate
from vitzoo.evaluation.views import Views


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for name in ("cat", "ship"):
        (root / name).mkdir()
        for i in range(3):
            pixels = random.normal(120, 50, (40, 52, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def model() -> vitzoo.ViT:
    vit = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    vit.preprocessing = vit.preprocessing.replace(crop_pct=0.8)
    return vit


@torch.inference_mode()
def test_ten_views_are_those_of_torchvision(data: Path, model: vitzoo.ViT) -> None:
    found = evaluate(model, data, flip=True, crops=5, bootstrap=0)
    assert found.remarks == ("10 views of each picture: their probabilities are averaged",)
    whole = model.preprocessing.replace(crop_pct=1.0)
    wide = vitzoo.create("vit_nano4.cifar10", pretrained=True, img_size=40)
    wide.preprocessing = whole
    for name, row in zip(found.pictures.names, found.probabilities, strict=True):
        views = torch.stack(tv.ten_crop(vitzoo.preprocess(wide)(data / name), 32))
        assert torch.allclose(model(views).softmax(1).mean(0), row, atol=1e-5)


@torch.inference_mode()
def test_mirrored_pictures_alone(data: Path, model: vitzoo.ViT) -> None:
    found = evaluate(model, data, flip=True, bootstrap=0)
    for name, row in zip(found.pictures.names, found.probabilities, strict=True):
        x = vitzoo.preprocess(model)(data / name)[None]
        expected = (model(x).softmax(1) + model(tv.hflip(x)).softmax(1)) / 2
        assert torch.allclose(expected[0], row, atol=1e-5)


def test_without_room_around_the_crop_there_is_some(data: Path) -> None:
    vit = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    assert vit.preprocessing.crop_pct == 1
    assert Views(crops=5).transform(vit).size == (36, 36)
    cut = list(Views(crops=5).cut(torch.arange(36.0).expand(1, 1, 36, 36), (32, 32)))
    assert [float(view[..., 0, 0]) for view in cut] == [2, 0, 4, 0, 4]


def test_other_numbers_of_crops_are_refused() -> None:
    with pytest.raises(SpecError, match=r"crops is 1 .* or 5"):
        Views(crops=3)
