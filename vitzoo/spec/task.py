"""What a model's numbers mean: one class, several labels, a grade, or numbers. Nothing here imports torch."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from vitzoo.spec.base import Frozen

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class TaskKind(StrEnum):
    """What is known of a picture, and what a model is asked for."""

    CLASSES = "classes"  # one of several: softmax
    MULTI_LABEL = "multi_label"  # any of several: a sigmoid each
    ORDINAL = "ordinal"  # one of several that have an order, the first label the lowest: softmax
    REGRESSION = "regression"  # one number or several, as they are


class Task(Frozen):
    """The task that a head was trained for."""

    kind: TaskKind = TaskKind.CLASSES
    thresholds: tuple[Probability, ...] | None = Field(
        default=None, description="of multi_label: the probability from which each label is given; 0.5 if not given"
    )
