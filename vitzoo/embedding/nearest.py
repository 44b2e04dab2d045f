"""The vectors of a store that are nearest to others: every one is compared, some thousands at a time."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitzoo.embedding.filters import EVERY, Filter
from vitzoo.embedding.store import Row, Store
from vitzoo.errors import DataError, SpecError

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

MOST_THREADS = 4
"""Each of them has the vectors of one row group in memory."""


class Metric(StrEnum):
    """How near two vectors are."""

    COSINE = "cosine"  # of the angle between them: 1 for the same direction
    DOT = "dot"  # their product
    L2 = "l2"  # the distance between them: 0 for the same

    @classmethod
    def named(cls, name: str) -> "Metric":
        """The metric of a name; SpecError if there is none."""
        try:
            return cls(name)
        except ValueError:
            raise SpecError(f"unknown metric '{name}'; there are {', '.join(cls)}") from None


class Hit(NamedTuple):
    """A picture that was found."""

    row: Row
    score: float
    """The cosine, the product or the distance."""


class _Best(NamedTuple):
    """The nearest so far, nearest first; of two that are as near the one that comes first in the store."""

    nearness: Vectors
    """(queries, found)"""
    parts: Numbers
    numbers: Numbers
    """Where each is: the place of its file in the manifest, and its row there."""

    @classmethod
    def of(cls, found: Iterable["_Best"], queries: int, k: int) -> "_Best":
        """The best of all, as they come."""
        none = np.empty((queries, 0), np.int64)
        best = cls(none.astype(np.float32), none, none)
        for more in found:
            whole: list[npt.NDArray[Any]] = [
                np.concatenate([best[i], more[i]], axis=1) for i in range(len(cls._fields))
            ]
            order = np.argsort(-whole[0], axis=1, kind="stable")[:, :k]
            best = cls(*(np.take_along_axis(values, order, 1) for values in whole))
        return best


def nearest(store: Store, queries: Vectors, k: int, metric: str = "cosine", where: Filter = EVERY) -> list[list[Hit]]:
    """For each of the vectors (queries, length) the `k` nearest of a store, among the pictures that a filter takes.

    Each thread has some thousands of them in memory.

    Raises:
        SpecError: vectors of another length or with numbers that are not finite; an unknown metric.
        DataError: nothing to compare with.
    """
    how = Metric.named(metric)
    check_queries(store, queries, k)
    asked = unit(queries) if how is Metric.COSINE else queries

    def of_part(place: int) -> _Best:
        blocks = store.blocks_of(store.parts[place], where, ())
        found = (_top(_nearness(asked, block.vectors, how), place, block.numbers, k) for block in blocks)
        return _Best.of(found, len(queries), k)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        best = _Best.of(pool.map(of_part, range(len(store.parts))), len(queries), k)
    if not best.numbers.size:
        raise DataError(f"{store.folder}: no picture{f' with {where.text}' if where.text else ''} to compare with")
    return _hits(store, best, how)


def check_queries(store: Store, queries: Vectors, k: int) -> None:
    """Refuse what cannot be searched for, with a SpecError."""
    if k < 1:
        raise SpecError(f"k is {k}; ask for 1 picture at least")
    if queries.shape[1:] != (store.recipe.length,):
        raise SpecError(f"expected vectors of {store.recipe.length} numbers, found shape {list(queries.shape[1:])}")
    if not np.isfinite(queries).all():
        raise SpecError("a vector to search for has numbers that are not finite")


def unit(vectors: Vectors) -> Vectors:
    """The vectors with length 1; one of zeros stays as it is."""
    length = lengths(vectors)[:, None]
    found: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return found


def lengths(vectors: Vectors) -> Vectors:
    """(vectors,)"""
    found: Vectors = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return found


def _nearness(queries: Vectors, kept: npt.NDArray[np.floating], metric: Metric) -> Vectors:
    """(queries, vectors), larger for what is nearer; `queries` have length 1 for the cosine."""
    vectors = kept.astype(np.float32, copy=False)
    products: Vectors = queries @ vectors.T
    if metric is Metric.COSINE:
        length = lengths(vectors)
        products /= np.where(length > 0, length, 1)
    if metric is Metric.L2:
        products = 2 * products - lengths(vectors) ** 2 - lengths(queries)[:, None] ** 2
    return products


def _top(nearness: Vectors, place: int, numbers: Numbers, k: int) -> _Best:
    """The best of one block. Of those that are as near as the last of them, the first ones."""
    k = min(k, len(numbers))
    least = np.partition(nearness, -k, axis=1)[:, -k]
    order = np.empty((len(nearness), k), np.int64)
    for i, values in enumerate(nearness):
        some = np.flatnonzero(values >= least[i])
        order[i] = some[np.argsort(-values[some], kind="stable")[:k]]
    return _Best(np.take_along_axis(nearness, order, 1), np.full_like(order, place), numbers[order])


def _hits(store: Store, best: _Best, metric: Metric) -> list[list[Hit]]:
    rows: dict[tuple[int, int], Row] = {}
    for place in np.unique(best.parts).tolist():
        numbers = np.unique(best.numbers[best.parts == place]).tolist()
        found = store.rows(store.parts[place], numbers)
        rows |= {(place, number): row for number, row in zip(numbers, found, strict=True)}
    scores = np.sqrt(np.maximum(-best.nearness, 0)) if metric is Metric.L2 else best.nearness
    return [
        [Hit(rows[place, number], score) for place, number, score in zip(*found, strict=True)]
        for found in zip(best.parts.tolist(), best.numbers.tolist(), scores.tolist(), strict=True)
    ]
