"""A digest of every model and entry of the registry, so that none changes by accident: `python -m tools.digests`.

A field that has its default is left out: a new field of the specs changes no digest, a new value does.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitzoo import registry
from vitzoo.registry.entry import Entry
from vitzoo.spec import ViTSpec, WeightsEntry

FILE = Path(__file__).parents[1] / "tests" / "registry" / "digests.json"
DIGITS = 12


def digest(entry: Entry) -> str:
    """Of an entry's architecture and names and, if it is one of weights, of all that was published."""
    weights = {} if entry.weights is None else _stated(entry.weights, WeightsEntry)
    text = json.dumps([_stated(entry.spec, ViTSpec), list(entry.aliases), weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _stated(fields: Mapping[str, Any], record: type[ViTSpec | WeightsEntry]) -> dict[str, Any]:
    defaults = {name: field.get_default(call_default_factory=True) for name, field in record.model_fields.items()}
    defaults = json.loads(
        json.dumps({n: list(v) if isinstance(v, tuple) else v for n, v in defaults.items()}, default=str)
    )
    return {name: value for name, value in fields.items() if value != defaults[name]}


def digests() -> dict[str, str]:
    """Name -> digest, of all models and weights."""
    return {name: digest(registry.record(name)) for name in (*registry.list_models(), *registry.list_pretrained())}


def read() -> dict[str, str]:
    found: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def main() -> int:
    """Write the digests and say which entries changed since."""
    old, new = read() if FILE.is_file() else {}, digests()
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            print(f"{name} is {'new' if name not in old else 'gone' if name not in new else 'another than before'}")
    FILE.write_text(json.dumps(new, indent=0) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
