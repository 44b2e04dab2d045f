"""Accuracy, calibration and confusion against values worked out by hand; classes matched by name or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

import vitzoo
from vitzoo.data.open import open_splits
from vitzoo.data.pictures import Pictures
from vitzoo.errors import DataError, SpecError
from vitzoo.evaluation.measure import Evaluation, evaluate, matched, measure
from vitzoo.evaluation.neighbours import nearest_neighbours, votes

LABELS = ("ant", "bee", "cow", "dog", "eel", "fox")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))


def pictures(targets: list[int], classes: tuple[str, ...] = LABELS) -> Pictures:
    names = [f"{i}.png" for i in range(len(targets))]
    return Pictures("made up", None, classes, names, np.array(targets), np.arange(len(targets)), "")


def measured(rows: list[list[float]], targets: list[int]) -> Evaluation:
    half = len(rows) // 2
    scores, right = torch.tensor(rows), torch.tensor(targets)
    batches = [(scores[:half], right[:half]), (scores[half:], right[half:])]
    return measure(batches, pictures(targets), LABELS, "val", ())


ROWS = [
    [0.90, 0.02, 0.02, 0.02, 0.02, 0.02],  # an ant, right
    [0.05, 0.80, 0.05, 0.04, 0.03, 0.03],  # an ant, taken for a bee
    [0.06, 0.84, 0.04, 0.03, 0.02, 0.01],  # a bee, right
    [0.30, 0.20, 0.15, 0.14, 0.11, 0.10],  # a fox, taken for an ant: the only one not among the first five
]


def test_numbers_worked_out_by_hand() -> None:
    found = measured(ROWS, [0, 0, 1, 5])

    assert found.top1 == 2 / 4
    assert found.top5 == pytest.approx(3 / 4)
    # Bins of 1/15: 0.90 in (13/15, 14/15]; 0.80 and 0.84 in (12/15, 13/15], one of two right; 0.30 in (4/15, 5/15].
    by_hand = 1 / 4 * abs(1 - 0.90) + 2 / 4 * abs(1 / 2 - 0.82) + 1 / 4 * abs(0 - 0.30)
    assert found.calibration_error == pytest.approx(by_hand, abs=1e-6)
    assert [tuple(result) for result in found.classes] == [("ant", 2, 0.5), ("bee", 1, 1.0), ("fox", 1, 0.0)]
    assert [tuple(pair) for pair in found.confusions] == [("ant", "bee", 1), ("fox", "ant", 1)]
    worst = found.mistakes()
    assert [(m.number, m.picture, m.name, m.predicted) for m in worst] == [
        (1, "1.png", "ant", "bee"),
        (3, "3.png", "fox", "ant"),
    ]
    assert [m.probability for m in worst] == pytest.approx([0.80, 0.30])
    assert len(found.mistakes(1)) == 1


def test_numbers_are_those_of_torchmetrics_and_of_plain_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(500, 6, generator=generator).mul(2).softmax(1)
    targets = torch.randint(0, 6, (500,), generator=generator)
    found = measured(scores.tolist(), targets.tolist())

    assert found.calibration_error == pytest.approx(float(multiclass_calibration_error(scores, targets, 6)), abs=1e-6)
    assert found.calibration_error == pytest.approx(expected_calibration_error(scores, targets), abs=1e-5)
    assert found.top5 == pytest.approx(float((scores.topk(5).indices == targets[:, None]).any(1).float().mean()))
    assert sum(pair.pictures for pair in found.confusions) == round(500 * (1 - found.top1))
    json.dumps(found.to_dict())


def expected_calibration_error(scores: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Guo et al. 2017, equation 3, written down again."""
    sure, guess = scores.double().max(1)
    total = 0.0
    for b in range(bins):
        inside = (sure > b / bins) & (sure <= (b + 1) / bins)
        if inside.any():
            gap = (guess[inside] == targets[inside]).double().mean() - sure[inside].mean()
            total += float(inside.double().mean() * gap.abs())
    return total


def test_five_classes_have_no_top5() -> None:
    scores, targets = torch.eye(5), [0, 1, 2, 3, 4]
    found = measure([(scores, torch.arange(5))], pictures(targets, LABELS[:5]), LABELS[:5], "val", ())
    assert (found.top1, found.top5) == (1.0, None)
    assert (found.confusions, found.mistakes()) == ((), ())


