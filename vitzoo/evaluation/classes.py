"""How good a classifier is: accuracy, calibration, confusion, and the mistakes that it was surest of."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitzoo.evaluation.metrics import Calibration, Floats, Groups, Ranked, macro, mean, ranking, ranks, ratio
from vitzoo.evaluation.result import Evaluation, Row, few

TOP = 5


class ClassResult(NamedTuple):
    """One class: its pictures, and which part of them was recognised."""

    name: str
    pictures: int
    accuracy: float


class Confusion(NamedTuple):
    """How many pictures of one class were taken for another."""

    name: str
    predicted: str
    pictures: int


class Mistake(NamedTuple):
    """A picture that was taken for another class, and how sure the model was."""

    number: int
    picture: str
    name: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """One class for each picture. Of equal scores the class that comes first in `labels` is taken.

    A score of minus infinity is no vote: such a class is never among the first five.
    """

    KIND: ClassVar[str] = "classes"
    RANKING: ClassVar[tuple[str, ...]] = ("auroc", "mean_average_precision")
    HEADLINE: ClassVar[Mapping[str, str]] = {
        "top1": "top-1",
        "top5": "top-5",
        "balanced_accuracy": "balanced accuracy",
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "auroc": "AUROC",
        "mean_average_precision": "mAP",
        "log_loss": "log loss",
        "calibration_error": "calibration error",
    }

    @cached_property
    def probabilities(self) -> Tensor:
        """(pictures, classes)"""
        return self.scores.softmax(1)

    @cached_property
    def predictions(self) -> Tensor:
        """(pictures,) the classes that the model gave"""
        return torch.from_numpy(self.scores.numpy().argmax(1))  # numpy promises the first of equals

    @cached_property
    def sureness(self) -> Tensor:
        """(pictures,) the probability of the class that the model gave"""
        return self.probabilities.gather(1, self.predictions[:, None])[:, 0]

    @property
    def top1(self) -> float:
        return self.metrics["top1"]

    @property
    def top5(self) -> float | None:
        """None for a model of five classes or fewer."""
        return self.metrics.get("top5")

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over 15 bins of equal width (Guo et al. 2017)."""
        return self.metrics["calibration_error"]

    def summary(self, weight: Floats, ranking: bool = True) -> dict[str, Floats]:
        right, support, given = self._counts(weight)
        recall = macro(ratio(right, support))
        total = weight.sum(-1)
        found = {
            "top1": ratio(right.sum(-1), total),
            "top5": mean(self._among_five, weight),
            "balanced_accuracy": recall,
            "precision": macro(ratio(right, given)),
            "recall": recall,
            "f1": macro(ratio(2 * right, support + given)),
        }
        if ranking:
            areas, precise = self._ranked(weight)
            found |= {"auroc": macro(areas), "mean_average_precision": macro(precise)}
        with np.errstate(invalid="ignore"):  # no vote times no weight
            found["log_loss"] = mean(self._losses, weight)
        return found | {"calibration_error": self._calibration.error(weight)}

    def why(self, metric: str) -> str:
        if metric == "top5":
            return f"the model has {len(self.labels)} classes"
        if metric == "log_loss":
            return "the right class of some pictures has no vote at all, so that the loss is infinite"
        return "there are pictures of one class alone"

    def _counts(self, weight: Floats) -> tuple[Floats, Floats, Floats]:
        """(..., classes) each: pictures that were recognised, that there are, that were taken for the class."""
        by_class, by_prediction = self._groups
        return by_class.sums(weight * self._right), by_class.sums(weight), by_prediction.sums(weight)

    @cached_property
    def _groups(self) -> tuple[Groups, Groups]:
        return tuple(Groups(classes.numpy(), len(self.labels)) for classes in (self.targets, self.predictions))  # type: ignore[return-value]

    @cached_property
    def _right(self) -> Floats:
        return (self.predictions == self.targets).numpy().astype(np.float64)

    @cached_property
    def _among_five(self) -> Floats:
        if len(self.labels) <= TOP:
            return np.full(len(self.targets), np.nan)
        return (ranks(self.scores.numpy(), self.targets.numpy()) < TOP).astype(np.float64)

    @cached_property
    def _losses(self) -> Floats:
        logs = torch.cat([part.double().log_softmax(1) for part in torch.split(self.scores, 4096)])
        return -logs.gather(1, self.targets[:, None])[:, 0].numpy()

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration(self.sureness.numpy(), self._right > 0)

    @cached_property
    def _ranked(self) -> Any:
        given, truth = self.probabilities.numpy(), self.targets.numpy()
        there = np.unique(truth).tolist()
        return ranking({c: Ranked(given[:, c], truth == c) for c in there}, len(self.labels))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The classes that there are pictures of."""
        right, support, given = self._counts(self.ones)
        areas, precise = self._ranked(self.ones)
        columns = {
            "accuracy": ratio(right, support),
            "precision": ratio(right, given),
            "f1": ratio(2 * right, support + given),
            "auroc": areas,
            "average_precision": precise,
        }
        return tuple(
            Row(self.labels[c], int(support[c]), {name: float(values[c]) for name, values in columns.items()})
            for c in np.flatnonzero(support).tolist()
        )

    @property
    def classes(self) -> tuple[ClassResult, ...]:
        """How many of each class were recognised; `rows` has all metrics of each."""
        return tuple(ClassResult(row.name, row.pictures, row.metrics["accuracy"]) for row in self.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._of_classes(), *super().notes)

    def _of_classes(self) -> Iterator[str]:
        _, support, given = self._counts(self.ones)
        if len(absent := [self.labels[c] for c in np.flatnonzero(support == 0)]):
            yield (
                f"no pictures of {len(absent)} of {len(self.labels)} classes: {few(absent)}; their recall, AUROC and "
                "average precision are undefined and not in the means; pictures that are taken for them count as 0 in "
                "precision and F1"
            )
        if len(unused := [self.labels[c] for c in np.flatnonzero((support > 0) & (given == 0))]):
            yield f"no picture was taken for {few(unused)}: their precision is undefined and not in the mean"

    @cached_property
    def confusions(self) -> tuple[Confusion, ...]:
        """Pairs of classes that were confused, the most frequent first."""
        pairs = Counter(zip(self.targets.tolist(), self.predictions.tolist(), strict=True))
        wrong = sorted(((n, t, p) for (t, p), n in pairs.items() if t != p), key=lambda item: (-item[0], *item[1:]))
        return tuple(Confusion(self.labels[t], self.labels[p], n) for n, t, p in wrong)

    def mistakes(self, most: int = 20) -> tuple[Mistake, ...]:
        """The mistakes that the model was surest of, the surest first."""
        wrong = torch.nonzero(self.predictions != self.targets).flatten()
        wrong = wrong[self.sureness[wrong].argsort(descending=True, stable=True)][:most]
        return tuple(
            Mistake(
                number=i,
                picture=self.pictures.names[i],
                name=self.labels[self.targets[i]],
                predicted=self.labels[self.predictions[i]],
                probability=float(self.sureness[i]),
            )
            for i in wrong.tolist()
        )

    def more(self) -> Iterator[tuple[str, Any]]:
        yield "confusions", [confusion._asdict() for confusion in self.confusions]
        yield "mistakes", [mistake._asdict() for mistake in self.mistakes()]
