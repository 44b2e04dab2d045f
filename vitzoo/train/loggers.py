"""Where the numbers of a run go beside `metrics.csv`: Lightning's loggers, whose runs go on when a run does."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from vitzoo.errors import TrainingError, one_line
from vitzoo.extras import needs
from vitzoo.files.atomic import replacing

PROJECT = "vitzoo"
IDS = "loggers.json"
"""The run that each logger began, so that it goes on in the same one."""


class Logger(StrEnum):
    """Who else keeps the numbers of a run."""

    TENSORBOARD = "tensorboard"
    CSV = "csv"  # metrics.csv alone, which each run has
    WANDB = "wandb"
    MLFLOW = "mlflow"


def _tensorboard(folder: Path, begun: str | None) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)


def _wandb(folder: Path, begun: str | None) -> Any:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    project, settings = os.environ.get("WANDB_PROJECT", PROJECT), wandb.Settings(console="off", silent=True)
    return WandbLogger(folder.resolve().name, folder, id=begun, project=project, settings=settings)


def _mlflow(folder: Path, begun: str | None) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger

    where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    return MLFlowLogger(project, folder.resolve().name, where, run_id=begun)


MAKERS: Mapping[Logger, Callable[[Path, str | None], Any]] = {
    Logger.TENSORBOARD: _tensorboard,
    Logger.WANDB: _wandb,
    Logger.MLFLOW: _mlflow,
}
NEEDS = {Logger.WANDB: ("wandb",), Logger.MLFLOW: ("mlflow", "alembic")}
"""Packages; MLflow itself asks late for that of its database."""
WAYS = {
    Logger.TENSORBOARD: "choose another",
    Logger.WANDB: "log in (wandb login), or set WANDB_MODE=offline",
    Logger.MLFLOW: "look at MLFLOW_TRACKING_URI; without it the run's own folder is used",
}


def check(names: Sequence[str]) -> None:
    """Refuse what cannot begin later.

    Raises:
        TrainingError: an unknown name.
        MissingExtra: a package that a logger needs is not installed.
    """
    if unknown := [name for name in names if name not in list(Logger)]:
        raise TrainingError(f"unknown logger '{unknown[0]}'; expected {', '.join(Logger)}")
    for name, packages in NEEDS.items():
        if name in names:
            with needs(name):
                for package in packages:
                    import_module(package)


@contextmanager
def begun(names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Lightning's loggers of these names, whose runs begin or go on; those of wandb end here.

    wandb would take the next run of this process into one that has not ended.

    Raises:
        TrainingError: a logger that cannot begin, such as one that nobody is logged in to.
    """
    stored, wandb = folder / IDS, sys.modules.get("wandb")
    before = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    ours = Logger.WANDB in names and (wandb is None or wandb.run is None)
    loggers, ids = [], {}
    for name in dict.fromkeys(map(Logger, names)):
        if name in MAKERS:
            try:
                loggers.append(MAKERS[name](folder, before.get(name)))
                loggers[-1].log_hyperparams(dict(settings))
                ids[name] = loggers[-1].version
            except Exception as error:  # whatever the packages of others raise
                reason = one_line(str(error).partition("\n")[0] or type(error).__name__)
                raise TrainingError(f"logger {name} cannot begin: {reason}; {WAYS[name]}, or leave it out") from None
    if any(ids.values()):
        with replacing(stored) as partial:
            partial.write_text(json.dumps(ids), encoding="utf-8")
    code = 1
    try:
        yield loggers
        code = 0
    finally:
        if ours:
            import_module("wandb").finish(exit_code=code)
