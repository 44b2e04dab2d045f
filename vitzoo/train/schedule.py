"""The learning rate over the steps of a run, as a factor of each group's own."""

import math
from collections.abc import Callable

from vitzoo.registry.recipes import Recipe, Schedule

SHAPES: dict[Schedule, Callable[[float], float]] = {
    Schedule.COSINE: lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    Schedule.LINEAR: lambda done: 1 - done,
    Schedule.CONSTANT: lambda done: 1.0,
}


def lr_factor(recipe: Recipe, steps_per_epoch: int) -> Callable[[int], float]:
    """Number of the optimiser step, from 0 -> factor of every group's learning rate, for `LambdaLR`.

    Linear from 0 over the warm-up, then the recipe's shape over the steps that remain, down to min_lr / lr: timm's
    schedulers with `warmup_prefix` and updates instead of epochs.
    """
    total, warmup = recipe.epochs * steps_per_epoch, round(recipe.warmup_epochs * steps_per_epoch)
    shape, least = SHAPES[recipe.schedule], recipe.min_lr / recipe.lr

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        done = min((step - warmup) / max(total - warmup, 1), 1.0)
        return least + (1 - least) * shape(done)

    return factor
