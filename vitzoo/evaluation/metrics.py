"""Metrics of predictions in numpy. What has no value, such as the recall of a class without pictures, is nan, never 0.

Every metric is a function of `weight` (..., pictures), how often each picture counts: ones give the metric, rows of
counts give one value for each draw of a bootstrap. Numbers are those of scikit-learn, which the tests run beside.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

BINS = 15  # of the calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 5)
ROWS = 4096  # pictures that are ranked at once


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, nan where the whole is nothing."""
    found = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def macro(values: Floats) -> Floats:
    """(..., classes) -> (...): the mean of the values that are defined, nan if none is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(float))


class Groups:
    """Sums over groups of pictures: those of one class, of one bin."""

    def __init__(self, group: Integers, count: int) -> None:
        self.order, self.count = np.argsort(group, kind="stable"), count
        self.present, self.starts = np.unique(group[self.order], return_index=True)

    def sums(self, values: Floats) -> Floats:
        """(..., pictures) -> (..., count)"""
        found = np.zeros((*values.shape[:-1], self.count))
        if len(self.order):
            found[..., self.present] = np.add.reduceat(values[..., self.order], self.starts, axis=-1)
        return found


class Ranked:
    """One class against the rest, sorted once by the score. Equal scores are one threshold."""

    def __init__(self, scores: npt.NDArray[np.floating], positive: Flags) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        self.hits = np.flatnonzero(positive[self.order])
        group = np.searchsorted(starts, self.hits, "right") - 1
        self.first, self.end = starts[group], np.append(starts[1:], len(scores))[group]
        self.hits_before, self.hits_end = (np.searchsorted(self.hits, place) for place in (self.first, self.end))

    def auroc_and_precision(self, weight: Floats) -> tuple[Floats, Floats]:
        """(area under the ROC curve, average precision), each (...).

        The area needs positives and others; the average precision, the sum of precision times the step of recall,
        needs positives.
        """
        ranked = weight[..., self.order]
        counted, found = _cumulated(ranked), _cumulated(ranked[..., self.hits])
        positives = found[..., -1]
        others = counted[..., -1] - positives
        hits, above = ranked[..., self.hits], counted[..., self.first] - found[..., self.hits_before]
        beside = counted[..., self.end] - found[..., self.hits_end] - above
        area = (hits * (others[..., None] - above - beside / 2)).sum(-1)
        precision = ratio(found[..., self.hits_end], counted[..., self.end])
        precise = (hits * np.nan_to_num(precision)).sum(-1)
        return ratio(area, positives * others), ratio(precise, positives)


def _cumulated(values: Floats) -> Floats:
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values.cumsum(-1)], -1)


def ranking(ranked: dict[int, Ranked], count: int) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Of weights, (areas, average precisions) of `count` classes, each (..., count); nan for those not in `ranked`."""

    def found(weight: Floats) -> tuple[Floats, Floats]:
        areas, precise = (np.full((*weight.shape[:-1], count), np.nan) for _ in range(2))
        for place, one in ranked.items():
            areas[..., place], precise[..., place] = one.auroc_and_precision(weight)
        return areas, precise

    return found


def ranks(scores: npt.NDArray[np.floating], targets: Integers) -> Integers:
    """(pictures,) how many classes stand before the right one; of equal scores the first in the order of the classes.

    A score of minus infinity is no vote at all: such a class stands behind all others.
    """
    found = np.empty(len(targets), dtype=np.int64)
    places = np.arange(scores.shape[1])
    for start in range(0, len(targets), ROWS):
        rows, right = scores[start : start + ROWS], targets[start : start + ROWS, None]
        own = np.take_along_axis(rows, right, 1)
        before = ((rows > own) | ((rows == own) & (places < right))).sum(1)
        found[start : start + ROWS] = np.where(np.isneginf(own[:, 0]), scores.shape[1], before)
    return found


class Calibration:
    """Expected calibration error: how far sureness and accuracy are apart, over 15 bins of equal width."""

    def __init__(self, sure: npt.NDArray[np.floating], right: Flags) -> None:
        self.sure, self.right = sure.astype(np.float64), right.astype(np.float64)
        bins = np.clip(np.ceil(self.sure * BINS).astype(np.int64) - 1, 0, BINS - 1)  # (low, high]
        self.bins = Groups(bins, BINS)

    def error(self, weight: Floats) -> Floats:
        gap = self.bins.sums(weight * self.right) - self.bins.sums(weight * self.sure)
        return ratio(np.abs(gap).sum(-1), weight.sum(-1))


def mean(values: Floats, weight: Floats) -> Floats:
    """(pictures,) -> (...)"""
    return ratio(weight @ values, weight.sum(-1))


def determination(truth: Floats, given: Floats, weight: Floats) -> Floats:
    """(..., outputs) R2 of (pictures, outputs): the part of the variance that is explained, nan where there is none."""
    centred = truth - truth.mean(0)
    count = weight.sum(-1, keepdims=True)
    squares = weight @ centred**2
    variance = squares - ratio((weight @ centred) ** 2, count)
    there = variance > 1e-12 * squares  # what rounding leaves of no variance at all is none
    return 1 - ratio(weight @ (truth - given) ** 2, np.where(there, variance, 0.0))
