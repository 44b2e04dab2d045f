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
    """

    weights: Tensor | None

    def __init__(self, kind: Loss, smoothing: float = 0.0, weights: Tensor | None = None) -> None:
        super().__init__()
        self.costs, self.smoothing = COSTS[kind], smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(batch, classes), and (batch,) classes or (batch, classes) parts of a mixed picture -> (batch,), fp32."""
        parts = targets if targets.is_floating_point() else F.one_hot(targets, logits.shape[1])
        parts = parts.float() if self.weights is None else parts * self.weights
        weight = parts.sum(1, keepdim=True)
        wanted = (1 - self.smoothing) * parts + self.smoothing / parts.shape[1] * weight
        there, absent = self.costs(logits.float())
        return (wanted * there + (weight - wanted) * absent).sum(1)


def balanced(class_counts: Sequence[int]) -> Tensor:
    """(classes,): inverse to the counts, with mean 1 over all pictures."""
    counts = torch.tensor(class_counts, dtype=torch.float32)
    return counts.sum() / (len(counts) * counts)
