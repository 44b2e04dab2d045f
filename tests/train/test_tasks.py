"""Several labels, grades and numbers: from a table to a model that says what its numbers mean, wherever it goes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, mean_absolute_error
from training import run, write_model

import vitzoo
from vitzoo.data.columns import Columns
from vitzoo.errors import DataError, SpecError, TrainingError
from vitzoo.spec import Task, TaskKind
from vitzoo.train.ending import best_thresholds

GRADES = ("low", "mid", "high")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a red and a green part that are there or not, and as much blue as a number says."""
    folder, random = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = []
    for i in range(48):
        red, green = (int(n) for n in random.integers(0, 2, 2))
        value = float(random.uniform())
        pixels = random.integers(0, 60, (20, 24, 3)) + np.array([150 * red, 150 * green, int(150 * value)])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
        names = [name for name, there in (("red", red), ("green", green)) if there]
        rows.append(
            {
                "path": f"{i}.png",
                "tags": "|".join(names) or "none",
                "red": red,
                "green": green,
                "value": 100 + 50 * value,
                "other": -3 * value,
                "age": int(90 * value),
                "grade": GRADES[min(int(3 * value), 2)],
                "counts": 0 if i % 2 else 1,
            }
        )
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


def columns(*names: str, **more: Any) -> Columns:
    return Columns(names, "path", **more)


def learnt(start: Path, table: Path, output: Path, *names: str, recipe: str = "full", **changes: Any) -> Path:
    weight = changes.pop("weight_column", None)
    settings = {"lr": 1e-2, "epochs": 6, **changes}
    return run(start, table, output, recipe, columns=columns(*names, weight_column=weight), **settings)


def answers(file: Path, table: Path) -> torch.Tensor:
    vit = vitzoo.create(file).eval()
    with torch.inference_mode():
        paths = [table.parent / row["path"] for row in csv.DictReader(table.open())]
        return vit(torch.stack([vitzoo.preprocess(vit)(path) for path in paths]))


def column(table: Path, *names: str) -> np.ndarray:
    return np.array([[float(row[name]) for name in names] for row in csv.DictReader(table.open())])


@pytest.mark.parametrize("loss", [None, "smooth_l1"])
@pytest.mark.parametrize(("names", "task"), [(("value",), None), (("value", "other"), None), (("age",), "regression")])
def test_numbers_come_out_in_their_units(
    names: tuple[str, ...], task: str | None, loss: str | None, start: Path, table: Path, tmp_path: Path
) -> None:
    file = learnt(start, table, tmp_path / "out", *names, task=task, loss=loss)
    vit = vitzoo.create(file)
    assert (vit.about.kind, vit.labels) == (TaskKind.REGRESSION, names)
    given, truth = answers(file, table).numpy(), column(table, *names)
    found = vitzoo.evaluate(file, table, columns=columns(*names))
    assert found.metrics["mae"] == pytest.approx(mean_absolute_error(truth, given), rel=1e-4)
    assert found.metrics["r2"] > 0.3
    text = (tmp_path / "out" / "report.md").read_text()
    assert "mean absolute error" in text
    assert "numbers and no classes" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        (("red", "green"), {}),
        (("red", "green"), {"recipe": "linear_probe", "batch_size": 12}),
        (("tags",), {"task": "multi_label", "mixup": 0.2, "class_weights": "balanced", "label_smoothing": 0.1}),
        (("tags",), {"task": "multi_label", "loss": "focal", "class_weights": {"red": 2.0}, "cutmix": 1.0}),
    ],
    ids=str,
)
def test_labels_have_thresholds(
    names: tuple[str, ...], changes: dict[str, Any], start: Path, table: Path, tmp_path: Path
) -> None:
    file = learnt(start, table, tmp_path / "out", *names, **changes)
    vit = vitzoo.create(file)
    task = vit.about.task
    assert task is not None
    assert task.kind is TaskKind.MULTI_LABEL
    assert task.thresholds is not None
    assert len(task.thresholds) == len(vit.labels or ())
    found = vitzoo.evaluate(file, table, columns=columns(*names))
    truth = np.stack([column(table, "red", "green")[:, ("red", "green").index(n)] for n in ("green", "red")], 1)
    places = [list(vit.labels or ()).index(name) for name in ("green", "red")]
    given = answers(file, table).sigmoid().numpy()[:, places] > np.array(task.thresholds)[places]
    f1 = [f1_score(truth[:, i], given[:, i]) for i in range(2)]
    assert [found.rows[place].metrics["f1"] for place in places] == pytest.approx(f1)
    assert found.metrics["mean_average_precision"] > 0.9


