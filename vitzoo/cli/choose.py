"""`vitzoo choose`: which weights to take, and why."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from vitzoo import registry
from vitzoo.cli.list import Commercial, License, MaxParams, MinSize, Where
from vitzoo.cli.options import AsJson, Device, usable_device
from vitzoo.cli.tables import columns, millions

if TYPE_CHECKING:
    from vitzoo.evaluation.choice import Choice


def choose(
    task: Annotated[str, typer.Option("--task", help="classify, zero-shot or features")] = "classify",
    by: Annotated[
        str | None, typer.Option("--by", metavar="FIGURE", help="that decides; `vitzoo list --columns help` lists them")
    ] = None,
    license: License = None,
    commercial: Commercial = False,
    max_params: MaxParams = None,
    min_size: MinSize = None,
    where: Where = None,
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", min=0.001, help="for one picture here; candidates are timed")
    ] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Propose weights: the best by a published figure of those that keep to what is asked, timed on this machine."""
    from vitzoo.evaluation import choice

    limits = {"max_params": max_params, "min_img_size": min_size, "commercial": commercial or None}
    found = choice.choose(
        task,
        by=by,
        license=license,
        budget_ms=budget_ms,
        device=device if budget_ms is None else str(usable_device(device)),
        where=where or (),
        **{name: value for name, value in limits.items() if value is not None},
    )
    if as_json:
        candidates = [one._asdict() for one in found.candidates]
        print(json.dumps({**found._asdict(), "best": found.best._asdict(), "candidates": candidates}, indent=2))
    else:
        print(_in_words(found, budget_ms))


def _in_words(found: "Choice", budget_ms: float | None) -> str:
    """What is proposed, what it was chosen from, and the line that creates it."""
    measure = registry.measures()[found.measure]
    time = f", and take at most {budget_ms:g} ms a picture on this machine" if budget_ms else ""
    heads = ("name", found.measure, "params", "macs", "license", *(("ms here",) if budget_ms else ()))
    rows = [
        (
            one.name,
            f"{one.figure:g}",
            millions(one.params),
            f"{one.macs / 1e9:,.2f}G",
            one.license,
            *(() if one.ms is None else (f"{one.ms:.1f}{'' if one.fits else ' (too slow)'}",)),
        )
        for one in found.candidates
    ]
    lines = [
        f"{found.best.name}\n",
        f"The best of {found.considered} weights that keep to what you asked{time}, by",
        f"{measure['title']} ({measure['measured_by']}).",
        *(f"Left out: {count} without a known {column}." for column, count in found.unknown.items()),
        "\nNone of these is beaten by another that costs less:\n",
        columns([heads, *rows], right=(1, 2, 3)),
        f'\nvitzoo.create("{found.best.name}", pretrained=True)',
    ]
    return "\n".join(lines)
