"""How good a model is that gives numbers: how far they are off, and how much of their spread is explained."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from vitzoo.evaluation.metrics import Floats, determination, macro, ratio
from vitzoo.evaluation.result import Evaluation, Row


@dataclass(frozen=True)
class NumberEvaluation(Evaluation):
    """One number or several for each picture; metrics of several are the means over them, each in its own unit."""

    KIND: ClassVar[str] = "numbers"
    HEADLINE: ClassVar[Mapping[str, str]] = {
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "r2": "R2",
    }

    @cached_property
    def _values(self) -> tuple[Floats, Floats]:
        """(truth, given), each (pictures, outputs)"""
        both = (self.targets.double(), self.scores.double())
        return tuple(values.reshape(len(values), -1).numpy() for values in both)  # type: ignore[return-value]

    def _each(self, weight: Floats) -> dict[str, Floats]:
        truth, given = self._values
        off, total = given - truth, weight.sum(-1, keepdims=True)
        return {
            "mae": ratio(weight @ np.abs(off), total),
            "rmse": np.sqrt(ratio(weight @ off**2, total)),
            "r2": determination(truth, given, weight),
        }

    def summary(self, weight: Floats, ranking: bool = True) -> dict[str, Floats]:
        return {name: macro(values) for name, values in self._each(weight).items()}

    def why(self, metric: str) -> str:
        return "the truth is the same number for all pictures"

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        each = self._each(self.ones)
        return tuple(
            Row(name, len(self.targets), {metric: float(values[i]) for metric, values in each.items()})
            for i, name in enumerate(self.labels)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        constant = [row.name for row in self.rows if np.isnan(row.metrics["r2"])]
        said = (f"the truth of {', '.join(constant)} is one number: R2 is undefined",) if constant else ()
        return (*said, *super().notes)
