"""What was measured of a model, as a user gives it: checked, before it stands on a card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitzoo.spec import Result

Results = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def read_results(results: Results) -> tuple[Result, ...]:
    """One result or several as they stand in JSON, checked; a SpecError names the field that is wrong.

    What `vitzoo evaluate --json` prints is a result too.
    """
    many = [results] if isinstance(results, Mapping) else results or []
    return tuple(
        Result.parse(_evaluated(one) if "top1" in one else one, f"result {number}")
        for number, one in enumerate(many, 1)
    )


def _evaluated(found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluation of a whole set; the folder that it was in stays at home."""
    names = {"top1": "accuracy", "top5": "top_5_accuracy", "calibration_error": "calibration_error"}
    return {
        "dataset": Path(found["data"]).name,
        "split": found["split"],
        "metrics": {name: found[key] for key, name in names.items() if found.get(key) is not None},
        "method": f"`vitzoo evaluate`, {found['pictures']:,} pictures; numbers are parts of 1.",
    }
