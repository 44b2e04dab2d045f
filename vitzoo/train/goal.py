"""What a run aims at: the task, the names of its outputs, the loss, and the measure of which epoch is best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, Metric
from torchmetrics.classification import MulticlassAccuracy, MultilabelAveragePrecision

from vitzoo.data.pictures import Pictures
from vitzoo.errors import TrainingError
from vitzoo.registry.recipes import ClassWeights, Loss, Recipe
from vitzoo.spec import TaskKind
from vitzoo.train.loss import ClassLoss, LabelLoss, NumberLoss, balanced, graded

LOSSES: dict[TaskKind, tuple[Loss, ...]] = {
    TaskKind.CLASSES: (Loss.CROSS_ENTROPY, Loss.BCE, Loss.FOCAL),
    TaskKind.ORDINAL: (Loss.CROSS_ENTROPY, Loss.BCE, Loss.FOCAL),
    TaskKind.MULTI_LABEL: (Loss.BCE, Loss.FOCAL),
    TaskKind.REGRESSION: (Loss.MSE, Loss.SMOOTH_L1),
}
"""Of each task, the first if none is given."""


class Measure(NamedTuple):
    """What is watched on the validation pictures."""

    name: str
    mode: str
    text: str
    """How a line says it, with a place for the value."""
    title: str


MEASURES = {
    TaskKind.CLASSES: Measure("val_top1", "max", "{:.2%} right", "accuracy"),
    TaskKind.ORDINAL: Measure("val_mae", "min", "{:.3f} grades off", "grades off"),
    TaskKind.MULTI_LABEL: Measure("val_map", "max", "mAP {:.2%}", "mean average precision"),
    TaskKind.REGRESSION: Measure("val_mae", "min", "{:.4g} off", "mean absolute error"),
}


@dataclass(frozen=True)
class Goal:
    """The task of a run, and what its training pictures say of it."""

    kind: TaskKind
    names: tuple[str, ...]
    """Of the outputs: classes or labels, or what the numbers are called."""
    counts: tuple[int, ...]
    """Training pictures that have each class or label."""
    pictures: int
    middle: tuple[float, ...] = ()
    """Of each number, over the training pictures."""
    spread: tuple[float, ...] = ()
    weighted: bool = False
    """Whether training pictures have weights of their own."""

    @classmethod
    def of(cls, pictures: Pictures, kind: TaskKind) -> Self:
        """Of training pictures whose targets are the task's truth."""
        if kind is TaskKind.REGRESSION:
            spread = np.where((found := pictures.targets.std(0)) > 0, found, 1.0)
            middle = pictures.targets.mean(0)
            counts = (len(pictures),) * len(pictures.classes)
            numbers = (tuple(middle.tolist()), tuple(spread.tolist()))
            return cls(kind, pictures.classes, counts, len(pictures), *numbers)
        counted = pictures.targets.sum(0).astype(int) if kind is TaskKind.MULTI_LABEL else np.array(pictures.counts)
        weighted = pictures.weights is not None
        return cls(kind, pictures.classes, tuple(counted.tolist()), len(pictures), weighted=weighted)

    @property
    def measure(self) -> Measure:
        return MEASURES[self.kind]

    @property
    def is_of_classes(self) -> bool:
        """Whether a picture has one class."""
        return self.kind in (TaskKind.CLASSES, TaskKind.ORDINAL)

    def loss(self, recipe: Recipe) -> nn.Module:
        """(batch, outputs) and the truth -> (batch,).

        Raises:
            TrainingError: options of the recipe that are not for this task.
        """
        known = LOSSES[self.kind]
        loss = recipe.loss or known[0]
        if loss not in known:
            raise TrainingError(f"loss '{loss}' is not for task '{self.kind}'; give {' or '.join(known)}")
        self._refuse(recipe)
        if self.kind is TaskKind.REGRESSION:
            return NumberLoss(loss, torch.tensor(self.middle), torch.tensor(self.spread))
        weights = self._weights(recipe.class_weights)
        if self.kind is TaskKind.MULTI_LABEL:
            return LabelLoss(loss, recipe.label_smoothing, weights)
        soft = graded(len(self.names)) if self.kind is TaskKind.ORDINAL else None
        return ClassLoss(loss, recipe.label_smoothing, weights, soft)

    def _refuse(self, recipe: Recipe) -> None:
        """Options that mean nothing here, which would be left out without a word."""
        numbers = self.kind is TaskKind.REGRESSION
        given = {
            "class_weights": numbers and recipe.class_weights != ClassWeights.NONE,
            "mixup or cutmix": numbers and bool(recipe.mixup or recipe.cutmix),
            "mixup or cutmix with a weight for each picture": (
                self.kind is TaskKind.MULTI_LABEL and self.weighted and bool(recipe.mixup or recipe.cutmix)
            ),
            "sampling": not self.is_of_classes and recipe.sampling != "uniform",
        }
        if wrong := [name for name, is_given in given.items() if is_given]:
            raise TrainingError(f"{' and '.join(wrong)}: not for task '{self.kind}'; leave it out")

    def _weights(self, asked: ClassWeights | Mapping[str, float]) -> Tensor | None:
        if isinstance(asked, Mapping):
            if unknown := sorted(asked.keys() - set(self.names)):
                raise TrainingError(
                    f"class_weights names {', '.join(unknown[:8])}, and the classes are {', '.join(self.names[:8])}"
                )
            return torch.tensor([float(asked.get(name, 1.0)) for name in self.names])
        if asked is ClassWeights.NONE:
            return None
        if self.kind is TaskKind.MULTI_LABEL:  # present as much as absent
            return torch.tensor([(self.pictures - n) / n if 0 < n < self.pictures else 1.0 for n in self.counts])
        return balanced(self.counts)

    def metrics(self) -> dict[str, Metric]:
        """By their column in metrics.csv; each takes what `answers` gives, and the truth."""
        count = len(self.names)
        if self.kind is TaskKind.MULTI_LABEL:
            return {"val_map": MultilabelAveragePrecision(count, average="macro")}
        if self.kind is TaskKind.REGRESSION:
            return {"val_mae": MeanAbsoluteError()}
        found: dict[str, Metric] = {
            "val_top1": MulticlassAccuracy(count, average="micro"),
            "val_top5": MulticlassAccuracy(count, average="micro", top_k=min(5, count)),
        }
        return found | ({"val_mae": GradesOff()} if self.kind is TaskKind.ORDINAL else {})

    def val_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The plain loss of the task, without what a recipe weighs and smooths, so that runs can be compared."""
        if self.kind is TaskKind.MULTI_LABEL:
            return F.binary_cross_entropy_with_logits(outputs, targets.float())
        if self.kind is TaskKind.REGRESSION:
            found: Tensor = NumberLoss(Loss.MSE, outputs.new_tensor(self.middle), outputs.new_tensor(self.spread))(
                outputs, targets
            ).mean()
            return found
        return F.cross_entropy(outputs, targets)

    def answers(self, outputs: Tensor) -> Tensor:
        """(batch, outputs) of the network -> scores of the classes, probabilities of the labels, or numbers."""
        if self.kind is TaskKind.MULTI_LABEL:
            return outputs.sigmoid()
        if self.kind is TaskKind.REGRESSION:
            return outputs * outputs.new_tensor(self.spread) + outputs.new_tensor(self.middle)
        return outputs

    def shares(self, pictures: Pictures, recipe: Recipe) -> Tensor | None:
        """How often each training picture is drawn, (pictures,); None: each once an epoch."""
        if recipe.sampling == "uniform":
            return None
        return 1 / torch.tensor(self.counts, dtype=torch.float64)[torch.from_numpy(pictures.targets)]


class GradesOff(MeanAbsoluteError):
    """How many grades the likeliest one is from the right one."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds.argmax(1).float(), target.float())
