"""Probes from pictures to numbers: what is trained on, chosen, kept and said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from training import SPEC, write_model, write_pictures

import vitzoo
from vitzoo.errors import DataError, SpecError
from vitzoo.evaluation.predict import Reading
from vitzoo.evaluation.probes import METHODS, last_blocks, probe

BARE = {"class_token": False, "pos_prefix": "none", "pool": "avg"}
ALONE = Reading(num_workers=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three colours, which a linear classifier tells apart; other pictures in each part."""
    write_pictures(tmp_path / "all", 16)
    for number, picture in enumerate(sorted((tmp_path / "all").rglob("*.png"))):
        folder = tmp_path / "data" / ("train" if number % 4 else "val") / picture.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(picture, folder)
    return tmp_path / "data"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_tells_colours_apart(model: Path, data: Path, method: str) -> None:
    found = probe(model, data, method, reading=ALONE, bootstrap=0)
    assert found.evaluation.top1 == 1.0
    assert (len(found.evaluation.targets), len(found.train.targets)) == (12, 36)
    assert f"{method} probe on 36 training pictures" in found.evaluation.notes[0]
    again = probe(model, data, method, reading=ALONE, bootstrap=0)
    assert torch.equal(again.evaluation.scores, found.evaluation.scores)


@torch.inference_mode()
def test_the_vectors_of_the_grid_are_those_of_dinov2() -> None:
    """`create_linear_input` of its eval/linear.py, on `get_intermediate_layers`."""
    vit = vitzoo.create(vitzoo.ViTSpec(**{**SPEC, "depth": 6}), generator=0)
    x = torch.randn(2, 3, 16, 16)
    layers = vit.get_intermediate_layers(x, 4, return_prefix_tokens=True, norm=True)
    expected = [prefix[:, 0] for _, prefix in layers] + [layers[-1][0].mean(1)]
    assert torch.allclose(last_blocks(vit, x), torch.stack(expected, 1))
    bare = vitzoo.create(vitzoo.ViTSpec(**{**SPEC, "depth": 1, **BARE}), generator=0)
    assert torch.allclose(last_blocks(bare, x)[:, 0], bare.forward_features(x).mean(1), atol=1e-6)


def test_pictures_that_are_evaluated_are_not_trained_on(model: Path, data: Path) -> None:
    shutil.copy(data / "val" / "red" / next((data / "val" / "red").iterdir()).name, data / "train" / "red" / "copy.png")
    found = probe(model, data, "class-mean", reading=ALONE, bootstrap=0)
    assert len(found.train.targets) == 36
    assert any("1 of 12 evaluated pictures are in" in note for note in found.evaluation.notes)
    with pytest.raises(DataError, match="0 classes are left to train on"):
        probe(model, data, "class-mean", train=data / "val", reading=ALONE)


def test_few_shots_are_drawn_again_and_again(model: Path, data: Path) -> None:
    found = probe(model, data, "class-mean", shots=1, draws=5, reading=ALONE, bootstrap=0)
    assert len(found.train.targets) == 3
    assert len(found.draws) == 5
    assert found.draws[0] == found.evaluation.top1
    assert found.evaluation.notes[1].startswith("5 draws of training pictures: top-1")
    with pytest.raises(DataError, match=r"class 'blue' has one picture to train on.*class-mean"):
        probe(model, data, "logistic", shots=1, reading=ALONE)


def test_what_is_not_split_needs_pictures_to_train_on(model: Path, data: Path, run: Callable[..., Any]) -> None:
    result = run("probe", model, data / "val", "--num-workers", "0")
    assert result.code == 2
    assert "name those to train on with --train" in result.err
    assert run("probe", model, data / "val", "--train", data / "train", "--num-workers", "0").code == 0
    assert (
        "give one of linear, logistic, attentive, class-mean as --method"
        in run("probe", model, data, "--method", "svm").err
    )
    with pytest.raises(SpecError, match="unknown method 'svm'"):
        probe(model, data, "svm")


def test_tokens_that_would_not_fit_are_refused(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitzoo.evaluation.probes.MOST_BYTES", 1000)
    with pytest.raises(DataError, match="tokens of 48 pictures take"):
        probe(model, data, "attentive", reading=ALONE)


def test_the_command_tells_how_it_was_chosen(run: Callable[..., Any], model: Path, data: Path, tmp_path: Path) -> None:
    words = ("probe", model, data, "--num-workers", "0")
    found = json.loads(run(*words, "--json", "--predictions", tmp_path / "p.csv").out)
    assert found["top1"] == 1.0
    assert found["probe"]["method"] == "linear"
    assert len(found["probe"]["trials"]) == 4 * 13
    assert found["probe"]["trials"][found["probe"]["chosen"]] == max(found["probe"]["trials"].values())
    assert (tmp_path / "p.csv").is_file()
    assert "note: class-mean probe on 3 training pictures" in run(*words, "--method", "class-mean", "--shots", "1").out


def test_vectors_of_length_one_are_those_that_neighbours_compare(model: Path, data: Path) -> None:
    found = probe(model, data, "logistic", reading=ALONE, bootstrap=0)
    assert torch.allclose(found.train.values, F.normalize(found.train.values, dim=1), atol=1e-6)
