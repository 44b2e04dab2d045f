"""`vitzoo registry check`: what a draft of a registry file comes to, or what is wrong with it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vitzoo.cli.options import AsJson
from vitzoo.cli.tables import columns
from vitzoo.errors import LayoutError, RegistryError
from vitzoo.registry.entry import Entry, implied_names
from vitzoo.registry.index import draft

app = typer.Typer(help="Registries: what there is, and what you add.", no_args_is_help=True)


@app.callback()  # one command alone would lose its name
def _registry() -> None:
    """Registries: what there is, and what you add."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="a registry's YAML file, or a folder of them")], as_json: AsJson = False
) -> None:
    """Show what each entry of a registry file would be; exit with 2 and say what is wrong if anything is."""
    entries, problems = draft(file)
    problems += [line for entry in entries for line in _unreadable(entry)]
    if problems:
        raise RegistryError("\n".join(problems))
    if not entries:
        raise RegistryError(
            f"{file} has neither models nor weights, so nothing was checked; docs/registry.md has the form"
        )
    if as_json:
        print(json.dumps([_described(entry) for entry in entries], indent=2))
        return
    print("\n\n".join(_in_words(entry) for entry in entries))
    models = sum(entry.weights is None for entry in entries)
    print(f"\n{models} models and {len(entries) - models} weights: all is well")


def _described(entry: Entry) -> dict[str, Any]:
    """An entry with all that follows from what its file says."""
    found = {"name": entry.name, "file": entry.file, "params": entry.params, "spec": entry.spec}
    return {**found, "names": [*entry.aliases, *implied_names(entry)], "weights": entry.weights}


def _in_words(entry: Entry) -> str:
    from vitzoo.layouts.tables import get_layout
    from vitzoo.spec import ViTSpec

    spec = ViTSpec.parse(entry.spec, entry.name)
    rows = [("  parameters", f"{entry.params:,}")]
    rows += [
        ("  " + field, _value(value)) for field, value in spec.model_dump(mode="json", exclude_defaults=True).items()
    ]
    if entry.weights is not None:
        shown = ("license", "resample", "labels", "origin", "note")
        rows += [("  " + field, _value(entry.weights[field])) for field in shown if entry.weights[field]]
        rows += [("  preprocessing", _value(entry.weights["preprocessing"]))]
        for source in entry.weights["sources"]:
            rows.append(("  source", _value(source)))
            rows += [("  otherwise there", reason) for reason in get_layout(source["layout"]).refusals(spec).values()]
    if names := [*entry.aliases, *implied_names(entry)]:
        rows.append(("  other names", ", ".join(names)))
    return f"{entry.name}\n{columns(rows)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(inner)}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return " ".join(map(_value, value)) if len(value) < 12 else f"{len(value)} values"
    return str(value)


def _unreadable(entry: Entry) -> list[str]:
    """Sources whose layout does not exist, or cannot hold the entry's tensors."""
    from vitzoo.layouts.tables import get_layout
    from vitzoo.spec import ViTSpec

    found, spec = [], ViTSpec.parse(entry.spec, entry.name)
    for source in (entry.weights or {}).get("sources", ()):
        try:
            get_layout(source["layout"]).bind(spec)
        except LayoutError as error:
            found.append(f"{entry.file}: {entry.name}: {error}")
    return found
