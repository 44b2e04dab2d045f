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
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, TQDMProgressBar, WeightAveraging
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from vitzoo.data.saying import say
from vitzoo.errors import TrainingError
from vitzoo.files.atomic import replacing
from vitzoo.registry.recipes import Recipe
from vitzoo.train.goal import Goal

MOST_OF_THE_START = 0.05
BEFORE, AFTER = ("epoch", "step", "lr", "train_loss", "val_loss"), ("images_per_second", "seconds")
"""The columns of metrics.csv around those that the goal watches."""


class History(Callback):
    """`metrics.csv`, a row an epoch. The rows are part of the checkpoint, so that a run that goes on repeats none.

    Lightning's CSVLogger starts its file anew when a run goes on.
    """

    def __init__(self, path: Path, goal: Goal) -> None:
        self.path, self.measure = path, goal.measure
        self.columns = (*BEFORE, *goal.metrics(), *AFTER)
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._start, self._seen = perf_counter(), 0  # an epoch that goes on in its middle has no start of its own

    on_train_epoch_start = on_train_start

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, i: int) -> None:
        self._seen += len(batch[0]) * trainer.world_size
        self._trained = perf_counter() - self._start

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {name: value.item() for name, value in trainer.callback_metrics.items() if name in self.columns}
        lr = trainer.optimizers[0].param_groups[-1]["lr"]
        values |= {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "lr": lr}
        values |= {"images_per_second": self._seen / self._trained, "seconds": perf_counter() - self._start}
        self.rows.append(values)
        self.write()
        self.say(trainer.max_epochs or 0)

    @rank_zero_only
    def write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
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
            f"{self.measure.text.format(row[self.measure.name])}  {row['images_per_second']:.0f} pictures/s{left}",
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
    """Lightning's early stopping, which says when it ends a run and whose weights are kept.

    A run that was killed after it had stopped stays stopped when it goes on.
    """

    def __init__(self, recipe: Recipe, goal: Goal) -> None:
        super().__init__(goal.measure.name, mode=goal.measure.mode, patience=recipe.early_stopping or 0)
        self.keeps_best = recipe.keeps_best

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    @rank_zero_only
    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.wait_count >= self.patience:
            last = self.stopped_epoch + 1
            kept = last - self.wait_count if self.keeps_best else last
            more = "" if self.keeps_best else f"; epoch {last - self.wait_count} was the best: set keep=best for it"
            say(f"stopped after epoch {last}: none of the last {self.wait_count} was better")
            say(f"the weights of epoch {kept} are kept{more}")


class Average(WeightAveraging):
    """Lightning's average of the weights, whose decay rises with the steps.

    With the decay at once, the average of a short run is mostly the weights that it started from. The warm-up is that
    of TensorFlow's ExponentialMovingAverage. Buffers are constants and not averaged: some are whole numbers.
    """

    def __init__(self, decay: float, warmup: bool) -> None:
        def averaged(average: Tensor, current: Tensor, count: Tensor) -> Tensor:
            kept = torch.clamp((1 + count) / (10 + count), max=decay) if warmup else decay
            return kept * average + (1 - kept) * current

        super().__init__(use_buffers=False, avg_fn=averaged)
        self.decay, self.warmup = decay, warmup

    @rank_zero_only
    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        steps = int(pl_module.steps)
        if not self.warmup and self.decay**steps > MOST_OF_THE_START:
            say(
                f"the average of the weights lags: after {steps:,} steps with ema_decay={self.decay:g} it is still "
                f"{self.decay**steps:.0%} of the weights that the run started from; set ema_warmup=true or a lower "
                "ema_decay"
            )