def test_grades_have_an_order(start: Path, table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = learnt(start, table, tmp_path / "out", "grade", task="ordinal", grades=GRADES)
    assert "the grades, from the lowest: low, mid, high" in capfd.readouterr().err
    vit = vitzoo.create(file)
    assert (vit.about.kind, vit.labels) == (TaskKind.ORDINAL, GRADES)
    rows = list(csv.DictReader((tmp_path / "out" / "metrics.csv").open()))
    assert float(rows[-1]["val_mae"]) < 1
    with pytest.raises(DataError, match="grades are low, mid, and the classes are high, low, mid"):
        learnt(start, table, tmp_path / "other", "grade", task="ordinal", grades=("low", "mid"))


def test_a_run_goes_on_from_numbers(start: Path, table: Path, tmp_path: Path) -> None:
    """The head that gives them in their units is kept, so that nothing is lost before the first step."""
    first = learnt(start, table, tmp_path / "first", "value")
    for recipe in ("full", "lora"):
        again = learnt(first, table, tmp_path / recipe, "value", recipe=recipe, epochs=1, lr=1e-9, min_lr=0.0)
        torch.testing.assert_close(answers(again, table), answers(first, table), rtol=1e-4, atol=1e-3)


def test_what_pictures_count(start: Path, table: Path, tmp_path: Path) -> None:
    """Half of the pictures count nothing: a run without them learns the same, step for step, on the others alone."""
    rows = list(csv.DictReader(table.open()))
    for i, row in enumerate(rows):
        row["path"] = str(table.parent / row["path"])
        row["grade"] = row["grade"] if i % 2 == 0 else "low"  # wrong, and without weight
    wrong = tmp_path / "wrong.csv"
    with wrong.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    accuracy = {}
    for name, weight in (("heard", None), ("not heard", "counts")):
        found = learnt(start, wrong, tmp_path / name, "grade", weight_column=weight, epochs=8, val=table)
        accuracy[name] = vitzoo.evaluate(found, table, columns=columns("grade")).metrics["top1"]
    assert accuracy["not heard"] > accuracy["heard"]


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("value",), {"loss": "cross_entropy"}, "'cross_entropy' is not for task 'regression'; give mse or smooth_l1"),
        (("grade",), {"loss": "mse"}, "loss 'mse' is not for task 'classes'; give cross_entropy or bce or focal"),
        (("value",), {"mixup": 0.2, "class_weights": "balanced"}, "class_weights and mixup or cutmix: not for task"),
        (("red", "green"), {"sampling": "balanced"}, "sampling: not for task 'multi_label'"),
        (("red", "green"), {"mixup": 0.2, "weight_column": "counts"}, "mixup or cutmix with a weight for each picture"),
        (("grade",), {"class_weights": {"lo": 2.0}}, "class_weights names lo, and the classes are high, low, mid"),
    ],
)
def test_options_of_another_task_are_refused(
    names: tuple[str, ...], changes: dict[str, Any], message: str, start: Path, table: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):
        learnt(start, table, tmp_path / "out", *names, **changes)
    assert not (tmp_path / "out").exists()


def test_labels_that_are_no_numbers(start: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the label of 0.png is '.*'; expected a number \(grade\)"):
        learnt(start, table, tmp_path / "out", "grade", task="regression")
    with pytest.raises(SpecError, match="sampling and class_weights would both make up for rare classes"):
        learnt(start, table, tmp_path / "out", "grade", sampling="balanced", class_weights="balanced")


def test_a_column_of_flags_that_holds_something_else(start: Path, table: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(table.open()))
    path = table.parent / "unknown.csv"

    def write(chosen: list[dict[str, str]]) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(chosen)

    write([{**row, "red": "-1"} if i == 3 else row for i, row in enumerate(rows)])
    with pytest.raises(DataError, match=r"column red has -1.0 for 3.png; expected 0 or 1.*leave their rows out"):
        learnt(start, path, tmp_path / "out", "red", "green", task="multi_label")
    write([row for i, row in enumerate(rows) if i != 3])
    learnt(start, path, tmp_path / "out", "red", "green", task="multi_label", epochs=1)


def test_classify_says_what_the_numbers_mean(start: Path, table: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    picture = table.parent / "0.png"
    for names, key, text in ((("value",), "numbers", "value"), (("red", "green"), "labels", "%")):
        file = learnt(start, table, tmp_path / key, *names)
        found = run("classify", "-m", file, picture, "--json").out
        rows = json.loads(found)["results"][0][key]
        given = answers(file, table)[0]
        for row in rows:
            number = given[row["class_index"]]
            if key == "numbers":
                assert row["value"] == pytest.approx(float(number), rel=1e-4)
            else:
                assert row["probability"] == pytest.approx(float(number.sigmoid()), abs=1e-5)
                limit = vitzoo.create(file).about.task.thresholds[row["class_index"]]
                assert row["given"] == (row["probability"] > limit)
        assert text in run("classify", "-m", file, picture).out
        assert ("value" if key == "numbers" else "given") in run("classify", "-m", file, picture, "--csv").out


def test_transformers_know_the_task_and_others_are_said_not_to(start: Path, table: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for names, problem in ((("value", "other"), "regression"), (("red", "green"), "multi_label_classification")):
        file = learnt(start, table, tmp_path / problem, *names, epochs=1, warmup_epochs=0)
        folder = vitzoo.convert(file, tmp_path / f"hf_{problem}", "huggingface").target
        assert transformers.AutoConfig.from_pretrained(folder).problem_type == problem
        assert vitzoo.create(folder).about.task == vitzoo.create(file).about.task
        with pytest.warns(UserWarning, match="do not say that the head gives"):
            vitzoo.save(vitzoo.create(file), tmp_path / f"timm_{problem}", layout="timm")


def test_thresholds_are_the_best_there_are() -> None:
    """Against each threshold that tells the pictures apart otherwise."""
    random = np.random.default_rng(0)
    sure = random.uniform(0, 1, (40, 3)).round(1).astype(np.float32)  # with many ties
    there = random.uniform(0, 1, (40, 3)) < sure
    there[:, 2] = False
    found = best_thresholds(sure, there)
    for label in range(2):
        most = max(f1_score(there[:, label], sure[:, label] > t) for t in np.linspace(-0.05, 1, 22))
        assert f1_score(there[:, label], sure[:, label] > found[label]) == pytest.approx(most)
    assert found[2] == 0.5


def test_a_file_without_a_task_is_of_classes(start: Path, tmp_path: Path) -> None:
    vit = vitzoo.create(start)
    assert (vit.about.task, vit.about.kind) == (None, TaskKind.CLASSES)
    vit.about = vit.about.replace(task=Task(kind=TaskKind.MULTI_LABEL))
    vit.reset_classifier(4)
    assert vit.about.task is None  # of the head that is gone
