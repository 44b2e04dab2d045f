"""A store of vectors in place of pictures: the same numbers, and no picture is opened, for they are gone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from safetensors.torch import load_file
from training import write_model, write_pictures

import vitzoo
from vitzoo import Columns, embed, evaluate, finetune, probe
from vitzoo.errors import DataError, SpecError, TrainingError
from vitzoo.evaluation.neighbours import nearest_neighbours
from vitzoo.evaluation.predict import Reading
from vitzoo.evaluation.probes import METHODS

ALONE = Reading(num_workers=0)
NAMES = ("blue", "green", "red", *"abcd")
"""Of the model's classes."""
FEATURES: dict[str, dict[str, Any]] = {
    "linear": {"features": "cls_mean", "blocks": [-2, -1]},
    "logistic": {},
    "class-mean": {},
    "attentive": {"features": "patches"},
}
"""What a store has to hold for each way to probe."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", depth=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three colours, in two parts."""
    write_pictures(tmp_path / "all", 8)
    for number, picture in enumerate(sorted((tmp_path / "all").rglob("*.png"))):
        folder = tmp_path / "data" / ("train" if number % 4 else "val") / picture.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(picture, folder)
    return tmp_path / "data"


def stored(model: Path, data: Path, output: Path, **options: Any) -> Path:
    return embed(model, data, output, num_workers=0, rows_per_file=7, **options).store.folder


@pytest.mark.parametrize("method", METHODS)
def test_a_probe_on_a_store_is_that_on_the_pictures(tmp_path: Path, model: Path, data: Path, method: str) -> None:
    store = stored(model, data, tmp_path / "store", **FEATURES[method])
    expected = None if method == "attentive" else probe(model, data, method, reading=ALONE, bootstrap=0)
    shutil.rmtree(data)
    found = probe(model, store, method, reading=ALONE, bootstrap=0)
    assert (found.evaluation.top1, len(found.train.targets)) == (1.0, 18)
    if expected is not None:  # on pictures an attentive probe sees the class token too
        assert found.trials.keys() == expected.trials.keys()
        assert torch.allclose(found.evaluation.scores, expected.evaluation.scores, atol=1e-3)
    found.check()


def test_neighbours_and_the_classifier_on_a_store(
    tmp_path: Path, model: Path, data: Path, run: Callable[..., Any]
) -> None:
    shutil.copy(next((data / "train" / "red").iterdir()), data / "val" / "red" / "copy.png")
    store = stored(model, data, tmp_path / "store")
    near = nearest_neighbours(model, data, data, k=3, num_workers=0, bootstrap=0)
    own = evaluate(model, data, labels=NAMES, num_workers=0, bootstrap=0)
    shutil.rmtree(data)
    found = nearest_neighbours(model, store, store, k=3, bootstrap=0)
    assert torch.allclose(found.scores.exp(), near.scores.exp(), atol=1e-5)
    assert any("too, by their bytes: a picture's own copies have no vote" in note for note in found.notes)
    assert torch.allclose(evaluate(model, store, labels=NAMES, bootstrap=0).scores, own.scores, atol=1e-5)
    done = run("evaluate", model, store, "--knn", store, "-k", "3", "--json")
    assert json.loads(done.out)["top1"] == found.top1
    assert "classes by the labels of the store: val 7" in done.err
    assert run("probe", model, store, "--method", "class-mean").code == 0


def test_a_head_that_is_trained_on_a_store_is_the_one_trained_on_the_pictures(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    store = stored(model, data, tmp_path / "store")
    options: dict[str, Any] = {"recipe": "linear_probe", "epochs": 2, "batch_size": 6}
    options |= {"accelerator": "cpu", "num_workers": 0}
    expected = load_file(finetune(model, data, tmp_path / "pictures", **options))
    with pytest.raises(TrainingError, match=r"holds vectors, and the recipe needs pictures: .* recipe='linear_probe'"):
        finetune(model, store, tmp_path / "out", num_workers=0)
    with pytest.raises(SpecError, match="holds vectors of another model"):
        finetune(model, store, tmp_path / "out", img_size=32, **options)
    shutil.rmtree(data)
    found = load_file(finetune(model, store, tmp_path / "out", **options))
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("pictures", "out")]
    assert results[0]["top1"] == results[1]["top1"]
    assert not (tmp_path / "out" / "mistakes.png").exists()


# --- what is refused, and what is to be done


