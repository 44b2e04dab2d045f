"""Pictures of a store that are the same, or nearly: found by their vectors and by their bytes."""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitzoo.embedding.filters import Filter
from vitzoo.embedding.nearest import Vectors, unit
from vitzoo.embedding.store import Row, Store
from vitzoo.errors import Argument, DataError, SpecError

BLOCK = 4096
MOST_PAIRS = 5_000_000


class Group(NamedTuple):
    """Pictures each of which is like another of them."""

    rows: tuple[Row, ...]
    least: float
    """The smallest cosine of two that were found to be alike."""

    @property
    def same_bytes(self) -> bool:
        """Whether all are one file, copied."""
        return len({row.sha256 for row in self.rows}) == 1


def duplicates(
    store: Store | str | os.PathLike[str], threshold: float = 0.95, *, where: Sequence[str] = ()
) -> list[Group]:
    """Groups of pictures whose vectors have a cosine of at least `threshold`, or whose bytes are the same.

    A group holds what is like one of its own, so that its ends may be further apart. The largest come first. Vectors
    are compared in blocks; they are kept in a temporary file meanwhile. Only pictures that all conditions of `where`
    take count; see `Filter`.

    Raises:
        SpecError: no such column; a threshold outside of -1..1, or one that so many pairs reach that no group would
            mean anything.
        DataError: fewer than two pictures.
    """
    found = store if isinstance(store, Store) else Store(store)
    if not -1 <= threshold <= 1:
        raise SpecError(f"a cosine is in -1..1, found {threshold:g}; give another ", Argument("threshold"))
    with tempfile.TemporaryDirectory() as folder:
        rows, vectors = _laid_out(found, Filter.read(where, found.columns), Path(folder))
        if len(rows) < 2:
            meant = f" with {' and '.join(where)}" if where else ""
            raise DataError(f"{found.folder}: has {len(rows)} pictures{meant}; expected two at least to compare")
        pairs = list(_same_bytes(rows))
        for pair in _pairs(vectors, threshold):
            pairs.append(pair)
            if len(pairs) > MOST_PAIRS:
                raise SpecError(
                    f"more than {MOST_PAIRS:,} pairs have a cosine of {threshold:g} or more; give a higher ",
                    Argument("threshold"),
                )
        del vectors
    return _groups(rows, pairs)


def _laid_out(store: Store, where: Filter, folder: Path) -> tuple[list[Row], Vectors]:
    """All pictures, and their vectors of length 1 as one array on the disk."""
    rows: list[Row] = []
    with (folder / "vectors").open("wb") as file:
        for block in store.blocks(where):
            rows += [block.row(i) for i in range(len(block.vectors))]
            file.write(unit(block.vectors.astype(np.float32)).tobytes())
    if not rows:
        return rows, np.empty((0, store.recipe.length), np.float32)
    return rows, np.memmap(folder / "vectors", np.float32, "r", shape=(len(rows), store.recipe.length))


def _same_bytes(rows: list[Row]) -> Iterator[tuple[int, int, float]]:
    """(one, another, 1): a picture and the next one with the same bytes."""
    last: dict[str, int] = {}
    for i, row in enumerate(rows):
        if row.sha256 is not None:
            if row.sha256 in last:
                yield last[row.sha256], i, 1.0
            last[row.sha256] = i


def _pairs(vectors: Vectors, threshold: float) -> Iterator[tuple[int, int, float]]:
    """(one, another, cosine), the one before the other."""
    for first in range(0, len(vectors), BLOCK):
        some = np.asarray(vectors[first : first + BLOCK])
        for second in range(first, len(vectors), BLOCK):
            cosines = some @ np.asarray(vectors[second : second + BLOCK]).T
            for i, j in np.argwhere(cosines >= threshold):
                if first + i < second + j:
                    yield int(first + i), int(second + j), float(cosines[i, j])


def _groups(rows: list[Row], pairs: list[tuple[int, int, float]]) -> list[Group]:
    """What pairs tie together, by union and find."""
    above = list(range(len(rows)))

    def top(i: int) -> int:
        while above[i] != i:
            above[i] = above[above[i]]
            i = above[i]
        return i

    for one, another, _ in pairs:
        above[top(another)] = top(one)
    members: dict[int, set[int]] = defaultdict(set)
    least: dict[int, float] = defaultdict(lambda: 1.0)
    for one, another, cosine in pairs:
        members[top(one)] |= {one, another}
        least[top(one)] = min(least[top(one)], cosine)
    groups = [Group(tuple(rows[i] for i in sorted(found)), least[first]) for first, found in members.items()]
    return sorted(groups, key=lambda group: (-len(group.rows), group.rows[0].key))
