"""Which pictures are trained on, which are validated on and which are for the evaluation at the end."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.open import open_splits
from vitzoo.data.pictures import WHOLE, Pictures, first_of
from vitzoo.data.places import Skipped
from vitzoo.data.truth import CLASSLESS, without_classes
from vitzoo.errors import Argument, DataError
from vitzoo.spec import TaskKind

Source = str | os.PathLike[str]


class Parts(NamedTuple):
    """The parts of a run, all with the classes that there are training pictures of."""

    train: Pictures
    val: Pictures | None
    """None: a part of the training pictures is to be held out."""
    test: Pictures | None
    aside: tuple[Skipped, ...]
    """Test pictures of which nobody knows the class."""


def parts_of(
    path: Source,
    val: Source | None = None,
    columns: Columns = ANY,
    kind: TaskKind | None = None,
    opener: Callable[[Source, Columns], dict[str, Pictures]] = open_splits,
) -> Parts:
    """The splits of a data set; validation pictures may be from another one. Labels of some tasks are no classes.

    Raises:
        DataError: see `open_splits`; also one class alone, or validation pictures of a class that is not trained.
    """
    splits, beside = opener(path, columns), None if val is None else opener(val, columns)
    if kind in CLASSLESS:
        splits = {part: without_classes(pictures) for part, pictures in splits.items()}
        beside = beside and {part: without_classes(pictures) for part, pictures in beside.items()}
    (_, train), test = first_of(splits, WHOLE, "train"), splits.get("test")
    held_out = splits.get("val") if beside is None else first_of(beside, WHOLE, "val", "test", "train")[1]
    used = _used(train)
    aside: tuple[Skipped, ...] = ()
    if test is not None and len(test) and not set(_used(test)) & set(used):
        aside = tuple(Skipped(name, f"of class '{test.classes[t]}', which is not trained") for name, t in _named(test))
        test = None
    if len(used) == 1:
        raise DataError(f"{train.where}: only one class, '{used[0]}'; expected two or more to tell apart")
    _refuse_unknown(Path(path), used, held_out, "validation")
    _refuse_unknown(Path(path), used, test, "test")
    return Parts(
        train.as_classes(used),
        None if held_out is None else held_out.as_classes(used),
        None if test is None else test.as_classes(used),
        aside,
    )


def _used(pictures: Pictures) -> tuple[str, ...]:
    """The classes that there are pictures of; all of them where labels are no classes."""
    if (pictures.targets < 0).any():
        return pictures.classes
    return tuple(name for name, count in zip(pictures.classes, pictures.counts, strict=True) if count)


def _named(pictures: Pictures) -> list[tuple[str, int]]:
    return list(zip(pictures.names, pictures.targets.tolist(), strict=True))


def _refuse_unknown(path: Path, used: tuple[str, ...], pictures: Pictures | None, part: str) -> None:
    if pictures is None or not (unknown := [name for name in _used(pictures) if name not in used]):
        return
    more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
    whole = path / "train"
    way: tuple[str | Argument, ...] = ("or remove the others",)
    if part == "test" and whole.is_dir():
        way = ("or leave the test pictures aside: ", Argument("data", str(whole)))
    raise DataError(f"{pictures.where}: no training pictures of {', '.join(unknown[:8])}{more}; add some, ", *way)


def lacking(pictures: Pictures | None) -> list[str]:
    """The classes that a part has no pictures of."""
    return [] if pictures is None else [pictures.classes[i] for i in np.flatnonzero(np.array(pictures.counts) == 0)]
