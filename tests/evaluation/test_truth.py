"""Tables say several labels or numbers of a picture: the evaluation is then of these."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, r2_score
from tiny import disturb
from training import SPEC, write_pictures

import vitzoo
from vitzoo.data.columns import Columns
from vitzoo.errors import DataError
from vitzoo.evaluation.labels import LabelEvaluation
from vitzoo.evaluation.measure import evaluate
from vitzoo.evaluation.numbers import NumberEvaluation


def table(folder: Path, rows: Callable[[int], dict[str, Any]]) -> Path:
    pictures = sorted(write_pictures(folder / "pictures", 4).rglob("*.png"))
    lines = [json.dumps({"path": str(one.relative_to(folder)), **rows(i)}) for i, one in enumerate(pictures)]
    (folder / "table.jsonl").write_text("\n".join(lines))
    return folder / "table.jsonl"


def model(outputs: int) -> vitzoo.ViT:
    return disturb(vitzoo.create(vitzoo.ViTSpec(**{**SPEC, "num_classes": outputs}), generator=0), 0.1)


@torch.inference_mode()
def given(vit: vitzoo.ViT, found: Any, folder: Path) -> np.ndarray:
    return vit(vitzoo.preprocess(vit).batch(folder / name for name in found.pictures.names)).numpy()


def test_several_labels_a_picture(tmp_path: Path) -> None:
    names = ("cat", "dog", "owl")
    path = table(tmp_path, lambda i: {"labels": [name for j, name in enumerate(names) if i >> j & 1]})
    vit = model(3)
    vit.labels = ("owl", "cat", "dog")
    found = evaluate(vit, path)
    assert isinstance(found, LabelEvaluation)
    truth = found.targets.numpy()
    first = found.pictures.names.index(str(sorted((tmp_path / "pictures").rglob("*.png"))[6].relative_to(tmp_path)))
    assert truth[first].tolist() == [1, 0, 1]
    scores = given(vit, found, tmp_path)
    judge = np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in range(3) if truth[:, c].any()])
    assert found.metrics["mean_average_precision"] == pytest.approx(judge, abs=1e-6)
    mirrored = evaluate(vit, path, flip=True)
    assert not torch.equal(mirrored.scores, found.scores)
    assert mirrored.probabilities.min() >= 0
    vit.labels = ("owl", "cat", "cow")
    with pytest.raises(DataError, match="does not know 'dog'"):
        evaluate(vit, path)


def test_numbers(tmp_path: Path, run: Callable[..., Any]) -> None:
    path = table(tmp_path, lambda i: {"height": i * 0.5, "age": 10 - i})
    vit = model(2)
    found = evaluate(vit, path, columns=Columns(("height", "age")))
    assert isinstance(found, NumberEvaluation)
    assert found.labels == ("height", "age")
    assert found.metrics["r2"] == pytest.approx(r2_score(found.targets, given(vit, found, tmp_path)), abs=1e-5)
    saved = vitzoo.save(vit, tmp_path / "m.safetensors")
    words = ("evaluate", saved, path, "--label-column", "height", "--label-column", "age", "--num-workers", "0")
    told = json.loads(run(*words, "--json").out)
    assert told["task"] == "numbers"
    assert told["mae"] == pytest.approx(found.metrics["mae"], abs=1e-5)
    assert "mean absolute error" in run(*words).out
    refused = run(*words, "--calibrate", tmp_path / "out")
    assert (refused.code, refused.err.count("--calibrate is for classes")) == (2, 1)
    with pytest.raises(DataError, match="1 numbers a picture, and the model gives 2"):
        evaluate(vit, path, columns=Columns(("height",)))
