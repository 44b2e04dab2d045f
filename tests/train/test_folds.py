"""Cross-validation: each picture is validated on once, by a model that saw neither it nor its group; and the mean."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from training import RUN, write_model, write_pictures

from vitzoo.data.columns import Columns
from vitzoo.errors import DataError, TrainingError
from vitzoo.train.datamodule import PictureData
from vitzoo.train.folds import cross_validate, spread


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_folds_of_a_table_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_pictures(tmp_path / "pictures", 12)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "label", "patient"))
        for picture in sorted(data.rglob("*.png")):
            table.writerow((picture, picture.parent.name, f"{picture.parent.name}{int(picture.stem) // 3}"))
    seen: list[tuple[set[str], set[str], set[int], set[int]]] = []
    adapt = PictureData.adapt_to

    def recording(self: PictureData, model: object) -> PictureData:
        adapt(self, model)  # type: ignore[arg-type]
        train, val = self.train_pictures, self.val_pictures
        seen.append((set(train.names), set(val.names), set(train.groups.tolist()), set(val.groups.tolist())))  # type: ignore[union-attr]
        return self

    monkeypatch.setattr(PictureData, "adapt_to", recording)
    out, columns = tmp_path / "out", Columns(group_by="patient")
    start = write_model(tmp_path / "m.safetensors")
    path = cross_validate(start, tmp_path / "t.csv", out, "full", folds=3, columns=columns, **{**RUN, "epochs": 1})

    assert sum(len(val) for _, val, _, _ in seen) == 36
    assert len(set.union(*(val for _, val, _, _ in seen))) == 36
    for train, val, train_groups, val_groups in seen:
        assert not train & val
        assert not train_groups & val_groups
        assert len(train) + len(val) == 36
    found = json.loads(path.read_text())
    runs = [json.loads((out / f"fold{i}" / "results.json").read_text()) for i in (1, 2, 3)]
    assert found["mean"]["top1"] == pytest.approx(np.mean([run["top1"] for run in runs]), abs=1e-6)
    assert found["std"]["top1"] == pytest.approx(np.std([run["top1"] for run in runs], ddof=1), abs=1e-6)
    assert sum(run["pictures"] for run in runs) == 36
    assert "| [fold 2](fold2/report.md) |" in (out / "report.md").read_text()


def test_numbers_that_not_every_run_has_have_no_mean() -> None:
    runs = [{"top1": 1.0, "top5": None, "pictures": 3, "pictures_per_second": 9.0}, {"top1": 0.5, "top5": 0.7}]
    assert spread(runs) == {"mean": {"top1": 0.75}, "std": {"top1": pytest.approx(0.353553)}}
    assert spread([{"a": 1.0}, {"a": None}]) == {"mean": {}, "std": {}}


def test_folds_that_are_refused(tmp_path: Path) -> None:
    start = write_model(tmp_path / "m.safetensors")
    for split in ("train", "val"):
        write_pictures(tmp_path / "split" / split, 3)
    with pytest.raises(DataError, match="folds validate on parts of the training pictures"):
        cross_validate(start, tmp_path / "split", tmp_path / "a", **RUN)
    with pytest.raises(DataError, match="give folds=9"):
        cross_validate(start, tmp_path / "split" / "train", tmp_path / "b", folds=10, **RUN)
    with pytest.raises(TrainingError, match="one after another on one device"):
        cross_validate(start, tmp_path / "split" / "train", tmp_path / "c", devices=2, **RUN)
    assert not (tmp_path / "b").exists()


def test_the_command_prints_mean_and_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitzoo.cli import main

    data, start = write_pictures(tmp_path / "data", 6), write_model(tmp_path / "m.safetensors")
    words = (
        f"vitzoo finetune -m {start} -d {data} -o {tmp_path / 'out'} -r full --epochs 1 -b 6 --folds 2 --num-workers 0"
    )
    monkeypatch.setattr(sys, "argv", [*words.split(), "--accelerator", "cpu", "--set", "warmup_epochs=0"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("2 folds")
    assert "+-" in said
    assert str(tmp_path / "out" / "report.md") in said
