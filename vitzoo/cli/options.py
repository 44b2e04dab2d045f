"""Options that several commands share, and how their text is read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitzoo.errors import SpecError

if TYPE_CHECKING:
    import torch

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="a field of the spec, e.g. num_heads=6; may be repeated"),
]
Like = Annotated[str | None, typer.Option(help="a model of the registry whose architecture the checkpoint has")]
Wrapper = Annotated[
    str | None, typer.Option(help="the entry of a training checkpoint that holds the weights, e.g. state_dict_ema")
]
Prefix = Annotated[str | None, typer.Option(help="what stands before the names of the model's tensors, e.g. student.")]
Drop = Annotated[list[str] | None, typer.Option(help="a tensor to leave out, * for any text; may be repeated")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def fields(settings: Sequence[str] | None) -> dict[str, Any]:
    """`num_heads=6` -> {"num_heads": 6}; values are JSON, or else text."""
    found = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise SpecError(f"--set takes FIELD=VALUE, found '{setting}'")
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            found[name] = text
    return found


def usable_device(name: str) -> "torch.device":
    """The device of that name, if this machine has it."""
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from None
    return device


def class_names(path: Path) -> tuple[str, ...]:
    """The lines of a text file."""
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"the labels in {path} cannot be read: {error}") from None


def size_in_bytes(text: str | None) -> int | None:
    """`2GB`, `500MB` or a number of bytes."""
    if text is None:
        return None
    number, unit = text.strip().upper(), 1
    for name, factor in UNITS.items():
        if number.endswith(name):
            number, unit = number.removesuffix(name), factor
    try:
        size = int(float(number) * unit)
    except ValueError:
        size = 0
    if size < 1:
        raise SpecError(f"a size is a number with {', '.join(UNITS)} or of bytes, found '{text}'")
    return size
