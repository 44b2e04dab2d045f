"""Accuracy, calibration and confusion against values worked out by hand; classes matched by name or not at all."""

import json
import subprocess
import sys
from collections import Counter
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
from vitzoo.data.pictures import Pictures
from vitzoo.errors import DataError, SpecError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.measure import evaluate, matched, measure
from vitzoo.evaluation.predict import Findings

LABELS = ("ant", "bee", "cow", "dog", "eel", "fox")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))


def pictures(targets: list[int], classes: tuple[str, ...] = LABELS) -> Pictures:
    names = [f"{i}.png" for i in range(len(targets))]
    return Pictures("made up", None, classes, names, np.array(targets), np.arange(len(targets)), "")


def measured(rows: list[list[float]], targets: list[int]) -> ClassEvaluation:
    return measure(torch.tensor(rows).log(), pictures(targets), LABELS, "val", Findings())


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
    found = measure(scores, pictures(targets, LABELS[:5]), LABELS[:5], "val", Findings())
    assert (found.top1, found.top5) == (1.0, None)
    assert found.undefined["top5"] == "the model has 5 classes"
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


def test_each_picture_is_opened_once(animals: Path, cifar: vitzoo.ViT, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    read = Pictures.read

    def counted(self: Pictures, i: int, *rest: Any) -> object:
        seen[self.names[i]] += 1
        return read(self, i, *rest)

    monkeypatch.setattr(Pictures, "read", counted)
    evaluate(cifar, animals, batch_size=2, num_workers=0)
    assert set(seen.values()) == {1}
    assert len(seen) == 9


def test_processes_that_load_change_nothing(animals: Path, cifar: vitzoo.ViT) -> None:
    (animals / "cat" / "bad.png").write_bytes(b"no picture")
    alone, shared = (evaluate(cifar, animals, batch_size=2, num_workers=n) for n in (0, 2))
    (animals / "cat" / "bad.png").unlink()
    assert torch.equal(alone.scores, shared.scores)
    assert alone.skipped == shared.skipped
    assert [skipped.where for skipped in alone.skipped] == ["cat/bad.png"]
    assert list(alone.pictures.names) == list(shared.pictures.names)


def test_a_model_that_gives_no_numbers_is_an_error(animals: Path) -> None:
    broken = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    with torch.no_grad():
        broken.head.fc.bias[3] = torch.nan
    with pytest.raises(DataError, match=r"no numbers \(NaN\) for 9 of 9 pictures"):
        evaluate(broken, animals)


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
        (animals, "--dtype", "float3"),
        (animals, "--img-size", "big"),
        (animals, "--crops", "3"),
        (animals, "--predictions", tmp_path / "table.xlsx"),
    ):
        result = run("evaluate", "vit_nano4.cifar10", *arguments)
        assert result.code == 2
        assert result.err.startswith("vitzoo: ")
        assert result.err.count("\n") == 1


def test_the_command_takes_the_options_of_a_model(run: Run, animals: Path) -> None:
    plain = json.loads(run("evaluate", "vit_nano4.cifar10", animals, "--json", "--device", "auto").out)
    larger = json.loads(run("evaluate", "vit_nano4.cifar10", animals, "--json", "--img-size", "48").out)
    halved = json.loads(run("evaluate", "vit_nano4.cifar10", animals, "--json", "--dtype", "bfloat16").out)
    assert larger["log_loss"] != plain["log_loss"]
    assert halved["log_loss"] != plain["log_loss"]
    assert halved["log_loss"] == pytest.approx(plain["log_loss"], abs=0.05)


def test_intervals_can_be_left_out(run: Run, animals: Path) -> None:
    found = json.loads(run("evaluate", "vit_nano4.cifar10", animals, "--json", "--bootstrap", "0").out)
    assert found["intervals"] == {}
    assert "95 %" not in run("evaluate", "vit_nano4.cifar10", animals, "--bootstrap", "0").out
    assert "95 % between" in run("evaluate", "vit_nano4.cifar10", animals).out


def test_evaluation_imports_nothing_that_is_slow() -> None:
    """torchmetrics imports transformers and torchvision, Lightning imports torchmetrics: ten seconds."""
    code = (
        "import sys, vitzoo.cli.evaluate, vitzoo.evaluation.neighbours, vitzoo.evaluation.calibration\n"
        "print([name for name in ('torchmetrics', 'lightning', 'transformers', 'torchvision', 'sklearn', 'matplotlib')"
        " if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
