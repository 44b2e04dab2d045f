"""How good a model is that says of each label whether it is there: several labels for a picture, or none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vitzoo.evaluation.metrics import Flags, Floats, macro, mean, ratio
from vitzoo.evaluation.result import Evaluation, Row, few, ranked

THRESHOLD = 0.5


@dataclass(frozen=True)
class LabelEvaluation(Evaluation):
    """Several labels for each picture; one is given where its probability is above its threshold."""

    thresholds: tuple[float, ...] | None = None
    """One for each label; 0.5 if not given."""

    KIND: ClassVar[str] = "labels"
    RANKING: ClassVar[tuple[str, ...]] = ("auroc", "mean_average_precision")
    HEADLINE: ClassVar[Mapping[str, str]] = {
        "mean_average_precision": "mAP",
        "auroc": "AUROC",
        "precision": "precision",
        "recall": "recall",
        "f1": "F1",
        "micro_f1": "F1 of all labels together",
        "exact": "pictures with exactly their labels",
    }

    @cached_property
    def probabilities(self) -> Tensor:
        """(pictures, labels)"""
        return self.scores.sigmoid()

    @cached_property
    def given(self) -> Flags:
        """(pictures, labels) the labels that the model gave"""
        limits = np.array(self.thresholds or (THRESHOLD,) * len(self.labels))
        return self.probabilities.numpy() > limits

    @cached_property
    def _truth(self) -> Flags:
        return self.targets.numpy() > 0

    @cached_property
    def _ranked(self) -> Any:
        return ranked(self.probabilities.numpy(), self._truth)

    @cached_property
    def _exact(self) -> Floats:
        exact: Floats = (self.given == self._truth).all(1).astype(np.float64)
        return exact

    @cached_property
    def _tables(self) -> tuple[npt.NDArray[np.float64], ...]:
        tables = (self.given & self._truth, self._truth, self.given)
        return tuple(table.astype(np.float64) for table in tables)

    def summary(self, weight: Floats, ranking: bool = True) -> dict[str, Floats]:
        right, support, counted = (weight @ table for table in self._tables)
        found = {}
        if ranking:
            areas, precise = self._ranked(weight)
            found = {"mean_average_precision": macro(precise), "auroc": macro(areas)}
        return found | {
            "precision": macro(ratio(right, counted)),
            "recall": macro(ratio(right, support)),
            "f1": macro(ratio(2 * right, support + counted)),
            "micro_f1": ratio(2 * right.sum(-1), (support + counted).sum(-1)),
            "exact": mean(self._exact, weight),
        }

    def why(self, metric: str) -> str:
        if metric == "auroc":
            return "no label is there in some pictures and not in others"
        return "no picture was given a label" if metric == "precision" else "no picture has a label"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All labels, with the pictures that have them."""
        right, support, counted = (self.ones @ table for table in self._tables)
        areas, precise = self._ranked(self.ones)
        columns = {
            "precision": ratio(right, counted),
            "recall": ratio(right, support),
            "f1": ratio(2 * right, support + counted),
            "auroc": areas,
            "average_precision": precise,
        }
        return tuple(
            Row(name, int(support[c]), {column: float(values[c]) for column, values in columns.items()})
            for c, name in enumerate(self.labels)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._of_labels(), *super().notes)

    def _of_labels(self) -> Iterator[str]:
        _, support, counted = (table.sum(0) for table in self._tables)
        if len(absent := [self.labels[c] for c in np.flatnonzero(support == 0)]):
            yield (
                f"no picture has {few(absent)}: their recall, AUROC and average precision are undefined and not in "
                "the means"
            )
        if len(unused := [self.labels[c] for c in np.flatnonzero((support > 0) & (counted == 0))]):
            yield f"no picture was given {few(unused)}: their precision is undefined and not in the mean"

    def more(self) -> Iterator[tuple[str, Any]]:
        yield "thresholds", list(self.thresholds or (THRESHOLD,) * len(self.labels))
