"""Confidence intervals by the bootstrap: how far a metric moves if other pictures of the same kind had been drawn."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from vitzoo.evaluation.metrics import Floats

LEVEL = 0.95
MOST_CELLS = 1 << 22  # weights that are held at once


class Interval(NamedTuple):
    """Between the percentiles 2.5 and 97.5 of the draws (Efron and Tibshirani 1993, chapter 13)."""

    low: float
    high: float
    undefined: int
    """Draws in which the metric has no value, as where no picture of a class was drawn; they are left out."""


def intervals(
    summary: Callable[[Floats], Mapping[str, Floats]], pictures: int, draws: int, seed: int, width: int = 1
) -> dict[str, Interval]:
    """Of each metric that `summary` makes of weights (draws, pictures); pictures are drawn with replacement.

    A metric without a value in more than half of the draws has no interval. `width` is the most numbers that
    `summary` makes of a draw on its way.
    """
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, step := max(1, MOST_CELLS // max(pictures, width))):
        count = min(step, draws - start)
        drawn = random.integers(pictures, size=(count, pictures))
        weight = np.stack([np.bincount(row, minlength=pictures) for row in drawn]).astype(np.float64)
        parts.append(summary(weight))
    found = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        defined = values[np.isfinite(values)]
        if len(defined) > draws / 2:
            low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            found[name] = Interval(float(low), float(high), draws - len(defined))
    return found
