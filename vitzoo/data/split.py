"""Parts of a data set, drawn class by class from a seed."""

import numpy as np

from vitzoo.data.pictures import Pictures
from vitzoo.errors import DataError


def stratified(pictures: Pictures, fraction: float, seed: int) -> tuple[Pictures, Pictures]:
    """(the rest, `fraction` of each class, rounded); each class has at least one picture on both sides.

    Which pictures of a class are drawn depends on the seed and on that class alone.

    Raises:
        DataError: a class with less than two pictures.
    """
    chosen: list[int] = []
    for target, members in enumerate(_shuffled(pictures, seed)):
        if len(members) < 2:
            raise DataError(
                f"{pictures.where}: class '{pictures.classes[target]}' has {len(members)} readable pictures, too few "
                "for a validation part; add pictures, or give validation pictures of your own"
            )
        chosen += members[: min(max(round(len(members) * fraction), 1), len(members) - 1)].tolist()
    held_out = np.array(sorted(chosen), dtype=np.int64)
    return pictures.take(np.setdiff1d(np.arange(len(pictures)), held_out)), pictures.take(held_out)


def few(pictures: Pictures, most: int | None, seed: int) -> Pictures:
    """`most` pictures of each class, or all of a class that has no more; all of them if `most` is None."""
    if most is None:
        return pictures
    chosen = [i for members in _shuffled(pictures, seed) for i in members[:most].tolist()]
    return pictures.take(np.array(sorted(chosen), dtype=np.int64))


def _shuffled(pictures: Pictures, seed: int) -> list["np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    """The places of each class's pictures, in an order that the seed gives."""
    return [
        np.random.default_rng([seed, target]).permutation(np.flatnonzero(pictures.targets == target))
        for target in range(len(pictures.classes))
    ]
