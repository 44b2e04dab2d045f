"""The model browser: one page with all weights, that asks nobody for anything. `vitzoo show` opens it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitzoo import registry
from vitzoo.registry import catalogue
from vitzoo.registry.describe import stages
from vitzoo.registry.entry import Entry
from vitzoo.registry.reference import place_of

TEMPLATE = Path(__file__).with_name("browser.html")
PLACE = "DATA"
KINDS: Mapping[type, str] = {bool: "answer", int: "number", float: "number", str: "text"}


def browser() -> str:
    """The page, with every entry of the registry, those that were added included."""
    names = registry.list_pretrained()
    known: dict[str, list[str]] = {name: [name] for name in names}
    for alias, name in registry.aliases().items():
        known.get(name, []).append(alias)
    entries = [registry.record(name) for name in names]
    rows = [{**_row(entry), "order": place, "names": known[entry.name]} for place, entry in enumerate(entries)]
    data = {
        "columns": [_column(name, rows) for name in catalogue.columns()],
        "measures": registry.measures(),
        "entries": rows,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    before, after = TEMPLATE.read_text(encoding="utf-8").split(PLACE, 1)
    return before + text + after


def _row(entry: Entry) -> dict[str, Any]:
    """All columns that have a value, and what the page shows of one entry alone."""
    values = {name: value for name in catalogue.columns() if (value := catalogue.value_of(entry, name)) is not None}
    spec, weights = registry.entry_spec(entry.name), registry.weights_entry(entry.name)
    return {
        **values,
        "figures": registry.figures(entry.name),
        "stages": stages(spec),
        "origin": weights.origin,
        "sources": [str(place_of(source)) for source in weights.sources],
    }


def _column(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    measure = registry.measures().get(name)
    kind = next((KINDS[type(row[name])] for row in rows if name in row), "text")
    title = name if measure is None else f"{measure['title']} ({measure['unit']}; {measure['measured_by']})"
    return {"name": name, "title": title, "kind": kind, "small": name in catalogue.SMALLER_IS_BETTER}
