"""What a picture costs: the loss of each kind, with weights of the classes, smoothed and mixed targets.

These meet in one order. A mixed picture is so much of one class and so much of another; each part is weighted as its
class is; only then are targets softened. Softened first, the part that smoothing gives to a rare class would be
weighted as a picture of that class, and a frequent class would be taught to look like the rare one.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitzoo.registry.recipes import Loss

FOCUS = 2.0
"""The exponent of the focal loss (https://arxiv.org/abs/1708.02002, table 1)."""

Costs = tuple[Tensor, Tensor]
"""(batch, classes) each: what it costs if the class is there, and what if it is not."""


def cross_entropy(logits: Tensor) -> Costs:
    """The classes share one probability, so what is not there costs nothing by itself."""
    return -logits.log_softmax(1), torch.zeros_like(logits)


def focal(logits: Tensor) -> Costs:
    """Cross entropy, less of it the surer the model is (https://arxiv.org/abs/1708.02002, equation 4)."""
    log = logits.log_softmax(1)
    return -((1 - log.exp()) ** FOCUS) * log, torch.zeros_like(logits)


def binary_cross_entropy(logits: Tensor) -> Costs:
    """Each class by itself; the mean over the classes, as torch has it."""
    return F.softplus(-logits) / logits.shape[1], F.softplus(logits) / logits.shape[1]


COSTS: dict[Loss, Callable[[Tensor], Costs]] = {
    Loss.CROSS_ENTROPY: cross_entropy,
    Loss.FOCAL: focal,
    Loss.BCE: binary_cross_entropy,
}


class ClassLoss(nn.Module):
    """The loss of classes of which a picture has one.

    Args:
        kind: one of `COSTS`.
        smoothing: part of each target that is spread evenly over all classes.
        weights: (classes,) what a picture of each class counts; 1 for all if None.
        soft: (classes, classes) the target of each class in place of itself alone, such as `graded`.
    """

    weights: Tensor | None
    soft: Tensor | None

    def __init__(
        self, kind: Loss, smoothing: float = 0.0, weights: Tensor | None = None, soft: Tensor | None = None
    ) -> None:
        super().__init__()
        self.costs, self.smoothing = COSTS[kind], smoothing
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("soft", soft, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(batch, classes), and (batch,) classes or (batch, classes) parts of a mixed picture -> (batch,), fp32."""
        parts = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1])
        parts = parts.float() if self.weights is None else parts * self.weights
        weight = parts.sum(1, keepdim=True)
        wanted = parts if self.soft is None else parts @ self.soft
        wanted = (1 - self.smoothing) * wanted + self.smoothing / parts.shape[1] * weight
        there, absent = self.costs(logits.float())
        return (wanted * there + (weight - wanted) * absent).sum(1)


class LabelLoss(nn.Module):
    """The loss of labels of which a picture has any: each by itself, the mean over them.

    Args:
        kind: binary cross entropy, or the focal loss of each label.
        smoothing: part of each target that is for the opposite as much as for itself.
        weights: (labels,) what a picture counts that has the label; 1 for all if None.
    """

    weights: Tensor | None

    def __init__(self, kind: Loss, smoothing: float = 0.0, weights: Tensor | None = None) -> None:
        super().__init__()
        self.focus, self.smoothing = FOCUS if kind is Loss.FOCAL else 0.0, smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(batch, labels) each; targets are 1 where a label is there, less in a mixed picture -> (batch,), fp32."""
        logits, targets = logits.float(), targets.float()
        sure = logits.sigmoid()
        there = (1 - sure) ** self.focus * F.softplus(-logits)
        absent = sure**self.focus * F.softplus(logits)
        other = self.smoothing / 2
        has = (1 - other) * there + other * absent
        lacks = (1 - other) * absent + other * there
        weighted = targets if self.weights is None else targets * self.weights
        return (weighted * has + (1 - targets) * lacks).mean(1)


class NumberLoss(nn.Module):
    """The loss of numbers, each in units of its own spread; the mean over them.

    Args:
        kind: MSE or smooth L1, which grows linearly from one spread on.
        middle, spread: (numbers,) mean and standard deviation over the training pictures.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, kind: Loss, middle: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.each = F.mse_loss if kind is Loss.MSE else F.smooth_l1_loss
        self.register_buffer("middle", middle, persistent=False)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(batch, numbers) standardised, and (batch, numbers) as they are -> (batch,), fp32."""
        wanted = ((targets - self.middle) / self.spread).float()
        each: Tensor = self.each(outputs.float(), wanted, reduction="none")
        return each.mean(1)


def graded(count: int) -> Tensor:
    """(grades, grades): the target of each grade, which falls by e with each grade from it.

    Soft labels of Diaz and Marathe 2019, "Soft labels for ordinal regression" (CVPR), equation 1, with the distance of
    the grades.
    """
    places = torch.arange(count, dtype=torch.float32)
    return (-(places[:, None] - places).abs()).softmax(1)


def balanced(class_counts: Sequence[int]) -> Tensor:
    """(classes,): inverse to the counts, with mean 1 over all pictures."""
    counts = torch.tensor(class_counts, dtype=torch.float32)
    return counts.sum() / (len(counts) * counts)
