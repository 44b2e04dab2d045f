"""Writes the pages under `docs/` that come from the registry: `python -m vitzoo.docs [--check]`."""

import sys
from pathlib import Path

from vitzoo import registry
from vitzoo.describe import count_macs, count_parameters

PAGE = Path(__file__).parents[1] / "docs" / "models.md"

HEADER = """# Models and weights

Written by `python -m vitzoo.docs` from `registry/`; do not edit. Parameters and multiply-adds are counted at the size
in the row. Names in the last column are accepted wherever vitzoo takes a name.
"""


def page() -> str:
    """The page of all models, and of all weights with their sources."""
    lines = [
        HEADER,
        "## Architectures",
        "",
        "| model | parameters | multiply-adds | size | weights |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in registry.list_models():
        spec = registry.model_spec(name)
        size = "x".join(map(str, spec.img_size))
        count = len(registry.list_pretrained(f"{name}.*"))
        lines.append(f"| `{name}` | {count_parameters(spec):,} | {count_macs(spec) / 1e9:.2f} G | {size} | {count} |")
    lines += [
        "",
        "## Weights",
        "",
        "| name | size | classes | license | source, layout | other names |",
        "|---|--:|--:|---|---|---|",
    ]
    for name in registry.list_pretrained():
        entry, spec = registry.weights_entry(name), registry.entry_spec(name)
        source = entry.sources[0]
        place = getattr(source, {"hub": "repo", "url": "url", "bundled": "file"}[source.kind])
        others = ", ".join(f"`{alias}`" for alias in entry.aliases)
        size = "x".join(map(str, spec.img_size))
        lines.append(
            f"| `{name}` | {size} | {spec.num_classes} | {entry.license} | {place}, {source.layout} | {others} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or with --check exit with 1 if it differs."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit(f"{PAGE} is not what the registry says; run python -m vitzoo.docs")
        return
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
