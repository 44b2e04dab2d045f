"""What training programs leave beside a model's tensors in one state dict, and what it is: data, for every layout.

Only what no model reads stands here. What belongs to one program (a projection head, a decoder) is a `Drop` of its
layout.
"""

import re
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import NamedTuple

from vitzoo.spec import Shape


class Leftover(NamedTuple):
    """Keys that match `pattern` anywhere hold no part of a model; `axes` limits it to tensors of so many axes."""

    pattern: re.Pattern[str]
    reason: str
    axes: Container[int] = range(64)


# The states that torchmetrics' metrics register (torchmetrics/*/*.py, add_state), where someone made them persistent.
STATES = (
    "total|correct|tp|fp|tn|fn|confmat|preds|target|measures|numel|max_value|min_value|mean_value|sum_value|value|"
    "sum_squared_error|sum_abs_error|_?update_count"
)
METRIC = (
    r"(?:^|\.)(?:(?:train|val|valid|validation|test)_\w+|(?:\w*_)?(?:metrics?|acc|acc1|acc5|top1|top5|accuracy|auroc|auc|"
    r"f1|f1_?score|precision|recall|specificity|kappa|iou|map|mse|mae|loss|perplexity|confusion_?matrix|stat_?scores)"
    r"(?:_\w+)?)\."
)
OF_A_METRIC = "state of a metric of the training run"
LOSS = r"(?:^|\.)(?:criterion|criteria|loss|loss_fn|loss_func|loss_function)\.(?:weight|pos_weight|class_weights?)$"
# Optax' and flax' trees, flattened with slashes (big_vision/utils.py, tree_flatten_with_names); torch's by dots.
OPTIMISER = r"^opt/(?!target/)|^opt_state/|^optimizer(?:s|_state|_states)?[./]"
COUNTER = r"(?:^|[./])(?:global_step|num_updates|ema_decay|step_counter)$"

LEFTOVERS: Sequence[Leftover] = (
    Leftover(re.compile(rf"{METRIC}(?:[\w.]*\.)?(?:{STATES})$", re.IGNORECASE), OF_A_METRIC, (0, 1, 2)),
    # MeanMetric counts in a weight without axes, which no layer has.
    Leftover(re.compile(rf"{METRIC}weight$", re.IGNORECASE), OF_A_METRIC, (0,)),
    Leftover(re.compile(LOSS), "class weights of the loss", (0, 1)),
    Leftover(re.compile(OPTIMISER), "state of the optimiser"),
    Leftover(re.compile("^chrono/"), "clock and counters of the training run"),
    Leftover(re.compile(COUNTER), "counter of the training run", (0, 1)),
)


def leftover(name: str, shape: Shape) -> str | None:
    """Why a tensor of this name is no part of any model; None where nothing is known."""
    return _reason(name, len(shape))


@lru_cache(1 << 14)
def _reason(name: str, axes: int) -> str | None:
    return next((one.reason for one in LEFTOVERS if axes in one.axes and one.pattern.search(name)), None)
