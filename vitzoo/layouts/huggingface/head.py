"""What transformers' config.json says of the numbers that a head gives, read in both directions."""

from collections.abc import Mapping
from typing import Any

from vitzoo.spec import Task, TaskKind

PROBLEMS = {
    TaskKind.MULTI_LABEL: "multi_label_classification",
    TaskKind.REGRESSION: "regression",
    TaskKind.CLASSES: "single_label_classification",
}
"""transformers' names; it knows no grades, whose numbers mean what those of classes mean."""
THRESHOLDS = "label_thresholds"
"""A key of our own, which transformers keeps."""


def head_task(config: Mapping[str, Any]) -> Task | None:
    """What the numbers of the head mean, where config.json says so."""
    kinds = [kind for kind, problem in PROBLEMS.items() if problem == config.get("problem_type")]
    if not kinds or kinds[0] is TaskKind.CLASSES:
        return None
    return Task.parse({"kind": kinds[0], "thresholds": config.get(THRESHOLDS)}, "config.json")


def problem(task: Task | None) -> dict[str, Any]:
    """The same as config.json says it."""
    if task is None or task.kind not in PROBLEMS:
        return {}
    kept = {} if task.thresholds is None else {THRESHOLDS: list(task.thresholds)}
    return {"problem_type": PROBLEMS[task.kind], **kept}
