"""What a model says of a picture, by the task that it was trained for."""

from typing import TYPE_CHECKING, NamedTuple

from vitzoo.errors import one_line
from vitzoo.spec import Task, TaskKind

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLD = 0.5
"""Of labels, where the model has none of its own."""


class Guess(NamedTuple):
    """One class for one picture."""

    label: str
    class_index: int
    probability: float

    def __str__(self) -> str:
        return f"{self.probability:6.1%}  {one_line(self.label)}"


class Label(NamedTuple):
    """One of the labels that a picture may have, and whether it is given: its probability is above its threshold."""

    label: str
    class_index: int
    probability: float
    given: bool

    def __str__(self) -> str:
        return f"{self.probability:6.1%}  {one_line(self.label)}" + ("" if self.given else "  (not given)")


class Number(NamedTuple):
    """One number."""

    label: str
    class_index: int
    value: float

    def __str__(self) -> str:
        return f"{self.value:.6g}  {one_line(self.label)}"


Said = Guess | Label | Number
KINDS: dict[TaskKind, tuple[str, type[Said]]] = {
    TaskKind.CLASSES: ("classes", Guess),
    TaskKind.ORDINAL: ("classes", Guess),
    TaskKind.MULTI_LABEL: ("labels", Label),
    TaskKind.REGRESSION: ("numbers", Number),
}
"""What answers are called in JSON, and what each is."""


def answers(outputs: "Tensor", names: tuple[str, ...], task: Task, top_k: int) -> list[list[Said]]:
    """(pictures, outputs) of the model -> for each picture the likeliest classes or labels, or all numbers."""
    values = outputs.float()
    if task.kind is TaskKind.REGRESSION:
        return [[Number(names[i], i, value) for i, value in enumerate(row)] for row in values.tolist()]
    several = task.kind is TaskKind.MULTI_LABEL
    top = (values.sigmoid() if several else values.softmax(-1)).topk(min(top_k, len(names)))
    limits = task.thresholds or (THRESHOLD,) * len(names)
    rows = zip(top.values.tolist(), top.indices.tolist(), strict=True)
    if several:
        return [[Label(names[i], i, p, p > limits[i]) for p, i in zip(*row, strict=True)] for row in rows]
    return [[Guess(names[i], i, p) for p, i in zip(*row, strict=True)] for row in rows]