# Classes are matched by name.


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders named after classes of CIFAR-10, in another order and not all of them; the pictures are of one colour."""
    root = tmp_path_factory.mktemp("animals")
    for number, name in enumerate(("truck", "cat", "ship")):
        (root / name).mkdir()
        for i in range(3):
            Image.new("RGB", (32, 32), (80 * number, 20 * i, 99)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def cifar() -> vitzoo.ViT:
    return vitzoo.create("vit_nano4.cifar10", pretrained=True)


def test_a_model_is_compared_by_the_names_of_its_classes(animals: Path, cifar: vitzoo.ViT) -> None:
    cifar.train()
    found = evaluate(cifar, animals, batch_size=2)
    assert cifar.training
    cifar.eval()
    files = [animals / name for name in found.pictures.names]
    with torch.inference_mode():
        right = [cifar.labels[int(cifar(vitzoo.preprocess(cifar)(f)[None]).argmax())] == f.parent.name for f in files]

    assert found.top1 == sum(right) / 9
    assert {result.name: result.pictures for result in found.classes} == {"cat": 3, "ship": 3, "truck": 3}
    assert [cifar.labels[target] for target in found.targets] == [file.parent.name for file in files]


def test_a_class_that_the_model_does_not_know_is_an_error(animals: Path, cifar: vitzoo.ViT, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("cat", "unicorn"):
        (tmp_path / "data" / name).symlink_to(animals / "cat")
    with pytest.raises(
        DataError, match="1 of 2 classes are unknown to the model: 'unicorn'; the model knows 'airplane'"
    ):
        evaluate(cifar, tmp_path / "data")


def test_names_of_classes_can_be_given(animals: Path, cifar: vitzoo.ViT) -> None:
    swapped = tuple({"cat": "dog", "dog": "cat"}.get(name, name) for name in cifar.labels)
    plain, renamed = evaluate(cifar, animals), evaluate(cifar, animals, labels=swapped)
    assert torch.equal(plain.predictions, renamed.predictions)
    assert not torch.equal(plain.targets, renamed.targets)
    with pytest.raises(SpecError, match="labels names 2 classes, and the model has 10"):
        evaluate(cifar, animals, labels=("a", "b"))
    with pytest.raises(DataError, match="several classes named 'cat'"):
        evaluate(cifar, animals, labels=tuple("cat" if name == "dog" else name for name in cifar.labels))


def test_models_without_names_or_classifier(animals: Path) -> None:
    with pytest.raises(SpecError, match="does not know the names of its 5 classes"):
        evaluate(vitzoo.create("vit_nano4", num_classes=5), animals)
    with pytest.raises(SpecError, match="no classifier"):
        evaluate(vitzoo.create("vit_nano4", num_classes=0), animals)


def test_the_folders_of_imagenet_go_with_its_names() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    names, folders = tuple(info.label_descriptions()), tuple(info.label_names())
    assert matched(pictures([0, 1], (folders[3], folders[0])), names)[3] == folders[3]
    with pytest.raises(DataError, match="'n01440764'"):
        matched(pictures([0, 0], ("n01440764",)), names[:-1])


def test_splits(tmp_path: Path, animals: Path, cifar: vitzoo.ViT) -> None:
    for split in ("train", "test"):
        (tmp_path / "d" / split).mkdir(parents=True)
        (tmp_path / "d" / split / "cat").symlink_to(animals / "cat")
    assert evaluate(cifar, tmp_path / "d").split == "test"
    assert evaluate(cifar, tmp_path / "d", split="train").split == "train"
    with pytest.raises(DataError, match="expected split val, found"):
        evaluate(cifar, tmp_path / "d", split="val")


# Nearest neighbours.


def test_votes_are_those_of_dino() -> None:
    generator = torch.Generator().manual_seed(0)
    known, queries = torch.randn(30, 8, generator=generator), torch.randn(7, 8, generator=generator)
    targets = torch.randint(0, 4, (30,), generator=generator)
    found = votes(known, targets, queries, 4, k=5, temperature=0.07)

    for query, row in zip(queries, found, strict=True):
        similar = torch.nn.functional.cosine_similarity(query[None], known)
        near = similar.argsort(descending=True)[:5]
        weights = torch.zeros(4)
        for i in near:
            weights[targets[i]] += torch.exp(similar[i] / 0.07)
        assert torch.allclose(row, weights / weights.sum(), atol=1e-5)


def test_each_picture_is_its_own_nearest_neighbour(animals: Path) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True, num_classes=0)
    found = nearest_neighbours(model, animals, animals, k=1)
    assert (found.top1, found.labels) == (1.0, ("cat", "ship", "truck"))
    assert nearest_neighbours(model, animals, open_splits(animals)["all"], k=99).pictures_per_second > 0


# The command line.

Run = Callable[..., Any]


def test_the_command_says_the_same_in_words_and_in_json(run: Run, animals: Path, cifar: vitzoo.ViT) -> None:
    (animals / "cat" / "bad.png").write_bytes(b"no picture")
    found = json.loads((result := run("evaluate", "vit_nano4.cifar10", animals, "--json")).out)
    assert result.code == 0
    assert found["model"] == "vit_nano4.cifar10"
    assert found["top1"] == round(evaluate(cifar, animals).top1, 6)
    assert [skipped["where"] for skipped in found["skipped"]] == ["cat/bad.png"]
    text = run("evaluate", "vit_nano4.cifar10", animals, "--batch-size", "2").out
    assert f"{found['top1']:.2%}" in text
    assert "1 pictures left out:\n  cat/bad.png" in text
    strict = run("evaluate", "vit_nano4.cifar10", animals, "--strict-data")
    assert (strict.code, strict.out) == (2, "")
    (animals / "cat" / "bad.png").unlink()


def test_the_command_refuses_in_one_line(run: Run, animals: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n")
    for arguments in (
        (tmp_path / "nowhere",),
        (animals, "--split", "val"),
        (animals, "--labels", tmp_path / "names.txt"),
        (animals, "--labels", tmp_path / "names.txt", "--knn", animals),
        (animals, "--device", "abacus"),
    ):
        result = run("evaluate", "vit_nano4.cifar10", *arguments)
        assert result.code == 2
        assert result.err.startswith("vitzoo: ")
        assert result.err.count("\n") == 1


def test_the_command_with_neighbours(run: Run, animals: Path) -> None:
    found = json.loads(run("evaluate", "vit_nano4.cifar10", animals, "--knn", animals, "-k", "1", "--json").out)
    assert found["top1"] == 1.0
