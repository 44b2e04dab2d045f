"""Temperature scaling: one number that the logits are divided by, so that the probabilities say how often it is right.

Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2. It changes no prediction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.errors import DataError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.metrics import Calibration
from vitzoo.model.head import LAST
from vitzoo.publish.dialect import ViT

RANGE = (1e-2, 1e2)
FEWEST = 10  # pictures, so that each half has some


@dataclass(frozen=True)
class Temperature:
    """What the logits are to be divided by, and what that does to the calibration error."""

    value: float
    """Fitted on all pictures."""
    before: float
    """Calibration error of the model as it is."""
    after: float
    """Calibration error of each half of the pictures with the temperature of the other half."""
    pictures: int
    data: str
    split: str

    def record(self) -> Mapping[str, Any]:
        """What a model that has it says of it."""
        return {
            "temperature": round(self.value, 6),
            "pictures": self.pictures,
            "data": self.data,
            "split": self.split,
            "calibration_error": {"before": round(self.before, 6), "after": round(self.after, 6)},
        }


def fitted(found: ClassEvaluation) -> Temperature:
    """The temperature with the least log loss on pictures; what it does is measured on pictures that it has not seen.

    Raises:
        DataError: fewer than ten pictures; or scores that no temperature makes better, such as those of a vote.
    """
    if len(found.targets) < FEWEST:
        raise DataError(f"{len(found.targets)} pictures are too few for a temperature; expected {FEWEST} or more")
    order = torch.randperm(len(found.targets), generator=torch.Generator().manual_seed(found.seed))
    halves = order[::2], order[1::2]
    scaled = found.scores.double()
    for fit, use in (halves, halves[::-1]):
        scaled[use] /= temperature(found.scores[fit], found.targets[fit])
    sure, given = scaled.softmax(1).max(1)
    after = Calibration(sure.numpy(), (given == found.targets).numpy()).error(found.ones)
    return Temperature(
        value=temperature(found.scores, found.targets),
        before=found.calibration_error,
        after=float(after),
        pictures=len(found.targets),
        data=found.pictures.where,
        split=found.split,
    )


def temperature(scores: Tensor, targets: Tensor) -> float:
    """The temperature of least log loss of (pictures, classes) logits; it is convex in 1 / temperature.

    Raises:
        DataError: the loss is infinite, or falls on and on: all pictures are right, or none can be.
    """
    scores, low, high = scores.double(), 1 / RANGE[1], 1 / RANGE[0]
    if bool(scores.gather(1, targets[:, None]).isneginf().any()):
        raise DataError("a right class has no vote, so that no temperature helps; calibrate a classifier")

    def slope(inverse: float) -> float:
        """Of the loss: the mean score under the model's own probabilities, less that of the right classes."""
        mean = (F.softmax(scores * inverse, 1) * scores.clamp(min=torch.finfo(scores.dtype).min)).sum(1)
        return float((mean - scores.gather(1, targets[:, None])[:, 0]).mean())

    if slope(low) >= 0 or slope(high) <= 0:  # with all right, the loss falls until it is lost in rounding
        why = "all are recognised" if slope(high) <= 0 else "the model is no better than chance"
        raise DataError(f"{len(targets)} pictures do not tell the temperature: {why}; give more pictures")
    for _ in range(60):  # halvings of an interval of 1e4 in its logarithm
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float((low * high) ** -0.5)


def cooled(vit: ViT, found: Temperature) -> ViT:
    """The model with its logits divided by the temperature, in place: in its last layer, which every layout holds.

    `about.training` says so, with what was measured; a temperature that it had already is multiplied.
    """
    with torch.no_grad():
        for name, layer in vit.head.named_children():
            if name in LAST:
                for parameter in layer.parameters():
                    parameter.div_(found.value)
    before = dict(vit.about.training or {})
    earlier = before.get("calibration", {}).get("temperature", 1.0)
    record = {**found.record(), "temperature": round(found.value * earlier, 6)}
    vit.about = vit.about.replace(training={**before, "calibration": record})
    return vit
