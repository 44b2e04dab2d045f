"""docs/layouts.md: what each layout is, what it holds and what it was compared with."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tools.docs.configuration import configurations
from tools.docs.sections import rows_of
from tools.proofs import Proof
from vitzoo import registry
from vitzoo.layouts.huggingface import tables as huggingface
from vitzoo.layouts.layout import ANY, SIZES, Layout
from vitzoo.layouts.tables import GROUPS, LAYOUTS
from vitzoo.layouts.timm import tables as timm
from vitzoo.markdown import code, page, table

VERSIONS = {"timm": "1.0.31", "transformers": "5.24", "torchvision": "0.29", "open_clip": "3.3"}
"""Of the packages that the comparisons were made with."""

HEADER = """# Layouts

Written by `python -m tools.docs` from the layouts' tables; do not edit.

A layout is how a checkpoint names and shapes its tensors. Each is one table that is read in both directions, so every
layout below is both read and written. [Converting](converting.md) shows how.

Any layout is read from `.safetensors` (also in shards), `.npz`, `.pth`, `.pt` and `.bin`. "Written as" is what you get
for a path without a suffix; a folder holds `model.safetensors` and the named files, which the library reads and vitzoo
reads back. "Weights" counts the entries of the registry with a source in this layout."""

RUN = """## What was compared

Written from the marks on the tests. Models are tiny and every parameter is random. "Tensors bit for bit" means that
every tensor of the export equals the one in the file that was imported; of tensors that the network does not use (a
mask token, what stands beside a tower) the values or the tensors may be missing. Published weights were not
downloaded. How many swaps of two tensors are noticed, and which cannot be, is in
[tests/layouts/test_timm.py](../tests/layouts/test_timm.py). Run with {versions}."""

HOLDS = """## What each holds

Every layout holds sizes and the number of classes, but for limits named here. Of all other fields it holds those named
here, with any value or with the values given; a field that is not named must have its default. What a layout cannot
hold is refused on writing, unless `drop` names it."""


def beside(layout: Layout) -> list[str]:
    """The files that the layout's library reads beside the weights."""
    if layout in huggingface.LAYOUTS:
        return ["config.json", "preprocessor_config.json"]
    return ["config.json"] if layout in timm.LAYOUTS else []


def layouts_page(proofs: Sequence[Proof]) -> str:
    """The page of all layouts."""
    versions = ", ".join(f"{name} {version}" for name, version in VERSIONS.items())
    run = RUN.format(versions=versions)
    blocks: list[list[str]] = [[HEADER], _overview(), _groups(), configurations(), [run], _runs(proofs), [HOLDS]]
    merged: dict[str, list[str]] = {}
    for layout in LAYOUTS.values():
        merged.setdefault(_holdings(layout), []).append(layout.name)
    for text, names in merged.items():
        blocks += [[f"**{code(names)}**"], [text]]
    return page(*blocks)


def _overview() -> list[str]:
    rows = []
    for layout in LAYOUTS.values():
        files = beside(layout)
        written = f"folder with {code(files)}" if files else f"`{layout.suffix}`"
        within = code(scope.rstrip(".") for scope in layout.scopes)
        count = len(registry.with_layout(layout.name))
        rows.append((f"`{layout.name}`", layout.origin, written, within, _policy(layout), count))
    return table(("layout", "origin", "written as", "also found inside", "resampling", "weights"), rows, ("weights",))


def _policy(layout: Layout) -> str:
    if layout.resample_if is None:
        return f"`{layout.resample}`"
    condition, other = layout.resample_if
    where = " and ".join(f"`{name}` is {value}" for name, value in condition.items())
    return f"`{layout.resample}`; `{other}` where {where}"


def _groups() -> list[str]:
    lines = [
        "A library's name stands for the first of its layouts that can hold the model. "
        "Resampling is the [policy](resampling.md) of the layout's own program. A file that several layouts explain "
        "has a policy only if they agree.",
        "",
    ]
    return lines + table(("name", "stands for"), [(f"`{name}`", code(group)) for name, group in GROUPS.items()])


def _runs(proofs: Sequence[Proof]) -> list[str]:
    rows = rows_of("layout", list(LAYOUTS), Path("docs/layouts.md"), proofs)
    return table(("layout", "against", "tolerance", "test"), [(f"`{name}`", *rest) for name, *rest in rows])


def _holdings(layout: Layout) -> str:
    """Fields with their values, then what some of them ask of others."""
    if all(values is ANY for values in layout.holds.values()):
        return "Every field."
    shown = {name: values for name, values in sorted(layout.holds.items()) if name not in SIZES or values is not ANY}
    free = [name for name, values in shown.items() if values is ANY]
    lines = [f"- `{name}`: {_values(values)}" for name, values in shown.items() if values is not ANY]
    lines += [
        f"- a file that is read may have `{name}`: {'any' if values is ANY else _values(values)}"
        for name, values in layout.variants.items()
    ]
    lines += ["- pictures and patches are squares"] if layout.square else []
    for condition, then in layout.implies:
        where = " and ".join(f"`{name}` is {_values(_several(value))}" for name, value in condition.items())
        so = ", ".join(f"`{name}` is {_values(values)}" for name, values in then.items())
        lines.append(f"- where {where}, {so}" if where else f"- {so}")
    return "\n".join([f"Any {code(free)}.", "", *lines] if free else lines).rstrip()


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _values(values: tuple[Any, ...]) -> str:
    return " or ".join(map(_value, values))


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):  # rope
        fields = value.model_dump(mode="json", exclude_defaults=True)
        return ", ".join(f"{name} {field}" for name, field in fields.items())
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.value if isinstance(value, StrEnum) else f"{value:g}" if isinstance(value, float) else str(value)