@pytest.mark.parametrize(
    ("embedded", "asked", "message"),
    [
        (
            {"features": "mean"},
            lambda m, s: evaluate(m, s, labels=NAMES),
            "given pooled features as they are, and the store holds mean",
        ),
        ({"normalize": True}, lambda m, s: evaluate(m, s, labels=NAMES), "the store holds pooled of length 1"),
        ({}, lambda m, s: probe(m, s, "attentive"), "attends to patches, and the store holds pooled"),
    ],
)
def test_features_that_a_store_lacks(
    tmp_path: Path, model: Path, data: Path, embedded: Any, asked: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message) as error:
        asked(model, stored(model, data, tmp_path / "store", **embedded))
    features = str(error.value).rpartition("--features ")[2]
    asked(model, stored(model, data, tmp_path / "other", features=features))


def test_a_store_of_another_model(tmp_path: Path, model: Path, data: Path) -> None:
    store = stored(model, data, tmp_path / "store", img_size=32)
    with pytest.raises(SpecError, match=r"another model .*pictures of 32 x 32.*weights sha256"):
        probe(model, store, "class-mean")
    probe(vitzoo.create(model, img_size=32), store, "class-mean")
    other = vitzoo.create(model, img_size=32)
    other.preprocessing = other.preprocessing.replace(mean=(0.1, 0.2, 0.3))
    with pytest.raises(SpecError, match=r"preprocessing's mean \(0.1, 0.2, 0.3\) here"):
        probe(other, store, "class-mean")


def test_views_need_pictures(tmp_path: Path, model: Path, data: Path) -> None:
    with pytest.raises(DataError, match="give the pictures"):
        evaluate(model, stored(model, data, tmp_path / "store"), labels=NAMES, flip=True)
    evaluate(model, data, labels=NAMES, flip=True, num_workers=0)


def test_a_store_without_labels(tmp_path: Path, model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, picture in enumerate(sorted(data.rglob("*.png"))):
        shutil.copy(picture, flat / f"{number}.png")
    store = stored(model, flat, tmp_path / "store")
    assert "no labels are kept" in capsys.readouterr().err
    with pytest.raises(DataError, match="has no labels"):
        probe(model, store)
    stored(model, data, store)
    with pytest.raises(DataError, match="what columns mean is said to vitzoo embed"):
        probe(model, store, columns=Columns(group_by="none"))
    found = probe(model, store, "class-mean", bootstrap=0)
    assert len(found.evaluation.skipped) == 24


def test_parts_for_some_pictures_alone(tmp_path: Path, model: Path, data: Path) -> None:
    store = stored(model, data / "train", tmp_path / "store")
    stored(model, data, store)
    with pytest.raises(DataError, match=r"some pictures are in a part \(train, val\) and some, such as"):
        probe(model, store, "class-mean")
    lone = stored(model, data / "train", tmp_path / "lone")
    assert probe(model, stored(model, data, tmp_path / "own"), "class-mean", train=lone).evaluation.top1 == 1.0


# --- what a store knows


def test_labels_and_parts_are_kept_and_brought_up_to_date(tmp_path: Path, model: Path, data: Path) -> None:
    stored(model, data, tmp_path / "store")
    frame = pandas.read_parquet(tmp_path / "store")
    assert all(
        key == f"{split}/{label}/{Path(key).name}" for key, label, split in frame[["key", "label", "split"]].values
    )
    rows = [(str(path), path.parent.name) for path in sorted(data.rglob("*.png"))]

    def table(rows: list[tuple[str, str]]) -> Any:
        lines = ["path,label", *(f"{path},{label}" for path, label in rows)]
        (data / "table.csv").write_text("\n".join(lines))
        done = embed(model, data / "table.csv", tmp_path / "of_table", num_workers=0, rows_per_file=7)
        frame = pandas.read_parquet(tmp_path / "of_table")
        done.store.verify()
        return done, frame

    done, frame = table(rows)
    assert sorted(frame["label"]) == sorted(label for _, label in rows)
    changed = [(rows[0][0], "other"), *rows[1:]]
    done, frame = table(changed)
    assert (done.computed, done.kept) == (0, len(rows))
    assert list(frame["label"]).count("other") == 1
    done, frame = table([*changed, (rows[0][0], "blue")])  # two classes are none
    assert (done.computed, frame["label"].isna().sum()) == (0, 1)
    assert frame["split"].isna().all()
