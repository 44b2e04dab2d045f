"""What was measured of a model, as a user gives it: checked, before it stands on a card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitzoo.spec import Result

MEASURED = {
    "top1": "accuracy",
    "top5": "top_5_accuracy",
    "calibration_error": "calibration_error",
    "mean_average_precision": "mean_average_precision",
    "micro_f1": "f1_micro",
    "mae": "mean_absolute_error",
    "rmse": "root_mean_squared_error",
    "r2": "r2",
}
"""What stands on a card of an evaluation, and its name there."""
PARTS = "; numbers are parts of 1"
Results = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def read_results(results: Results) -> tuple[Result, ...]:
    """One result or several as they stand in JSON, checked; a SpecError names the field that is wrong.

    What `vitzoo evaluate --json` prints is a result too.
    """
    many = [results] if isinstance(results, Mapping) else results or []
    return tuple(
        Result.parse(_evaluated(one) if "pictures_per_second" in one else one, f"result {number}")
        for number, one in enumerate(many, 1)
    )


def _evaluated(found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluation of a whole set; the folder that it was in stays at home."""
    return {
        "dataset": Path(found["data"]).name,
        "split": found["split"],
        "metrics": {name: found[key] for key, name in MEASURED.items() if found.get(key) is not None},
        "method": f"`vitzoo evaluate`, {found['pictures']:,} pictures{PARTS if 'mae' not in found else ''}.",
    }
