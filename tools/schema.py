"""The registry's JSON Schemas, from the specs, for editors that check YAML: `python -m tools.schema [--check]`.

They are looser than the registry in one way: an inherited field may be left out, so no field of an entry is required.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitzoo.registry.families import KINDS
from vitzoo.registry.recipes import Recipe
from vitzoo.spec import FamilyFile, ViTSpec, WeightsEntry
from vitzoo.spec.figures import FiguresFile

FOLDER = Path(__file__).parents[1] / "registry" / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
BASE = {**NAMES, "description": "entries whose fields this one starts from, in order; a name with '_' is abstract"}
ALIASES = {"type": "array", "items": {"type": "string"}, "description": "other names, never inherited"}
TIMM = {
    "type": "string",
    "description": "what timm calls these weights: its first source is timm/<arch>.<tag>. An architecture alone is "
    "what timm takes by default: it has this entry's tag there, and its name is an alias of this entry",
}
LAYOUT = {"type": "string", "description": "of all sources that state none; the family's if not given"}


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema, for each kind of file in `registry/`."""
    spec, entry = _inheriting(ViTSpec), _inheriting(WeightsEntry)
    definitions = {**spec.pop("$defs"), **entry.pop("$defs")}
    for source in definitions.values():
        if "const" in source.get("properties", {}).get("kind", {}):
            _written_source(source)
    definitions["Rope"].pop("required")  # mappings are merged: a base may have the rest
    sources = entry["properties"]["sources"]["items"]
    entry["properties"]["sources"]["items"] = {"oneOf": sources["oneOf"]}
    entry["properties"]["spec"] = {"$ref": "#/$defs/ViTSpec", "description": entry["properties"]["spec"]["description"]}
    model = {**spec, "title": "Model", "properties": {"base": BASE, "aliases": ALIASES, **spec["properties"]}}
    entry["properties"] = {"base": BASE, "timm": TIMM, "layout": LAYOUT, **entry["properties"]}
    entry["properties"]["params"]["description"] = "counted from the spec if not given, compared with it if it is"
    definitions |= {"ViTSpec": spec, "Model": model, "WeightsEntry": entry}
    return {
        "families.schema.json": _file_schema("family", definitions),
        "presets.schema.json": _file_schema("presets", definitions),
        "recipes.schema.json": _recipe_schema(),
        "figures.schema.json": _figures_schema(),
    }


def _written_source(source: dict[str, Any]) -> None:
    """A source as a file has it: its kind shows in its fields, its layout may be the entry's or the family's."""
    place = {"hub": "repo", "url": "url", "bundled": "file"}[source["properties"]["kind"]["const"]]
    source["required"] = [place]


def _recipe_schema() -> dict[str, Any]:
    recipe = _inheriting(Recipe)
    base = {"type": "string", "description": "the recipe that this one starts from, by name or file"}
    properties = {"base": base, **recipe["properties"]}
    return {"$schema": DIALECT, **recipe, "title": "vitzoo registry, recipe", "properties": properties}


def _figures_schema() -> dict[str, Any]:
    return {"$schema": DIALECT, **FiguresFile.model_json_schema(), "title": "vitzoo registry, figures"}


def _inheriting(cls: type[ViTSpec | WeightsEntry | Recipe]) -> dict[str, Any]:
    schema = cls.model_json_schema()
    del schema["required"]
    return schema


def _file_schema(form: str, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = FamilyFile.model_json_schema()
    if form == "presets":
        schema["properties"] = {kind: schema["properties"][kind] for kind in KINDS}
    for kind, entry in zip(KINDS, ("Model", "WeightsEntry"), strict=True):
        (names,) = schema["properties"][kind].pop("patternProperties")
        pattern = r"^_[A-Za-z0-9_-]+$" if form == "presets" else names
        schema["properties"][kind] |= {
            "patternProperties": {pattern: {"$ref": f"#/$defs/{entry}"}},
            "additionalProperties": False,
        }
    schema |= {"$schema": DIALECT, "title": f"vitzoo registry, {form}"}
    del schema["required"]
    definitions = {**definitions, **schema.pop("$defs")}
    return {**schema, "$defs": _used(schema, definitions)}


def _used(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that a schema refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        text = json.dumps(waiting.pop())
        for name, definition in definitions.items():
            if name not in found and json.dumps(f"#/$defs/{name}") in text:
                found[name] = definition
                waiting.append(definition)
    return dict(sorted(found.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schemas; with `--check` only compare, and return 1 if a file differs."""
    parser = argparse.ArgumentParser(prog="python -m tools.schema", description="Write the registry's JSON Schemas.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not up to date")
    check = parser.parse_args(arguments).check
    stale = []
    for name, schema in schemas().items():
        path, text = FOLDER / name, json.dumps(schema, indent=2) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} is not up to date; run `python -m tools.schema`" if check else f"wrote {path}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
