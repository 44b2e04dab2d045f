"""What is known of pictures as numbers that a model can be compared with, by the task."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from vitzoo.data.cells import number
from vitzoo.data.natural import natural
from vitzoo.data.pictures import NO_CLASS, Label, Pictures
from vitzoo.errors import Argument, DataError
from vitzoo.spec import TaskKind

SEPARATORS = re.compile(r"\s*[|;,]\s*")
"""Between the labels of one cell."""
CLASSLESS = (TaskKind.MULTI_LABEL, TaskKind.REGRESSION)


def kind_of(pictures: Pictures) -> TaskKind:
    """The task that labels make by themselves: one class each, several labels, or numbers."""
    if (pictures.targets != NO_CLASS).all():
        return TaskKind.CLASSES
    rows = [label for label in _labels(pictures) if isinstance(label, tuple)]
    numbers = all(not isinstance(one, str) for row in rows for one in row)
    if rows and not (numbers and any(one not in (0, 1) for row in rows for one in row)):
        return TaskKind.MULTI_LABEL
    return TaskKind.REGRESSION


def check_joint(pictures: Pictures) -> None:
    """Refuse names of classes that may be lists of labels, where nobody says which.

    Raises:
        DataError: names with | or ; in them, or with a comma where a part of one is a part of another, too.
    """
    names = pictures.classes if pictures.labels is not None else ()
    parts = {name: [one for one in SEPARATORS.split(name) if one] for name in names}
    times = Counter(one for several in parts.values() for one in set(several))
    joint = [
        name
        for name, several in parts.items()
        if len(several) > 1 and (re.search(r"[|;]", name) or any(times[one] > 1 for one in several))
    ]
    if joint:
        raise DataError(
            f"{pictures.where}: '{joint[0]}' may be several labels or the name of one class, as {len(joint)} of "
            f"{len(names)} may; say which: ",
            Argument("task", TaskKind.MULTI_LABEL.value),
            " or ",
            Argument("task", TaskKind.CLASSES.value),
        )


def without_classes(pictures: Pictures) -> Pictures:
    """The same pictures, whose labels are read as something else than classes."""
    none = np.full(len(pictures), NO_CLASS)
    return replace(pictures, labels=_labels(pictures), classes=(), targets=none)


def names_of(pictures: Pictures, kind: TaskKind) -> tuple[str, ...]:
    """What a model of this task says of such pictures: its classes or labels, or what its numbers are called."""
    if kind not in CLASSLESS:
        return pictures.classes
    if kind is TaskKind.REGRESSION or _flags(pictures):
        return pictures.label_columns or ("value",)
    return tuple(sorted({one for label in _labels(pictures) for one in _several(label)}, key=natural))


def with_truth(pictures: Pictures, kind: TaskKind, names: tuple[str, ...]) -> Pictures:
    """The pictures with `names` as classes and as targets (pictures,) classes, (pictures, names) labels or numbers.

    Raises:
        DataError: a label that is none of `names`, or no number.
    """
    if kind not in CLASSLESS:
        return pictures.as_classes(names)
    if pictures.targets.ndim > 1:  # it has been done
        return pictures
    targets = _numbers(pictures, names) if kind is TaskKind.REGRESSION else _present(pictures, names)
    return replace(pictures, classes=names, targets=targets)


def _numbers(pictures: Pictures, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    rows = [label if isinstance(label, tuple) else (label,) for label in _labels(pictures)]
    found = [[number(one) for one in row] for row in rows]
    for name, row, values in zip(pictures.names, rows, found, strict=True):
        if len(values) != len(names) or not all(map(math.isfinite, values)):
            expected = "a number" if len(names) == 1 else f"{len(names)} numbers"
            raise DataError(
                f"{pictures.where}: the label of {name} is {', '.join(map(repr, row))}; expected {expected} "
                f"({', '.join(names)}); name another column: ",
                Argument("label_column"),
            )
    return np.array(found, dtype=np.float64).reshape(len(rows), len(names))


def _present(pictures: Pictures, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """1 where a label is there."""
    index = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(pictures), len(names)), dtype=np.float32)
    flags = _flags(pictures)
    for i, label in enumerate(_labels(pictures)):
        given = [n for n, one in zip(pictures.label_columns, label, strict=True) if one] if flags else _several(label)  # type: ignore[arg-type]
        if unknown := [name for name in given if name not in index]:
            raise DataError(
                f"{pictures.where}: {pictures.names[i]} has the label '{unknown[0]}', which is not one of "
                f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}; add training pictures of it, or remove it"
            )
        found[i, [index[name] for name in given]] = 1
    return found


def _flags(pictures: Pictures) -> bool:
    """Whether there is a column for each label, with 0 and 1.

    Raises:
        DataError: other numbers, such as -1 for what nobody knows.
    """
    rows = [label for label in _labels(pictures) if isinstance(label, tuple)]
    if len(pictures.label_columns) < 2 or len(rows) < len(pictures):
        return False
    if any(isinstance(one, str) for one in chain(*rows)):
        return False
    for name, row in zip(pictures.names, rows, strict=True):
        for column, one in zip(pictures.label_columns, row, strict=True):
            if one not in (0, 1):
                raise DataError(
                    f"{pictures.where}: column {column} has {one!r} for {name}; expected 0 or 1, whether the label is "
                    "there. Give such pictures one of them, or leave their rows out"
                )
    return True


def _several(label: Label) -> Sequence[str]:
    """The names in a label: those of a list, or those of a text that are separated by | or ; or a comma."""
    if isinstance(label, tuple):
        return [str(one) for one in label]
    return [one for one in SEPARATORS.split(str(label).strip()) if one]


def _labels(pictures: Pictures) -> Sequence[Label]:
    if pictures.labels is not None:
        return pictures.labels
    return [pictures.classes[target] for target in pictures.targets.tolist()]
