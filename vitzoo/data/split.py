"""Parts of a data set, drawn class by class from a seed; pictures of one group stay together."""

import numpy as np
import numpy.typing as npt

from vitzoo.data.pictures import Pictures
from vitzoo.errors import Argument, DataError

Places = npt.NDArray[np.int64]


def stratified(pictures: Pictures, fraction: float, seed: int) -> tuple[Pictures, Pictures]:
    """(the rest, `fraction` of each class, rounded); each class has at least one picture on both sides.

    Which pictures of a class are drawn depends on the seed and on that class alone. With groups whole groups are drawn,
    until each class has its part or a little more.

    Raises:
        DataError: a class with less than two pictures, or all in one group.
    """
    if pictures.groups is not None:
        return _parted(pictures, _groups_held_out(pictures, fraction, seed))
    chosen: list[int] = []
    for stratum, members in enumerate(_shuffled(pictures, seed)):
        if not len(members):
            continue
        if len(members) == 1:
            _refuse(pictures, stratum, "has 1 readable picture")
        chosen += members[: min(max(round(len(members) * fraction), 1), len(members) - 1)].tolist()
    return _parted(pictures, np.array(sorted(chosen), dtype=np.int64))


def few(pictures: Pictures, most: int | None, seed: int) -> Pictures:
    """`most` pictures of each class, or all of a class that has no more; all of them if `most` is None."""
    if most is None:
        return pictures
    chosen = [i for members in _shuffled(pictures, seed) for i in members[:most].tolist()]
    return pictures.take(np.array(sorted(chosen), dtype=np.int64))


def one_fold(pictures: Pictures, number: int, count: int, seed: int) -> tuple[Pictures, Pictures]:
    """(the rest, one of `count` parts that have about as many pictures of each class); whole groups, where there are.

    Raises:
        DataError: less pictures or groups than parts, or a class that one part has all of.
    """
    pieces = len(pictures) if pictures.groups is None else len(np.unique(pictures.groups))
    if pieces < count:
        what = "pictures" if pictures.groups is None else "groups of pictures"
        raise DataError(
            f"{pictures.where}: {pieces} {what} are too few for {count} folds; give ", Argument("folds", pieces)
        )
    part = _dealt(pictures, count, seed) if pictures.groups is None else _dealt_groups(pictures, count, seed)
    rest, held_out = _parted(pictures, np.flatnonzero(part == number))
    for target, (all_of_it, left) in enumerate(zip(pictures.counts, rest.counts, strict=True)):
        if all_of_it and not left:
            _refuse(pictures, target, f"is all in fold {number + 1}")
    return rest, held_out


def _parted(pictures: Pictures, held_out: Places) -> tuple[Pictures, Pictures]:
    return pictures.take(np.setdiff1d(np.arange(len(pictures)), held_out)), pictures.take(held_out)


def _refuse(pictures: Pictures, target: int, why: str) -> None:
    name = f"class '{pictures.classes[target]}'" if target < len(pictures.classes) else "the data"
    raise DataError(
        f"{pictures.where}: {name} {why}, too few for a validation part; add pictures, or give validation pictures "
        "of your own: ",
        Argument("val"),
    )


def _strata(pictures: Pictures) -> Places:
    """The class of each picture; those without one are a stratum of their own, after the classes."""
    return np.where(pictures.targets < 0, len(pictures.classes), pictures.targets)


def _shuffled(pictures: Pictures, seed: int) -> list[Places]:
    """The places of each class's pictures, in an order that the seed gives."""
    strata = _strata(pictures)
    return [
        np.random.default_rng([seed, stratum]).permutation(np.flatnonzero(strata == stratum))
        for stratum in range(len(pictures.classes) + 1)
    ]


def _by_group(pictures: Pictures) -> tuple[Places, Places]:
    """(the group of each picture from 0 on, how many pictures of each class each group has: groups x classes)."""
    groups = np.unique(np.asarray(pictures.groups), return_inverse=True)[1]
    counts = np.zeros((groups.max() + 1, len(pictures.classes) + 1), dtype=np.int64)
    np.add.at(counts, (groups, _strata(pictures)), 1)
    return groups, counts


def _groups_held_out(pictures: Pictures, fraction: float, seed: int) -> Places:
    """Class by class, the rarest first: groups in the seed's order that leave something of each of their classes."""
    groups, counts = _by_group(pictures)
    total, order = counts.sum(0), np.random.default_rng(seed).permutation(len(counts))
    wanted, held, chosen = np.maximum(np.round(total * fraction), 1), np.zeros_like(total), set[int]()
    for stratum in np.argsort(total, kind="stable"):
        if not total[stratum]:
            continue
        for group in order[counts[order, stratum] > 0]:
            leaves = np.all((total - held - counts[group] > 0) | (counts[group] == 0))
            if held[stratum] < wanted[stratum] and group not in chosen and leaves:
                chosen.add(int(group))
                held = held + counts[group]
        if not held[stratum]:
            _refuse(pictures, int(stratum), "has too few groups that can be set apart")
    return np.flatnonzero(np.isin(groups, sorted(chosen)))


def _dealt(pictures: Pictures, count: int, seed: int) -> Places:
    """The part of each picture: each class is dealt out, and the next class goes on where it ended."""
    order = np.concatenate(_shuffled(pictures, seed))
    part = np.empty(len(pictures), dtype=np.int64)
    part[order] = np.arange(len(order)) % count
    return part


def _dealt_groups(pictures: Pictures, count: int, seed: int) -> Places:
    """The part of each picture: the largest groups first, each to the part that lacks its classes most.

    The sum of squares that is kept small is least where all parts have the same number of each class.
    """
    groups, counts = _by_group(pictures)
    share = counts / np.maximum(counts.sum(0), 1)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(1), kind="stable")]
    parts, part = np.zeros((count, counts.shape[1])), np.empty(len(counts), dtype=np.int64)
    for group in order:
        growth = ((parts + share[group]) ** 2 - parts**2).sum(1)
        part[group] = np.lexsort((np.arange(count), parts.sum(1), growth))[0]
        parts[part[group]] += share[group]
    return part[groups]
