"""A learning rate for a model and its pictures: Lightning's range test, where each layer keeps its share of it."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning
import torch
from lightning.pytorch.tuner.tuning import Tuner
from torch import Tensor

from vitzoo.data.saying import say
from vitzoo.errors import TrainingError
from vitzoo.evaluation.plots import rates
from vitzoo.registry.recipes import Recipe
from vitzoo.train.module import FineTuner
from vitzoo.train.probe import HeadTuner
from vitzoo.train.trainer import Machines

STEPS, SPAN = 100, 1000.0
"""Steps of the test, which rise from the recipe's rate divided by the span to that times the span."""
BELOW = 10.0
"""The rate is so many times lower than that with the least loss: fastai's `minimum` (callback.schedule)."""
THEIRS, OURS = 0.98, 0.9
"""How much of the mean of the losses before is in the next: in Lightning's test, and here."""
CURVE = "learning_rate.png"


class Searching(FineTuner):
    """A network whose learning rate a test raises until its loss is none."""

    def mean_loss(self) -> Tensor:
        return self.loss_sum / max(self.batches, 1)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        """The test gives all groups one rate; while a step is taken each has its own part of it."""
        found = super().configure_optimizers()
        optimizer: torch.optim.Optimizer = found["optimizer"]
        shares = [group["initial_lr"] / self.recipe.lr for group in optimizer.param_groups]

        def scaled(by: list[float]) -> Any:
            def hook(*_: Any) -> None:
                for group, factor in zip(optimizer.param_groups, by, strict=True):
                    group["lr"] *= factor

            return hook

        optimizer.register_step_pre_hook(scaled(shares))
        optimizer.register_step_post_hook(scaled([1 / share for share in shares]))
        return found


class SearchingHead(Searching, HeadTuner):
    """The same on features."""


def searched(
    tuner: FineTuner, data: lightning.LightningDataModule, recipe: Recipe, machines: Machines, parts: int, folder: Path
) -> Recipe:
    """The recipe with a rate that suits; the curve is drawn into `folder`. The network is afterwards as it was.

    `min_lr` and `fallback_lr` keep their part of the rate.

    Raises:
        TrainingError: several devices; or no rate that lowers the loss.
    """
    if machines.devices != 1 or machines.num_nodes != 1:
        raise TrainingError("a learning rate is looked for on one device; give lr itself, or devices 1")
    kind = SearchingHead if isinstance(tuner, HeadTuner) else Searching
    with _trial(recipe, machines, parts) as trial, redirect_stderr(io.StringIO()):  # its bar asks for no terminal
        found = Tuner(trial).lr_find(
            kind(tuner.model, recipe, tuner.goal),
            datamodule=data,
            min_lr=recipe.lr / SPAN,
            max_lr=recipe.lr * SPAN,
            num_training=STEPS,
            update_attr=False,
        )
    assert found is not None
    tried, losses = found.results["lr"], smoothed(found.results["loss"])
    lr = chosen(tried, losses)
    factor = lr / recipe.lr
    rates(tried, losses, lr, folder / CURVE)
    say(f"learning rate {lr:g}, found by {len(tried)} steps of rising rates; the recipe's was {recipe.lr:g}")
    changes = {"lr": lr, "min_lr": recipe.min_lr * factor}
    changes |= {} if recipe.fallback_lr is None else {"fallback_lr": recipe.fallback_lr * factor}
    return recipe.changed(**changes)


def smoothed(theirs: list[float]) -> list[float]:
    """The losses of the test, each with less of the ones before.

    Lightning's means last for fifty of the hundred steps, and its first is half of the loss: it counts a step too many.
    """
    found, sums, mean = [], 0.0, 0.0
    for step, value in enumerate(theirs, 1):
        summed = value * (1 - THEIRS ** (step + 1))
        loss, sums = (summed - THEIRS * sums) / (1 - THEIRS), summed
        mean = OURS * mean + (1 - OURS) * loss
        found.append(mean / (1 - OURS**step))
    return found


def chosen(tried: list[float], losses: list[float]) -> float:
    """A tenth of the rate that the least of the smoothed losses belongs to, with two digits.

    Raises:
        TrainingError: the loss only rises.
    """
    finite = [(loss, rate) for loss, rate in zip(losses, tried, strict=True) if math.isfinite(loss)]
    least, rate = min(finite, default=(math.inf, 0.0))
    if len(finite) < 2 or least >= finite[0][0]:
        raise TrainingError("no learning rate was found that lowers the loss; look at the labels, or give lr itself")
    return float(f"{rate / BELOW:.1e}")


@contextmanager
def _trial(recipe: Recipe, machines: Machines, parts: int) -> Iterator[lightning.Trainer]:
    with TemporaryDirectory() as folder:
        yield lightning.Trainer(
            accelerator=machines.accelerator,
            devices=1,
            precision=recipe.precision,
            max_epochs=-1,
            accumulate_grad_batches=parts,
            gradient_clip_val=recipe.clip_norm,
            deterministic=recipe.deterministic,
            check_val_every_n_epoch=STEPS + 1,  # none
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
