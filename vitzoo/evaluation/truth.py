"""What is known of pictures, as the numbers that a model's answers are compared with."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitzoo.data.pictures import NO_CLASS, Pictures
from vitzoo.data.truth import CLASSLESS, with_truth
from vitzoo.errors import DataError, SpecError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.labels import LabelEvaluation
from vitzoo.evaluation.numbers import NumberEvaluation
from vitzoo.evaluation.result import Evaluation, few
from vitzoo.spec import Task, TaskKind


class Truth(NamedTuple):
    """What is known of some pictures."""

    kind: type[Evaluation]
    targets: Tensor
    """(pictures,) classes, (pictures, labels) which are there, (pictures, outputs) numbers"""
    labels: tuple[str, ...]
    """The names of what the model gives."""


def truth_of(pictures: Pictures, names: tuple[str, ...] | None, outputs: int, task: Task | None = None) -> Truth:
    """One class for each picture, or what the labels of a table are: lists of names, numbers.

    `names` are those of the model's `outputs`, if it knows them; numbers go by the columns that they come from. A
    `task` that the model knows decides, else the labels do.

    Raises:
        DataError: labels that the model does not know, other numbers than it gives, pictures without a class.
        SpecError: a model that does not know its names, where they are needed.
    """
    if task is not None and task.kind in CLASSLESS and names is not None:
        targets = torch.from_numpy(with_truth(pictures, task.kind, names).targets)
        return Truth(NumberEvaluation if task.kind is TaskKind.REGRESSION else LabelEvaluation, targets, names)
    given = pictures.labels
    if given is not None and len(given) and _is_number(given[0]):
        numbers = np.array([label if isinstance(label, tuple) else (label,) for label in given], dtype=np.float32)
        if numbers.shape[1] != outputs:
            raise DataError(
                f"{pictures.where}: {numbers.shape[1]} numbers a picture, and the model gives {outputs}; name as many "
                "label columns as it gives, or another model"
            )
        return Truth(NumberEvaluation, torch.from_numpy(numbers), pictures.label_columns)
    if names is None:
        raise SpecError(f"the model does not know the names of its {outputs} classes; give labels")
    if given is not None and any(isinstance(label, tuple) for label in given):
        return Truth(LabelEvaluation, _table(pictures.where, given, names), names)
    if missing := int((pictures.targets == NO_CLASS).sum()):
        raise DataError(f"{pictures.where}: {missing} of {len(pictures)} pictures have no class; leave them out")
    return Truth(ClassEvaluation, torch.from_numpy(pictures.targets), names)


def _is_number(label: Any) -> bool:
    first = label[0] if isinstance(label, tuple) and label else label
    return isinstance(first, int | float)


def _table(where: str, given: Any, names: tuple[str, ...]) -> Tensor:
    """(pictures, labels) 1 where a label is there."""
    places = {name: place for place, name in enumerate(names)}
    rows = [label if isinstance(label, tuple) else (label,) for label in given]
    if unknown := sorted({name for row in rows for name in row} - places.keys()):
        raise DataError(f"{where}: the model does not know {few(unknown)}; it knows {few(names)}; give labels for it")
    table = torch.zeros(len(rows), len(names), dtype=torch.int64)
    for number, row in enumerate(rows):
        table[number, [places[name] for name in row]] = 1
    return table
