"""What commands that measure a model have in common: how it is opened, and how the numbers are told."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitzoo.cli.options import size, usable_device
from vitzoo.cli.tables import columns
from vitzoo.data.open import check_there
from vitzoo.errors import one_line, public

if TYPE_CHECKING:
    from vitzoo.evaluation.result import Evaluation
    from vitzoo.publish.dialect import ViT

MOST_ROWS = 20
CHECKED = {
    "suspects": (
        "training pictures whose label may be wrong",
        "{picture}: {label}, taken for {predicted}; its label has {confidence:.1%}",
    ),
    "alike": ("evaluated pictures that are much like one to train on", "{picture} and {other}: cosine {cosine:.4f}"),
}
"""What was looked for in the data, in words, and a line for each that was found."""
PLAIN = frozenset({"log_loss", "mae", "rmse", "r2"})
"""Metrics that are no part of 1."""


def opened(model: str, img_size: str | None, device: str, dtype: str | None, compile: bool) -> "ViT":
    """The model as the options ask for it."""
    from vitzoo.publish.dialect import create

    changes: dict[str, Any] = {} if img_size is None else {"img_size": size(img_size)}
    vit = create(model, pretrained=True, device=usable_device(device), dtype=dtype, **changes)
    if compile:
        vit.compile()
    return vit


def check_all(data: str, beside: str | None, predictions: Path | None) -> None:
    """Refuse data that is not there and a table that cannot be written, before anything slow is imported."""
    for one in filter(None, (data, beside)):
        check_there(one)
    if predictions is not None:
        from vitzoo.evaluation.predictions import check_suffix

        check_suffix(predictions)


def report(model: str, found: "Evaluation", facts: dict[str, Any], predictions: Path | None, as_json: bool) -> None:
    """Write the table if one is asked for, and print the rest."""
    if predictions is not None:
        from vitzoo.evaluation.predictions import write_predictions

        facts["predictions"] = str(write_predictions(found, predictions))
    if as_json:
        print(json.dumps({"model": public(model), **found.to_dict(), **facts}, indent=2))
    else:
        print("\n".join(_lines(found, facts)))


def _lines(found: "Evaluation", facts: Mapping[str, Any]) -> Iterator[str]:
    yield columns(list(_headline(found)))
    yield from (f"note: {one_line(note)}" for note in found.notes)
    if "calibrated" in facts:
        yield from ("", _of_calibration(facts["calibrated"]))
    if "predictions" in facts:
        yield f"predictions written to {facts['predictions']}"
    yield from _table(found)
    yield from _checked(facts)
    if found.skipped:
        yield f"\n{len(found.skipped)} pictures left out:"
        yield from (f"  {one_line(f'{one.where}: {one.reason}')}" for one in found.skipped[:MOST_ROWS])
        if len(found.skipped) > MOST_ROWS:
            yield f"  and {len(found.skipped) - MOST_ROWS} more (--json has all)"


def _headline(found: "Evaluation") -> Iterator[tuple[str, ...]]:
    """Each metric with its interval, or why it has no value."""
    for name, called in found.HEADLINE.items():
        if name in found.undefined:
            yield called, "undefined", found.undefined[name]
        else:
            between = found.intervals.get(name)
            ends = "" if between is None else f"95 % between {_said(name, between.low)} and {_said(name, between.high)}"
            yield called, _said(name, found.metrics[name]), ends
    yield "pictures", f"{len(found.targets):,} ({found.split})", ""
    if found.pictures_per_second:  # none were read where their vectors were there
        yield "pictures a second", f"{found.pictures_per_second:.0f}", ""


def _said(metric: str, value: float) -> str:
    if not math.isfinite(value):
        return "undefined"
    return f"{value:.4g}" if metric in PLAIN else f"{value:.2%}"


def _table(found: "Evaluation") -> Iterator[str]:
    """The classes that are worst, by the first of their metrics."""
    if not found.rows:
        return
    first = next(iter(found.rows[0].metrics))
    worst = sorted(found.rows, key=lambda row: (row.metrics[first] if first not in PLAIN else 0, row.name))
    more = f", the worst {MOST_ROWS} of {len(worst)} (--json has all)" if len(worst) > MOST_ROWS else ""
    yield f"\n{found.KIND}{more}:"
    head = ("", "pictures", *(name.replace("_", " ") for name in found.rows[0].metrics))
    rows = [
        (f"  {one_line(row.name)}", f"{row.pictures:,}", *(_said(name, value) for name, value in row.metrics.items()))
        for row in worst[:MOST_ROWS]
    ]
    yield columns([head, *rows], right=tuple(range(1, len(head))))


def _checked(facts: Mapping[str, Any]) -> Iterator[str]:
    """Labels that may be wrong and pictures alike, where they were looked for."""
    for kind, (what, line) in CHECKED.items():
        if kind in facts:
            listed = facts[kind]
            more = f", the first {MOST_ROWS} (--json has all)" if len(listed) > MOST_ROWS else ""
            yield f"\n{len(listed):,} {what}{more}{':' if listed else ''}"
            yield from (f"  {one_line(line.format(**one))}" for one in listed[:MOST_ROWS])


def _of_calibration(found: Mapping[str, Any]) -> str:
    error = found["calibration_error"]
    return (
        f"{found['written']} has its logits divided by {found['temperature']:.3f}: the calibration error is "
        f"{error['before']:.2%} without and {error['after']:.2%} with, measured on halves of the {found['pictures']:,} "
        "pictures by the temperature of the other half"
    )
