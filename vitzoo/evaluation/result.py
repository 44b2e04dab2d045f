"""What a model made of pictures, whatever it predicts: metrics, their intervals, and what has no value and why."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from vitzoo.data.pictures import Pictures
from vitzoo.data.places import Skipped
from vitzoo.evaluation.intervals import Interval, intervals
from vitzoo.evaluation.metrics import Floats, Ranked, ranking

DRAWS = 1000  # of the bootstrap
MOST_RANKED = 500_000_000
"""Pictures times classes times draws of which the ranking metrics get intervals: ten seconds or so."""
LEAST_DRAWS = 50  # that are worth advising


class Row(NamedTuple):
    """One class, label or number in the table: its name, its pictures, and its metrics, nan where one is undefined."""

    name: str
    pictures: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation(ABC):
    """What a model made of pictures. Parts are of 1; classes are places in `labels`, the names that the model gives."""

    pictures: Pictures
    split: str
    skipped: tuple[Skipped, ...]
    labels: tuple[str, ...]
    targets: Tensor
    """The truth: (pictures,) classes, (pictures, labels) which labels are there, (pictures, outputs) numbers."""
    scores: Tensor
    """(pictures, labels) what the model gave, fp32: logits, or numbers"""
    pictures_per_second: float
    """Reading, preprocessing and the model together."""
    remarks: tuple[str, ...] = ()
    """What else was taken, left out or found on the way here."""
    draws: int = DRAWS
    """Of the bootstrap that gives the intervals; 0 for none."""
    seed: int = 0
    """Of the bootstrap."""

    KIND: ClassVar[str]
    RANKING: ClassVar[tuple[str, ...]] = ()
    """Metrics that rank all pictures for each class."""
    HEADLINE: ClassVar[Mapping[str, str]]
    """Each metric and what people call it, in the order of the report."""

    @abstractmethod
    def summary(self, weight: Floats, ranking: bool = True) -> dict[str, Floats]:
        """Each metric (...) of pictures that count `weight` (..., pictures), nan where it has no value.

        Without `ranking` those that rank pictures are left out.
        """

    @abstractmethod
    def why(self, metric: str) -> str:
        """Why a metric has no value here."""

    @property
    @abstractmethod
    def rows(self) -> tuple[Row, ...]:
        """The classes, labels or numbers one by one."""

    def more(self) -> Iterator[tuple[str, Any]]:
        """What else goes into JSON."""
        yield from ()

    @property
    def ones(self) -> Floats:
        return np.ones(len(self.targets))

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Each metric that has a value."""
        return {name: value for name, value in self._all.items() if math.isfinite(value)}

    @cached_property
    def undefined(self) -> dict[str, str]:
        """Each metric that has no value, and why."""
        return {name: self.why(name) for name, value in self._all.items() if not math.isfinite(value)}

    @cached_property
    def _all(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.summary(self.ones).items()}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """95 % confidence intervals of the metrics that have one."""
        if not self.draws or len(self.targets) < 2:
            return {}
        ranked = self._most_draws >= self.draws
        width = max(len(self.targets), len(self.labels))
        found = intervals(lambda w: self.summary(w, ranked), len(self.targets), self.draws, self.seed, width)
        return {name: interval for name, interval in found.items() if name in self.metrics}

    @property
    def _most_draws(self) -> int:
        """Of the ranking metrics."""
        return MOST_RANKED // (len(self.targets) * len(self.labels))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers has to know, in sentences."""
        return (*self.remarks, *self._of_intervals())

    def _of_intervals(self) -> Iterator[str]:
        if self.draws and len(self.targets) < 2:
            yield "one picture has no intervals"
        elif self.draws and self.RANKING and self._most_draws < self.draws:
            names = " and ".join(self.HEADLINE[name] for name in self.RANKING)
            advice = f"; --bootstrap {self._most_draws} gives them" if self._most_draws >= LEAST_DRAWS else ""
            yield f"no intervals of {names}: {self.draws:,} draws of so many pictures would take minutes{advice}"
        lost = {name: one.undefined for name, one in self.intervals.items() if one.undefined}
        if lost:
            most = max(lost.values())
            names = ", ".join(self.HEADLINE[name] for name in lost)
            yield f"in up to {most:,} of {self.draws:,} draws a metric had no value, and they were left out: {names}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with six decimals; None for what has no value, which `undefined` explains."""
        found = {
            "data": self.pictures.where,
            "split": self.split,
            "task": self.KIND,
            "pictures": len(self.targets),
            **{name: self.metrics.get(name) for name in self._all},
            "pictures_per_second": self.pictures_per_second,
            "intervals": {name: [one.low, one.high] for name, one in self.intervals.items()},
            "undefined": self.undefined,
            "notes": list(self.notes),
            "classes": [{"name": row.name, "pictures": row.pictures, **row.metrics} for row in self.rows],
            **dict(self.more()),
            "skipped": [skipped._asdict() for skipped in self.skipped],
        }
        return rounded(found)  # type: ignore[no-any-return]


def ranked(scores: "np.ndarray[Any, np.dtype[Any]]", truth: "np.ndarray[Any, np.dtype[Any]]") -> Any:
    """`metrics.ranking` of (pictures, classes) scores and truth, for the classes that have pictures."""
    there = np.flatnonzero(truth.any(0)).tolist()
    return ranking({c: Ranked(scores[:, c], truth[:, c]) for c in there}, truth.shape[1])


def rounded(value: Any) -> Any:
    """With six decimals; what is no number is None."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def few(names: Sequence[str], most: int = 5) -> str:
    """The first names, quoted."""
    return ", ".join(map(repr, names[:most])) + (" ..." if len(names) > most else "")
