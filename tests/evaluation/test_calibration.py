"""One temperature: found by another solver too, written into the last layer, and in force wherever the model goes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluated import evaluation
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from tiny import SMALLEST, disturb

import vitzoo
from vitzoo.errors import DataError
from vitzoo.evaluation.calibration import Temperature, cooled, fitted, temperature
from vitzoo.evaluation.classes import ClassEvaluation


def overconfident(seed: int, pictures: int = 600, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are three times what they should be, and classes drawn as the true ones say."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(pictures, classes, generator=generator) * 1.5
    return logits * 3, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.proves(claim="temperature scaling", against="scipy's solver on scikit-learn's log loss", tolerance="1e-3")
def test_the_temperature_has_the_least_loss_that_there_is() -> None:
    scores, targets = overconfident(0)

    def loss(inverse: float) -> float:
        return float(log_loss(targets, (scores.double() * inverse).softmax(1), labels=range(5)))

    best = 1 / minimize_scalar(loss, bounds=(0.01, 10), method="bounded", options={"xatol": 1e-8}).x
    assert temperature(scores, targets) == pytest.approx(best, rel=1e-3)
    assert 2.4 < best < 3.6


def test_what_it_does_is_measured_on_pictures_that_it_was_not_fitted_on() -> None:
    scores, targets = overconfident(1)
    found = fitted(evaluation(ClassEvaluation, targets.numpy(), scores.numpy()))
    assert found.value == pytest.approx(temperature(scores, targets))
    assert found.after < 0.08 < 0.15 < found.before
    # Ten pictures say nothing of another ten: an honest number is not near zero.
    few, right = overconfident(2, 12)
    assert fitted(evaluation(ClassEvaluation, right.numpy(), few.numpy())).after > 0.05


def test_pictures_that_do_not_tell_are_an_error() -> None:
    targets = torch.arange(12) % 3
    right = torch.eye(3)[targets] * 5
    for scores, why in ((right, "all are recognised"), (-right, "the model is no better than chance")):
        with pytest.raises(DataError, match=f"12 pictures do not tell the temperature: {why}"):
            temperature(scores, targets)
    with pytest.raises(DataError, match="3 pictures are too few"):
        fitted(evaluation(ClassEvaluation, targets[:3].numpy(), right[:3].numpy()))
    with pytest.raises(DataError, match="no vote"):
        temperature(torch.eye(3)[targets.roll(1)].log(), targets)


SCALE = Temperature(2.5, 0.2, 0.1, 100, "/home/me/pictures", "val")


@pytest.mark.parametrize(
    "fields",
    [{}, {"head": "pre_logits"}, {"dist_token": True, "pool": "cls_dist", "head": "distilled"}, {"pool": "map"}],
    ids=["linear", "pre_logits", "distilled", "map"],
)
def test_the_logits_are_divided_in_every_kind_of_head(fields: dict[str, Any], tmp_path: Path) -> None:
    model = disturb(vitzoo.create(vitzoo.ViTSpec(**{**SMALLEST, "num_classes": 4, **fields}), generator=0), 0.1)
    x = torch.randn(2, 3, *model.spec.img_size)
    before = model(x)
    again = vitzoo.create(vitzoo.save(cooled(model, SCALE), tmp_path / "m.safetensors"))
    assert torch.allclose(again(x), before / 2.5, atol=1e-6)
    assert again.about.training["calibration"]["temperature"] == 2.5
    assert cooled(again, SCALE).about.training["calibration"]["temperature"] == pytest.approx(6.25)
    assert again.reset_classifier(3) is None
    assert again.about.training is None


def test_the_command_writes_a_model_whose_probabilities_are_better(run: Callable[..., Any], tmp_path: Path) -> None:
    """`classify` has them, and so has timm after a conversion."""
    import timm
    from PIL import Image

    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    random = np.random.default_rng(0)
    for name in ("cat", "ship", "frog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.normal(120, 50, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    picture = tmp_path / "data" / "cat" / "0.png"
    words = ("evaluate", "vit_nano4.cifar10", tmp_path / "data", "--calibrate", tmp_path / "out")
    found = json.loads(run(*words, "--json").out)["calibrated"]
    value = found["temperature"]
    assert value > 1.5
    assert "the calibration error is" in run(*words[:-1], tmp_path / "other").out
    with torch.inference_mode():
        expected = (model(vitzoo.preprocess(model)(picture)[None]) / value).softmax(1)[0]
    told = json.loads(run("classify", picture, "-m", found["written"], "-k", "10", "--json").out)
    for guess in told["results"][0]["classes"]:
        assert guess["probability"] == pytest.approx(float(expected[guess["class_index"]]), abs=1e-5)
    folder = vitzoo.convert(found["written"], tmp_path / "timm", layout="timm").target
    peer = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.allclose(peer(vitzoo.preprocess(model)(picture)[None]).softmax(1)[0], expected, atol=1e-5)
    again = json.loads(run("evaluate", found["written"], tmp_path / "data", "--json").out)
    assert again["log_loss"] < json.loads(run(*words[:3], "--json").out)["log_loss"]


def test_a_temperature_is_for_the_model_alone(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("evaluate", "vit_nano4.cifar10", tmp_path, "--calibrate", tmp_path / "out", "--flip")
    assert result.code == 2
    assert "leave out --flip and --crops" in result.err
