"""Nearest neighbours: the votes of DINO, classes without a vote, ties, and pictures that stand on both sides."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

import vitzoo
from vitzoo.data.open import open_splits
from vitzoo.errors import DataError
from vitzoo.evaluation.neighbours import Voters, nearest_neighbours

NEVER = torch.full((7,), -1)


def write(folder: Path, classes: int, count: int, seed: int) -> Path:
    """Noise that is a little brighter from class to class."""
    random = np.random.default_rng(seed)
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        for i in range(count):
            pixels = random.normal(100 + 8 * c, 60, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def model() -> vitzoo.ViT:
    return vitzoo.create("vit_nano4.cifar10", pretrained=True, num_classes=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("noise")
    return write(root / "train", 7, 4, 0), write(root / "val", 7, 3, 1)


def voters(known: torch.Tensor, targets: torch.Tensor, classes: int) -> Voters:
    return Voters(known, targets, torch.arange(len(known)), classes)


def test_votes_are_those_of_dino() -> None:
    generator = torch.Generator().manual_seed(0)
    known, queries = torch.randn(30, 8, generator=generator), torch.randn(7, 8, generator=generator)
    targets = torch.randint(0, 4, (30,), generator=generator)
    found = voters(known, targets, 4).votes(queries, 5, 0.07, NEVER)

    for query, row in zip(queries, found, strict=True):
        similar = torch.nn.functional.cosine_similarity(query[None], known)
        near = similar.argsort(descending=True)[:5]
        weights = torch.zeros(4)
        for i in near:
            weights[targets[i]] += torch.exp(similar[i] / 0.07)
        assert torch.allclose(row, weights / weights.sum(), atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@pytest.mark.proves(
    claim="nearest neighbours by cosine", against="scikit-learn `KNeighborsClassifier`", tolerance="equal"
)
def test_without_weights_they_are_those_of_scikit_learn(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    known, queries = random.normal(size=(30, 8)).astype(np.float32), random.normal(size=(7, 8)).astype(np.float32)
    targets = random.integers(0, 4, size=30)
    targets[:4] = range(4)
    judge = KNeighborsClassifier(k, metric="cosine").fit(known, targets)
    found = voters(torch.from_numpy(known), torch.from_numpy(targets), 4).votes(
        torch.from_numpy(queries), k, 1e6, NEVER
    )
    assert np.allclose(found, judge.predict_proba(queries), atol=1e-4)


def test_of_equally_near_ones_the_first_vote() -> None:
    known = torch.eye(4)[[0, 1, 1, 1, 1, 2]]
    targets = torch.tensor([0, 3, 1, 2, 1, 0])
    for k, expected in ((1, [0, 0, 0, 1.0]), (2, [0, 0.5, 0, 0.5]), (4, [0, 0.5, 0.25, 0.25])):
        found = voters(known, targets, 4).votes(torch.eye(4)[1:2], k, 0.07, NEVER[:1])
        assert found.tolist()[0] == pytest.approx(expected), k


def test_a_class_without_a_vote_is_not_among_the_first_five(model: vitzoo.ViT, folders: tuple[Path, Path]) -> None:
    train, val = folders
    found = nearest_neighbours(model, train, val, k=1)
    assert found.top5 == found.top1 < 1
    assert found.undefined["log_loss"].startswith("the right class of some pictures has no vote")
    few = nearest_neighbours(model, train, val, k=3)  # three votes for three classes at most
    near = Voters(*features_of(model, train), torch.arange(28), 7)
    queries, right = features_of(model, val)
    shares = near.votes(queries, 3, 0.07, torch.full((21,), -1))
    assert few.top5 == pytest.approx(float((shares[torch.arange(21), right] > 0).float().mean()))


def features_of(model: vitzoo.ViT, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, transform = open_splits(folder)["all"], vitzoo.preprocess(model)
    with torch.inference_mode():
        x = torch.stack([transform(pictures.load(i)) for i in range(len(pictures))])
        return model.forward_head(model.forward_features(x), pre_logits=True), torch.from_numpy(pictures.targets)


def test_pictures_on_both_sides_do_not_vote_for_themselves(
    model: vitzoo.ViT, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Under other names and in another format, too."""
    train, val = folders
    plain = nearest_neighbours(model, train, val, k=1)
    assert plain.remarks == ()
    both = tmp_path / "both"
    shutil.copytree(train, both)
    for picture in sorted((val / "class3").iterdir()):
        Image.open(picture).save(both / "class3" / f"copy{picture.stem}.bmp")
    found = nearest_neighbours(model, both, val, k=1)
    assert "3 of 21 evaluated pictures are in" in found.remarks[0]
    assert found.remarks[0] in found.notes
    (x, targets), (queries, _) = features_of(model, both), features_of(model, val)
    similar = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(x).T
    assert int((similar > 1 - 1e-5).sum()) == 3
    similar[similar > 1 - 1e-5] = -2
    assert torch.equal(found.predictions, targets[similar.argmax(1)])


def test_a_set_against_itself_leaves_each_picture_out(model: vitzoo.ViT, folders: tuple[Path, Path]) -> None:
    train, _ = folders
    found = nearest_neighbours(model, train, train, k=1)
    assert "all 28 evaluated pictures are in" in found.remarks[0]
    x, targets = features_of(model, train)
    similar = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(x).T
    similar.fill_diagonal_(-2)
    assert found.top1 == pytest.approx(float((targets[similar.argmax(1)] == targets).float().mean()))
    assert found.top1 < 1


def test_a_picture_that_has_only_copies_is_an_error(model: vitzoo.ViT, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32), (9, 99, 9)).save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match="no neighbours but its own copies; give other pictures"):
        nearest_neighbours(model, tmp_path, tmp_path)


def test_more_neighbours_than_pictures_are_all_of_them(model: vitzoo.ViT, folders: tuple[Path, Path]) -> None:
    train, val = folders
    most, all_of_them = (nearest_neighbours(model, train, val, k=k).probabilities for k in (999, 28))
    assert torch.equal(most, all_of_them)


def test_the_command_says_what_stands_on_both_sides(run: Callable[..., Any], folders: tuple[Path, Path]) -> None:
    train, val = folders
    words = ("evaluate", "vit_nano4.cifar10", train, "--knn", train, "-k", "1")
    assert "note: all 28 evaluated pictures are in" in run(*words).out
    found = json.loads(run(*words, "--json").out)
    assert found["top1"] == found["top5"] < 1
    assert "own copies have no vote" in found["notes"][0]
    one = json.loads(run("evaluate", "vit_nano4.cifar10", val, "--knn", train, "-k", "1", "--json").out)
    assert one["top1"] == one["top5"]
    refused = run(*words, "--calibrate", "out")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--calibrate has no effect" in refused.err
