"""Numbers of a run in the places where people look for them: the real packages, on this machine alone."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from training import run, write_model, write_pictures

from vitzoo.errors import TrainingError
from vitzoo.train.loggers import IDS


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model and pictures; nothing is sent anywhere."""
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return write_model(tmp_path / "tiny.safetensors"), write_pictures(tmp_path / "data", 4)


def test_each_logger_has_the_numbers_and_goes_on(alone: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    given: dict[str, Any] = {"batch_size": 4, "loggers": ("mlflow", "wandb", "csv")}
    run(*alone, out, **given)
    begun = json.loads((out / IDS).read_text())
    assert begun.keys() == {"mlflow", "wandb"}
    assert not (out / "tensorboard").exists()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    found = client.get_run(begun["mlflow"])
    assert (found.info.status, found.data.params["batch_size"]) == ("FINISHED", "4")
    assert len(client.get_metric_history(begun["mlflow"], "val_top1")) == 2
    assert [folder for folder in (out / "wandb").iterdir() if folder.name.endswith(begun["wandb"])]
    (out / "model.safetensors").unlink()

    run(*alone, out, **given, resume=True)
    assert json.loads((out / IDS).read_text()) == begun
    assert len(client.search_runs([found.info.experiment_id])) == 1
    import wandb

    assert wandb.run is None  # else the next run would be taken in


def test_a_logger_that_cannot_begin_is_named(
    alone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/nowhere/all.db")
    with pytest.raises(TrainingError, match=r"logger mlflow cannot begin: .*MLFLOW_TRACKING_URI"):
        run(*alone, tmp_path / "out", batch_size=4, loggers=("mlflow",))
    with pytest.raises(TrainingError, match="unknown logger 'neptune'; expected tensorboard, csv, wandb, mlflow"):
        run(*alone, tmp_path / "other", batch_size=4, loggers=("neptune",))


def test_nobody_is_logged_in(alone: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    wandb.teardown()  # as a new process has it
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("WANDB_API")]:
        monkeypatch.delenv(name)
    with pytest.raises(TrainingError, match="logger wandb cannot begin") as raised:
        run(*alone, tmp_path / "out", batch_size=4, loggers=("wandb",), epochs=1, warmup_epochs=0)
    assert "set WANDB_MODE=offline" in str(raised.value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    run(*alone, tmp_path / "again", batch_size=4, loggers=("wandb",), epochs=1, warmup_epochs=0)
