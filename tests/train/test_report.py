"""The report of a run: its numbers are those of the evaluation, its pictures can be looked at."""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training import run, write_model, write_pictures

import vitzoo
from vitzoo.data.open import open_splits
from vitzoo.evaluation import plots
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.measure import evaluate, measure
from vitzoo.evaluation.predict import Findings
from vitzoo.registry.recipes import load_recipe
from vitzoo.train.datamodule import PictureData
from vitzoo.train.report import read_history, write_report


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three classes with a test split; one picture of each part is none, and one is in the wrong folder."""
    for split, count in (("train", 10), ("test", 4)):
        write_pictures(tmp_path / "data" / split, count)
        (tmp_path / "data" / split / "red" / "bad.png").write_bytes(b"no picture")
    shutil.copy(tmp_path / "data" / "test" / "blue" / "0.png", tmp_path / "data" / "test" / "red" / "9.png")
    return tmp_path / "data"


def drawn(path: Path) -> np.ndarray:
    """The pixels of a picture that is light, and not blank."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(float)
    assert pixels[0, 0].min() == 255
    assert pixels.mean() > 127
    assert pixels.std() > 10
    return pixels


def test_a_run_reports_on_its_test_pictures(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    run(write_model(tmp_path / "tiny.safetensors"), data, out)
    found = evaluate(out, data, split="test")
    text = (out / "report.md").read_text()

    for line in (
        f"| top-1 accuracy | {found.top1:.2%} |",
        f"| expected calibration error | {found.calibration_error:.2%} |",
        "| pictures | 13 |",
        "| split | test |",
        "| training | data | 24 |",
        "| validation | data | 6 |",
        "| test | data | 13 |",
        "2 left out:",
    ):
        assert line in text
    for part in ("train", "test"):
        assert f"- `{part}/red/bad.png`: " in text
    for result in found.classes:
        assert f"| {result.name} | {result.accuracy:.1%} | {result.pictures} | 8 |" in text
    assert found.top1 < 1
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        assert f"({name})" in text
        drawn(out / name)
    card = (out / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "license: apache-2.0" in card
    assert f"value: {round(found.top1, 6)}\n" in card
    assert not list(out.glob(".*"))


def test_weights_without_a_licence_get_no_card(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    run(write_model(tmp_path / "tiny.safetensors"), data, out)
    (out / "README.md").unlink()
    vit, recipe = vitzoo.create(out), load_recipe(out / "recipe.yaml")
    vit.license = None
    write_report(out, vit, PictureData(data, recipe, num_workers=0).adapt_to(vit))

    assert not (out / "README.md").exists()
    assert "There is no model card: no licence of these weights is known" in (out / "report.md").read_text()


def test_history_is_read_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,lr,val_top5\n1,0.5,\n2,0.25,0.75\n")
    assert read_history(tmp_path / "metrics.csv") == [
        {"epoch": 1, "lr": 0.5},
        {"epoch": 2, "lr": 0.25, "val_top5": 0.75},
    ]


# Pictures of many classes.


def made_up(folder: Path, classes: int) -> ClassEvaluation:
    opened = open_splits(write_pictures(folder, 2))["all"]
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(classes).repeat(6)
    right = torch.rand(len(targets), generator=generator) < 0.5
    guesses = torch.where(right, targets, (targets + 1) % classes)
    sure = torch.rand(len(targets), generator=generator) * 5 + 0.1
    pictures = replace(opened.take(np.arange(len(targets)) % len(opened)), targets=targets.numpy())
    labels = tuple(f"a name of class {i} that is long, and then some" for i in range(classes))
    scores = torch.nn.functional.one_hot(guesses, classes) * sure[:, None]
    return measure(scores, pictures, labels, "val", Findings())


@pytest.mark.parametrize("classes", [2, 10, 100, 300])
def test_confusion_of_many_classes_stays_a_picture(tmp_path: Path, classes: int) -> None:
    found = made_up(tmp_path / "data", classes)
    plots.confusion(found, tmp_path / "confusion.png")
    height, width, _ = drawn(tmp_path / "confusion.png").shape
    assert max(height, width) <= 2500


def test_the_matrix_holds_the_parts_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    shown: list[np.ndarray] = []
    imshow = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, x, **more: (shown.append(x), imshow(self, x, **more))[1])
    found = made_up(tmp_path / "data", 10)
    plots.confusion(found, tmp_path / "confusion.png")
    expected = np.zeros((10, 10))
    for target, guess in zip(found.targets, found.predictions, strict=True):
        expected[target, guess] += 1
    assert np.allclose(shown[0], expected / expected.sum(1, keepdims=True))


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    found = replace(made_up(tmp_path / "data", 3), labels=("a $b$ c", r"$\no_such{$", "猫"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion(found, tmp_path / "confusion.png")
        plots.mistakes(found, tmp_path / "mistakes.png")
    drawn(tmp_path / "confusion.png")


@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_curves_of_any_length(tmp_path: Path, epochs: int) -> None:
    rows: list[Mapping[str, float]] = [
        {"epoch": i, "train_loss": 2 / i, "val_loss": 2.1 / i, "val_top1": 1 - 1 / i} for i in range(1, epochs + 1)
    ]
    plots.curves(rows, tmp_path / "curves.png")
    drawn(tmp_path / "curves.png")


@pytest.mark.parametrize("in_chans", [1, 3])
def test_mistakes_are_shown(tmp_path: Path, in_chans: int) -> None:
    plots.mistakes(made_up(tmp_path / "data", 30), tmp_path / "mistakes.png", in_chans)
    drawn(tmp_path / "mistakes.png")
