"""`vitzoo list`: what the registry has. It does not import torch."""

import json
from typing import Annotated, Any

import typer

from vitzoo import registry
from vitzoo.cli.options import AsJson
from vitzoo.cli.tables import columns, millions, size
from vitzoo.errors import RegistryError


def list_(
    pattern: Annotated[
        str, typer.Argument(help="a name or an alias, also with * and ?, e.g. 'vit_b*' or '*augreg*'")
    ] = "*",
    license: Annotated[list[str] | None, typer.Option(help="only weights under this licence; may be repeated")] = None,
    models: Annotated[bool, typer.Option("--models", help="architectures instead of weights")] = False,
    as_json: AsJson = False,
) -> None:
    """List weights (or, with --models, architectures) with size, resolution, classes and licence."""
    rows: list[dict[str, str | int | None]] = []
    if models:
        for name in registry.list_models(pattern):
            model = registry.record(name)
            count = len(registry.entries_of(name))
            rows.append(
                {"name": name, "params": model.params, "img_size": size(model.spec["img_size"]), "weights": count}
            )
    else:
        for name in registry.list_pretrained(pattern, license=license):
            entry = registry.record(name)
            rows.append(
                {
                    "name": name,
                    "params": entry.params,
                    "img_size": size(entry.spec["img_size"]),
                    "classes": entry.spec["num_classes"],
                    "out_dim": entry.spec["out_dim"],
                    "license": str(entry.license),
                }
            )
    if not rows:
        limit = f" under {' or '.join(license)}" if license else ""
        near = registry.near(pattern) or "; try `vitzoo list` without arguments"
        raise RegistryError(f"nothing matches '{pattern}'{limit}{near}")
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    names = [name for name in rows[0] if name != "out_dim"]
    print(columns([tuple(names), *(tuple(_cell(row, name) for name in names) for row in rows)], right=(1, 2, 3)))


def _cell(row: dict[str, Any], name: str) -> str:
    """An embedding is called one, since its width counts no classes."""
    if name == "classes" and row["out_dim"]:
        return f"{row['out_dim']}-d embedding"
    return millions(row[name]) if name == "params" else str(row[name])
