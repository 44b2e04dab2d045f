"""What a run shows and writes down while it goes on: a history that survives a kill, a bar with pictures a second."""

import csv
import io
import signal
import sys
import threading
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vitzoo.errors import TrainingError
from vitzoo.files.atomic import replacing

COLUMNS = ("epoch", "step", "lr", "train_loss", "val_loss", "val_top1", "val_top5", "images_per_second", "seconds")


class History(Callback):
    """`metrics.csv`, a row an epoch. The rows are part of the checkpoint, so that a run that goes on repeats none.

    Lightning's CSVLogger starts its file anew when a run goes on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._start, self._seen = perf_counter(), 0  # an epoch that goes on in its middle has no start of its own

    on_train_epoch_start = on_train_start

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, i: int) -> None:
        self._seen += len(batch[0]) * trainer.world_size
        self._trained = perf_counter() - self._start

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {name: value.item() for name, value in trainer.callback_metrics.items() if name in COLUMNS}
        lr = trainer.optimizers[0].param_groups[-1]["lr"]
        values |= {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "lr": lr}
        values |= {"images_per_second": self._seen / self._trained, "seconds": perf_counter() - self._start}
        self.rows.append(values)
        self.write()
        self.say(trainer.max_epochs or 0)

    @rank_zero_only
    def write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with replacing(self.path) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8")

    @rank_zero_only
    def say(self, epochs: int) -> None:
        """One line an epoch, above the bar if there is one; the time that is left is as if each took as long."""
        row = self.rows[-1]
        rest = epochs - row["epoch"]
        left = f"  {timedelta(seconds=round(rest * row['seconds']))} left" if rest else ""
        Tqdm.write(
            f"epoch {row['epoch']}/{epochs}  loss {row['train_loss']:.4f}  validation {row['val_loss']:.4f}, "
            f"{row['val_top1']:.2%} right  {row['images_per_second']:.0f} pictures/s{left}",
            file=sys.stderr,
        )
        sys.stderr.flush()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


class MiddleCheckpoint(Checkpoint):
    """Saves in the middle of an epoch as well, after every so many optimiser steps."""

    def __init__(self, path: Path, steps: int) -> None:
        if steps < 1:
            raise TrainingError(f"checkpoint_steps is {steps}; expected 1 or more, or none")
        self.path, self.steps = path, steps

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, i: int) -> None:
        stepped = (i + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step % self.steps == 0 and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)


class Bar(TQDMProgressBar):
    """Lightning's bar, which tells the time that is left of an epoch, with pictures a second.

    It goes to stderr, since stdout is for results, and counts epochs from 1, as metrics.csv does.
    """

    def init_train_tqdm(self) -> Tqdm:
        with redirect_stdout(sys.stderr):
            bar = super().init_train_tqdm()
        bar.leave = False  # the lines of the epochs stay
        return bar

    def init_validation_tqdm(self) -> Tqdm:
        with redirect_stdout(sys.stderr):
            return super().init_validation_tqdm()

    def on_train_epoch_start(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_exception(self, *arguments: Any) -> None:
        print(file=sys.stderr)  # the error that follows gets a line of its own

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        shown = self.train_progress_bar.format_dict
        if shown["elapsed"]:
            datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
            pictures = shown["n"] * datamodule.batch_size * trainer.world_size
            metrics["pictures/s"] = f"{pictures / shown['elapsed']:.0f}"
        return metrics


class Terminated(Callback):
    """SIGTERM ends one of several processes at once; the others then notice that it is gone.

    Lightning's handler tells the others first, in the middle of whatever they exchange, and so may wait for ever.
    """

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._stop)  # Lightning puts the former handler back in the end

    def _stop(self, *arguments: Any) -> None:
        raise SIGTERMException


class Patience(EarlyStopping):
    """Lightning's early stopping; a run that was killed after it had stopped stays stopped when it goes on."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
