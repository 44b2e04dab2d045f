"""What becomes of a head once it is trained: numbers in their own units, and a threshold for each label."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitzoo.data.pictures import Pictures
from vitzoo.errors import TrainingError
from vitzoo.model.head import LAST
from vitzoo.publish.dialect import ViT
from vitzoo.spec import Task, TaskKind
from vitzoo.train.goal import Goal
from vitzoo.train.probe import features

DIGITS = 6


@torch.no_grad()
def standardise(vit: ViT, goal: Goal) -> None:
    """A head that gives numbers in their units gives them in units of their spread around their middle."""
    for layer, middle, spread in _layers(vit, goal):
        layer.weight.div_(spread[:, None])
        layer.bias.sub_(middle).div_(spread)


@torch.no_grad()
def in_units(vit: ViT, goal: Goal) -> None:
    """The reverse: the head itself then gives the numbers, in each library that reads it."""
    for layer, middle, spread in _layers(vit, goal):
        layer.weight.mul_(spread[:, None])
        layer.bias.mul_(spread).add_(middle)


def _layers(vit: ViT, goal: Goal) -> list[tuple[torch.nn.Linear, Tensor, Tensor]]:
    """The last layers, each with the middle and the spread of its outputs.

    Raises:
        TrainingError: a layer without a bias, which cannot hold the middle.
    """
    layers = [one for name, one in vit.head.named_children() if name in LAST and isinstance(one, torch.nn.Linear)]
    if any(layer.bias is None for layer in layers):
        raise TrainingError("task regression needs a head with a bias, and this model has none; choose another model")
    return [(layer, layer.weight.new_tensor(goal.middle), layer.weight.new_tensor(goal.spread)) for layer in layers]


def task_of(vit: ViT, goal: Goal, pictures: Pictures, num_workers: int) -> Task | None:
    """What the model says of its head: for labels with the thresholds that are best on these pictures."""
    if goal.kind is TaskKind.CLASSES:
        return None
    if goal.kind is not TaskKind.MULTI_LABEL:
        return Task(kind=goal.kind)
    found = features(vit, pictures, num_workers=num_workers)
    like = next(vit.parameters())
    with torch.inference_mode():
        sure = vit.eval().head(found.pooled.to(like.device, like.dtype)).float().sigmoid().cpu().numpy()
    return Task(kind=goal.kind, thresholds=best_thresholds(sure, found.targets.numpy() > 0))


def best_thresholds(sure: npt.NDArray[np.float32], there: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """(pictures, labels) probabilities and truth -> for each label the threshold above which its F1 is highest.

    It lies in the middle between two probabilities; 0.5 for a label that no picture has.
    """
    return tuple(_best_threshold(p, t) for p, t in zip(sure.T.astype(np.float64), there.T, strict=True))


def _best_threshold(sure: npt.NDArray[np.float64], there: npt.NDArray[np.bool_]) -> float:
    if not there.any():
        return 0.5
    order = np.argsort(-sure, kind="stable")
    values, right = sure[order], np.cumsum(there[order])
    given = np.arange(1, len(values) + 1)
    f1 = 2 * right / (given + there.sum())
    below = np.append(values[1:], 0.0)
    f1[values == below] = -1  # equal probabilities are on one side
    best = int(np.argmax(f1))
    return round(float(values[best] + below[best]) / 2, DIGITS)
