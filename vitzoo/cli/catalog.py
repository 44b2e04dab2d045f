"""`vitzoo list` and `vitzoo info`. Neither imports torch, unless `info` is asked about a file."""

import json
from typing import Annotated, Any

import typer

from vitzoo import registry
from vitzoo.cli.options import AsJson, Drop, Like, Prefix, Set, Wrapper, fields
from vitzoo.cli.tables import columns, millions, size
from vitzoo.errors import RegistryError, SpecError


def list_(
    pattern: Annotated[str, typer.Argument(help="names with * and ?, e.g. 'vit_b*' or '*augreg*'")] = "*",
    license: Annotated[list[str] | None, typer.Option(help="only weights under this licence; may be repeated")] = None,
    models: Annotated[bool, typer.Option("--models", help="architectures instead of weights")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a JSON array instead of a table")] = False,
) -> None:
    """List weights (or, with --models, architectures) with size, resolution, classes and licence."""
    rows: list[dict[str, str | int | None]] = []
    if models:
        for name in registry.list_models(pattern):
            model = registry.record(name)
            count = len(registry.list_pretrained(f"{name}.*"))
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
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        limit = f" under {' or '.join(license)}" if license else ""
        raise RegistryError(f"nothing matches '{pattern}'{limit}; try `vitzoo list` without arguments")
    names = [name for name in rows[0] if name != "out_dim"]
    print(columns([tuple(names), *(tuple(_cell(row, name) for name in names) for row in rows)], right=(1, 2, 3)))


def _cell(row: dict[str, Any], name: str) -> str:
    """An embedding is called one, since its width counts no classes."""
    if name == "classes" and row["out_dim"]:
        return f"{row['out_dim']}-d embedding"
    return millions(row[name]) if name == "params" else str(row[name])


def info(
    name: Annotated[
        str, typer.Argument(help="a model, model.tag, an alias, or a checkpoint: a path, an address, hf-hub:org/repo")
    ],
    layout: Annotated[str | None, typer.Option(help="a checkpoint's layout; found out if not given")] = None,
    like: Like = None,
    wrapper: Wrapper = None,
    prefix: Prefix = None,
    drop: Drop = None,
    settings: Set = None,
    as_json: AsJson = False,
) -> None:
    """Show what a model is: the shape of every stage, parameters, multiply-adds, weights; a file's load report."""
    from vitzoo.registry.describe import Info
    from vitzoo.registry.describe import info as lookup
    from vitzoo.registry.reference import Name, parse

    report = None
    reference = parse(name)
    if not isinstance(reference, Name) or reference.revision is not None:
        from vitzoo.publish.dialect import create

        model = create(
            reference, layout=layout, like=like, wrapper=wrapper, prefix=prefix, drop=drop or (), **fields(settings)
        )
        report = str(model.load_report)
        found = Info(str(reference), model.spec)
    elif layout or like or wrapper or prefix or drop or settings:
        options = "--layout, --like, --wrapper, --prefix, --drop and --set"
        raise SpecError(f"{options} describe a checkpoint, and '{name}' is a name; leave them out")
    else:
        found = lookup(reference.name)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    print(f"{found.name}\n")
    print(columns([(f"  {stage.name}", stage.shape) for stage in found.stages]))
    print()
    facts = [
        ("  parameters", f"{found.params:,} ({millions(found.params)})"),
        ("  multiply-adds", f"{found.macs / 1e9:.2f} G"),
    ]
    if found.weights is not None:
        entry = found.weights
        facts += [("  license", entry.license), ("  resampling", entry.resample.value)]
        facts += [("  source", _place(source)) for source in entry.sources]
        facts += [("  " + key, text) for key, text in (("origin", entry.origin), ("note", entry.note)) if text]
    print(columns(facts))
    if found.tags:
        print("\n  weights (the first is the default):")
        for tag in found.tags:
            print(f"    {tag}  {registry.record(tag).license}")
    if report is not None:
        print(f"\n{report}")


def _place(source: object) -> str:
    for attribute in ("url", "repo", "file"):
        if hasattr(source, attribute):
            layout = getattr(source, "layout", "")
            return f"{getattr(source, attribute)} (layout {layout})"
    raise AssertionError(source)
