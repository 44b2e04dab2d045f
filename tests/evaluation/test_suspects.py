"""Labels that were changed on purpose are found, and pictures that stand in both parts in another form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from evaluated import NAMES
from PIL import Image
from sklearn.linear_model import LogisticRegression

from vitzoo.data.pictures import Pictures
from vitzoo.evaluation.predict import Findings
from vitzoo.evaluation.suspects import alike, folds_of, out_of_fold, suspects
from vitzoo.evaluation.vectors import Vectors


def made(values: torch.Tensor, targets: torch.Tensor, copies: torch.Tensor | None = None, first: int = 0) -> Vectors:
    count = len(values)
    names = [f"{first + i}.png" for i in range(count)]
    pictures = Pictures("made up", None, NAMES[:3], names, targets.numpy(), np.arange(count), "")
    return Vectors(pictures, values, torch.arange(first, first + count) if copies is None else copies, Findings())


def clouds(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    targets = torch.arange(count) % 3
    centres = torch.eye(12)[:3] * 4
    return centres[targets] + torch.randn(count, 12, generator=torch.Generator().manual_seed(seed)), targets


def test_probabilities_are_those_of_scikit_learn_without_the_picture() -> None:
    x, targets = clouds(60, 0)
    copies = torch.arange(60)
    found, folds, unit = (
        out_of_fold(x, targets, copies, 3, 10.0, 0),
        folds_of(targets, copies, 0),
        F.normalize(x).double(),
    )
    assert torch.stack([folds[targets == c].bincount() for c in range(3)]).eq(4).all()
    for fold in range(5):
        out = folds == fold
        judge = LogisticRegression(C=10.0, tol=1e-10, max_iter=5000).fit(unit[~out].numpy(), targets[~out])
        assert np.allclose(found[out], judge.predict_proba(unit[out].numpy()), atol=1e-4)


def test_copies_are_in_one_fold() -> None:
    copies = torch.arange(60) % 13
    folds = folds_of(torch.arange(60) % 3, copies, 0)
    assert all(len(set(folds[copies == number].tolist())) == 1 for number in range(13))


def test_labels_that_were_changed_come_first() -> None:
    x, targets = clouds(300, 1)
    assert len(suspects(made(x, targets))) <= 6
    changed = torch.tensor([7, 50, 111, 200])
    wrong = targets.clone()
    wrong[changed] = (wrong[changed] + 1) % 3
    found = suspects(made(x, wrong))
    assert {one.picture for one in found[:4]} == {f"{i}.png" for i in changed.tolist()}
    assert all(one.predicted == NAMES[targets[int(one.picture.removesuffix(".png"))]] for one in found[:4])
    assert [one.confidence for one in found] == sorted(one.confidence for one in found)


def test_a_picture_in_another_form_is_found_and_its_like_is_not() -> None:
    x, targets = clouds(200, 2)
    queries, right = clouds(40, 3)
    assert alike(made(x, targets), made(queries, right, first=1000)) == ()
    queries[5] = x[17] + 0.05 * torch.randn(12, generator=torch.Generator().manual_seed(0))
    numbers = torch.arange(1000, 1040)
    numbers[9], queries[9] = 30, x[30]
    found = alike(made(x, targets), made(queries, right, numbers, first=1000))
    assert [(one.picture, one.other, one.same) for one in found] == [
        ("1009.png", "30.png", True),
        ("1005.png", "17.png", False),
    ]


def test_the_command_lists_them(run: Callable[..., Any], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for name, level in (("dark", 50), ("light", 190)):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(level - 40, level + 40, (4, 4, 3), dtype=np.uint8)
                picture = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)
                picture.save(tmp_path / part / name / f"{i}.png")
    (tmp_path / "train" / "dark" / "3.png").rename(tmp_path / "train" / "light" / "wrong.png")
    Image.open(tmp_path / "train" / "dark" / "5.png").save(tmp_path / "val" / "dark" / "again.jpg", quality=90)
    words = ("probe", "vit_nano4.cifar10", tmp_path, "--method", "class-mean", "--check", "--num-workers", "0")
    found = json.loads(run(*words, "--json").out)
    assert found["suspects"][0]["picture"] == "train/light/wrong.png"
    assert ("val/dark/again.jpg", "train/dark/5.png") in [(one["picture"], one["other"]) for one in found["alike"]]
    text = run(*words).out
    assert "training pictures whose label may be wrong:" in text
    assert "  train/light/wrong.png: light, taken for dark" in text


@pytest.mark.parametrize("count", [1, 2])
def test_few_pictures_are_no_error(count: int) -> None:
    x, targets = clouds(6, 4)
    assert isinstance(alike(made(x[:count], targets[:count]), made(x[3:], targets[3:], first=9)), tuple)
