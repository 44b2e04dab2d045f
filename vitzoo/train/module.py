"""One training step and one validation step, for Lightning's Trainer."""

import difflib
import random
from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.optim import create_optimizer_v2, list_optimizers
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from vitzoo.errors import Diverged, TrainingError
from vitzoo.publish.dialect import ViT
from vitzoo.registry.recipes import Recipe
from vitzoo.spec import TaskKind
from vitzoo.train.goal import Goal
from vitzoo.train.groups import param_groups
from vitzoo.train.schedule import lr_factor

Batch = Sequence[Tensor]
"""Pictures, what is known of each, and what each counts where that differs."""

LOOK_EVERY = 50
"""Batches after which the losses are looked at: to look at each would make the GPU wait for the CPU."""


class FineTuner(lightning.LightningModule):
    """A network under a recipe, for a goal.

    All that a training step draws (mixup, dropped paths and patches) follows from (seed, epoch, batch, process) alone,
    so a run that goes on draws what an unbroken one would have drawn.
    """

    def __init__(self, model: ViT, recipe: Recipe, goal: Goal) -> None:
        super().__init__()
        self.model, self.recipe, self.goal = model, recipe, goal
        self.parts = 1
        """Batches of an optimiser step."""
        self.facts: dict[str, Any] = {}
        """What a run that goes on has to share with the one before, besides the recipe; kept in the checkpoint."""
        self.pictures = goal.pictures
        self.mix = (  # of rows, one number for each class; the loss smooths
            Mixup(recipe.mixup, recipe.cutmix, label_smoothing=0.0, num_classes=len(goal.names), multi_label=True)
            if recipe.mixup or recipe.cutmix
            else None
        )
        self.objective = goal.loss(recipe)
        # Summed here, since Lightning forgets its own means when a run goes on in the middle of an epoch. No buffer: an
        # average of the weights would average it too.
        self.loss_sum = torch.zeros(())
        self.batches = 0
        self.metrics = nn.ModuleDict(goal.metrics())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Averaged over pictures; targets are the truth or, after mixup, the parts of two of them.

        The mean is over pictures and not over weights: it is then the same however a batch is shared and divided.
        """
        each: Tensor = self.objective(outputs, targets)
        return (each if weights is None else each * weights).mean()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        recipe = self.recipe
        if batch_idx == 0:
            self.loss_sum = torch.zeros((), device=self.device)
            self.batches = 0
        if recipe.patch_drop_rate:
            dropping = self.current_epoch < recipe.patch_drop_until * recipe.epochs
            drop: Any = self.model.patch_drop
            drop.prob = recipe.patch_drop_rate if dropping else 0.0
        self.parts = self.trainer.accumulate_grad_batches
        seed_step(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, targets, *rest = batch
        weights = rest[0] if rest else None
        if self.mix is not None:
            # One draw a step, of neighbours: the same in all parts of a step, on all devices.
            np.random.seed(_state(self.recipe.seed, self.current_epoch, batch_idx // self.parts)[1])
            rows = F.one_hot(targets, len(self.goal.names)) if self.goal.is_of_classes else targets
            if weights is not None:  # each part of a mixed picture counts as much as the picture that it is of
                rows, weights = rows * weights[:, None], None
            x, targets = mixed(self.mix, x, rows)
        loss = self.loss(self(x), targets, weights)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach()
        self.batches += 1
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if (batch_idx + 1) % LOOK_EVERY == 0:
            self.mean_loss()

    def on_validation_epoch_start(self) -> None:
        self.log("train_loss", self.mean_loss(), prog_bar=True, sync_dist=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"], sync_dist=True)

    def mean_loss(self) -> Tensor:
        """The mean loss of this epoch so far, over all processes.

        Raises:
            Diverged: on all processes, if a loss was not finite on one of them.
        """
        mean: Tensor = self.trainer.strategy.reduce(self.loss_sum / max(self.batches, 1), reduce_op="mean")
        if not mean.isfinite():
            raise Diverged(
                f"the loss became NaN or infinite in epoch {self.current_epoch + 1}, at step {self.global_step} or "
                "before; lower lr, raise warmup_epochs, or set clip_norm or precision 32-true"
            )
        return mean

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x, targets, *_ = batch
        outputs = self(x).float()
        self.log("val_loss", self.goal.val_loss(outputs, targets), batch_size=len(x), sync_dist=True)
        answers = self.goal.answers(outputs)
        truth = targets.int() if self.goal.kind is TaskKind.MULTI_LABEL else targets
        for name, metric in self.metrics.items():
            metric(answers, truth)
            self.log(name, metric, on_epoch=True, prog_bar=name == self.goal.measure.name, batch_size=len(x))  # type: ignore[arg-type]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.mean_loss()  # what is not finite is not saved
        summed = self.trainer.strategy.reduce(self.loss_sum.clone(), reduce_op="mean")
        checkpoint |= {"facts": self.facts, "loss_sum": summed.item(), "batches": self.batches}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches = checkpoint["batches"]
        self.loss_sum = torch.tensor(checkpoint["loss_sum"])

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run.

        Counted here: to ask Lightning would make it load data before it knows the epoch that it goes on from.
        """
        return self.recipe.epochs * (self.pictures // self.recipe.batch_size)

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = make_optimizer(self.model, self.recipe)
        scheduler = LambdaLR(optimizer, lr_factor(self.recipe, self.steps // self.recipe.epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class ShardedFineTuner(FineTuner):
    """The same with parameters, gradients and optimiser state spread over all processes (FSDP2, `fully_shard`)."""

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard

        if self.device_mesh is None:
            raise AssertionError("only a ModelParallelStrategy calls this")
        mesh = self.device_mesh["data_parallel"]
        for block in self.model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)


def make_optimizer(model: ViT, recipe: Recipe) -> torch.optim.Optimizer:
    """timm's optimiser of that name on the recipe's groups.

    Raises:
        TrainingError: a name that timm does not know, with the nearest, or arguments that the optimiser does not take.
    """
    known = list_optimizers()
    if recipe.optimizer not in known:
        near = ", ".join(difflib.get_close_matches(recipe.optimizer, known)) or "adamw, sgd, momentum, lamb, muon"
        raise TrainingError(f"unknown optimizer '{recipe.optimizer}'; did you mean {near}?")
    groups = param_groups(model, recipe)
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, recipe.optimizer, recipe.lr, recipe.weight_decay, **recipe.optimizer_args
        )
    except (AssertionError, ImportError, TypeError, ValueError) as error:  # timm asserts that there is a GPU
        raise TrainingError(f"optimizer {recipe.optimizer} with {dict(recipe.optimizer_args)}: {error}") from None
    return optimizer


def mixed(mix: Mixup, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The batch with its 1st and 2nd picture mixed, its 3rd and 4th, and so on; in another order.

    timm mixes the first with the last, so that what is mixed would depend on where a batch ends.
    """
    places = torch.arange(len(x), device=x.device)
    order = torch.cat((places[::2], places[1::2].flip(0)))
    x, targets = mix(x[order], targets[order])
    return x, targets


def seed_step(*numbers: int) -> None:
    """Seed Python, numpy and torch from a few numbers."""
    state = _state(*numbers)
    random.seed(state[0])
    np.random.seed(state[1])  # timm's Mixup draws from numpy's global state
    torch.manual_seed(state[2])


def _state(*numbers: int) -> list[int]:
    return list(map(int, np.random.SeedSequence(numbers).generate_state(3)))
