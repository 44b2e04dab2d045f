"""Cross-validation: as many runs as there are folds, each validated on pictures that it never saw; and their mean."""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitzoo.errors import TrainingError
from vitzoo.files.atomic import replacing
from vitzoo.markdown import page, table
from vitzoo.registry.recipes import Recipe
from vitzoo.train.finetuning import finetune
from vitzoo.train.network import Model

SPEEDS = frozenset({"pictures_per_second"})
"""Results that say nothing of the model."""


def cross_validate(
    model: Model,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    recipe: str | os.PathLike[str] | Recipe = "adamw_layer_decay",
    *,
    folds: int = 5,
    devices: int | str = 1,
    **options: Any,
) -> Path:
    """Train and evaluate `folds` times, each time on another part of the pictures; returns `results.json`.

    The parts have about as many pictures of each class, and pictures of one group are in one part. `output` gets a
    folder for each run, `fold1` and so on, and `results.json` and `report.md` with the mean and the spread of what they
    came to. A model of all pictures is for `finetune`. `options` are those of `finetune`.

    Raises:
        DataError: also too few pictures or groups; validation pictures of their own.
        TrainingError: also several devices; the runs follow one another on one.
    """
    if str(devices) != "1" or options.get("num_nodes", 1) != 1:
        raise TrainingError("folds are trained one after another on one device; leave devices and nodes out")
    if folds < 2:
        raise TrainingError(f"folds are 2 or more, found {folds}; give 5")
    folder = Path(output)
    found = []
    for number in range(folds):
        path = finetune(model, data, folder / f"fold{number + 1}", recipe, fold=(number, folds), **options)
        found.append(json.loads((path.parent / "results.json").read_text(encoding="utf-8")))
    summary = {"data": found[0]["data"], "folds": folds, **spread(found), "runs": found}
    with replacing(folder / "results.json") as partial:
        partial.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    with replacing(folder / "report.md") as partial:
        partial.write_text(_report(folder.resolve().name, summary, found), encoding="utf-8")
    return folder / "results.json"


def spread(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean and the standard deviation (of a sample) of each number that all results have."""
    names = [name for name, value in found[0].items() if isinstance(value, float) and name not in SPEEDS]
    values = {name: [one[name] for one in found] for name in names}
    kept = {name: row for name, row in values.items() if all(isinstance(value, float) for value in row)}
    return {
        "mean": {name: round(statistics.mean(row), 6) for name, row in kept.items()},
        "std": {name: round(statistics.stdev(row), 6) for name, row in kept.items()},
    }


def _report(name: str, summary: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str:
    names = tuple(summary["mean"])
    rows = [(f"[fold {i}](fold{i}/report.md)", *(f"{one[n]:.4f}" for n in names)) for i, one in enumerate(found, 1)]
    rows += [(what, *(f"{summary[key][n]:.4f}" for n in names)) for what, key in (("mean", "mean"), ("spread", "std"))]
    folds = summary["folds"]
    return page(
        [f"# {name}"],
        [
            f"{folds} runs, each validated on another part of the pictures, which it was not trained on. The spread is "
            "the standard deviation of the runs. Pictures of one group are in one part."
        ],
        [
            *table(
                ("run", *(n.replace("_", " ") for n in names)), rows, numbers=tuple(n.replace("_", " ") for n in names)
            )
        ],
    )
