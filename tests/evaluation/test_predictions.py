"""The table of predictions: every number of the evaluation can be computed from it, by pandas and scikit-learn."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluated import drawn, evaluation
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from vitzoo.errors import SpecError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.labels import LabelEvaluation
from vitzoo.evaluation.numbers import NumberEvaluation
from vitzoo.evaluation.predictions import write_predictions

READ = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for name in ("cat", "ship", "frog"):
        (root / name).mkdir()
        for i in range(4):
            pixels = random.normal(120, 50, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    (root / "cat" / "bad.png").write_bytes(b"no picture")
    return root


@pytest.mark.parametrize("ending", READ)
def test_the_numbers_follow_from_the_table(run: Callable[..., Any], data: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "deep" / f"predictions{ending}"
    words = ("evaluate", "vit_nano4.cifar10", data, "--predictions", path)
    found = json.loads(run(*words, "--json").out)
    assert found["predictions"] == str(path)
    table = READ[ending](path)
    assert len(table) == found["pictures"] == 12
    assert sorted(table["key"]) == sorted(f"{name}/{i}.png" for name in ("cat", "ship", "frog") for i in range(4))
    assert [Path(key).parent.name for key in table["key"]] == list(table["truth"])
    classes = [column.removeprefix("probability ") for column in table.columns[3:]]
    given = table[table.columns[3:]].to_numpy().astype(float)
    assert [classes[i] for i in given.argmax(1)] == list(table["prediction"])
    assert accuracy_score(table["truth"], table["prediction"]) == pytest.approx(found["top1"], abs=1e-6)
    assert log_loss([classes.index(t) for t in table["truth"]], given, labels=range(10)) == pytest.approx(
        found["log_loss"], abs=1e-4
    )
    areas = [roc_auc_score(table["truth"] == name, given[:, classes.index(name)]) for name in ("cat", "ship", "frog")]
    assert np.mean(areas) == pytest.approx(found["auroc"], abs=1e-5)
    assert f"predictions written to {path}" in run(*words).out


@pytest.mark.parametrize("ending", READ)
def test_labels_are_lists_of_names(tmp_path: Path, ending: str) -> None:
    _, scores, _ = drawn(0, 5000, 3, False)  # more than one part
    targets = (scores > 0.3).astype(np.int64)
    targets[:, 1] = 0
    targets[:4100] = 0  # a first part without a label
    table = READ[ending](write_predictions(evaluation(LabelEvaluation, targets, scores), tmp_path / f"t{ending}"))
    truth = [[name for name, there in zip("abc", row, strict=True) if there] for row in targets]
    joined = ["|".join(row) for row in truth]
    found = table["truth"].fillna("").tolist() if ending == ".csv" else ["|".join(row) for row in table["truth"]]
    assert found == joined
    assert np.allclose(table["probability b"], 1 / (1 + np.exp(-scores[:, 1])), atol=1e-6)


@pytest.mark.parametrize("ending", READ)
def test_numbers_have_a_column_each(tmp_path: Path, ending: str) -> None:
    targets = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    found = evaluation(NumberEvaluation, targets, targets + 1)
    table = READ[ending](write_predictions(found, tmp_path / f"t{ending}"))
    assert list(table.columns) == ["key", "truth a", "truth b", "prediction a", "prediction b"]
    assert np.allclose(table["truth b"], targets[:, 1])
    assert np.allclose(table["prediction a"], targets[:, 0] + 1)


def test_classes_of_one_name_keep_a_column_each(tmp_path: Path) -> None:
    targets, scores, _ = drawn(0, 4, 3, False)
    found = evaluation(ClassEvaluation, targets, scores)
    object.__setattr__(found, "labels", ("crane", "bee", "crane"))
    with write_predictions(found, tmp_path / "t.csv").open() as file:
        assert next(csv.reader(file))[3:] == ["probability crane (0)", "probability bee", "probability crane (2)"]


def test_other_endings_are_refused_before_anything_is_computed(run: Callable[..., Any], data: Path) -> None:
    result = run("evaluate", "nothing-of-that-name", data, "--predictions", "table.xlsx")
    assert result.code == 2
    assert "written as .parquet or .csv; found 'table.xlsx'" in result.err
    with pytest.raises(SpecError):
        write_predictions(evaluation(ClassEvaluation, *drawn(0, 4, 3, False)[:2]), Path("table.xlsx"))
