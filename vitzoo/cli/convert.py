"""`vitzoo convert` and `vitzoo verify`: weights into another layout, and proof that the numbers stayed."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from vitzoo.cli.options import AsJson, Drop, Like, Prefix, Set, Wrapper, fields, size_in_bytes
from vitzoo.cli.tables import columns
from vitzoo.errors import SpecError

DTYPES = ("float32", "float16", "bfloat16")


def convert(
    source: Annotated[str, typer.Argument(help="a checkpoint file or folder, or weights of the registry")],
    target: Annotated[Path, typer.Argument(help="a file, or a new folder for timm and huggingface")],
    to: Annotated[str, typer.Option("--to", help="a layout, or timm, huggingface, google, big_vision, torchvision")],
    layout: Annotated[str | None, typer.Option("--from", help="the source's layout; found out if not given")] = None,
    like: Like = None,
    wrapper: Wrapper = None,
    prefix: Prefix = None,
    settings: Set = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="a field that the layout cannot hold, or a tensor; may be repeated")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help=f"{', '.join(DTYPES)}; as in the source if not given")] = None,
    shard_size: Annotated[str | None, typer.Option(help="most bytes of one safetensors file, e.g. 2GB")] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="list every tensor: from, to, transform, shape")] = False,
    as_json: AsJson = False,
) -> None:
    """Write weights in another layout, tensor by tensor, and say what became of each."""
    if dtype is not None and dtype not in DTYPES:
        raise SpecError(f"unknown dtype '{dtype}'; choose {', '.join(DTYPES)}")
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from vitzoo.checkpoints.convert import convert as run

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("converting", total=None)
        report = run(
            source,
            target,
            to,
            source_layout=layout,
            like=like,
            wrapper=wrapper,
            prefix=prefix,
            drop=drop or (),
            dtype=None if dtype is None else getattr(torch, dtype),
            shard_size=size_in_bytes(shard_size),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            **fields(settings),
        )
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    print(report)
    if tensors:
        rows = [("from", "to", "transform", "shape")]
        rows += [(" ".join(r.source) or "-", r.target, r.transform, "x".join(map(str, r.shape))) for r in report.rows]
        print(columns(rows))


def verify(
    first: Annotated[str, typer.Argument(help="weights of the registry, or a checkpoint in any layout")],
    second: Annotated[
        str | None, typer.Argument(help="the same, or timm, huggingface, torchvision: its own model on FIRST")
    ] = None,
    like: Like = None,
    wrapper: Wrapper = None,
    prefix: Prefix = None,
    drop: Drop = None,
    settings: Set = None,
    size: Annotated[
        list[str] | None, typer.Option(help="HEIGHTxWIDTH; native, larger and rectangular if not given")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="share of the largest value")] = 1e-5,
    as_json: AsJson = False,
) -> None:
    """Run two models on the same pictures and print the largest difference; exit code 1 beyond the tolerance."""
    from vitzoo.checkpoints.verify import verify as run

    named = {"like": like, "wrapper": wrapper, "prefix": prefix, "drop": drop}
    options: dict[str, Any] = {**fields(settings), **{name: value for name, value in named.items() if value}}
    result = run(
        first, second, sizes=None if size is None else [_size(s) for s in size], tolerance=tolerance, **options
    )
    print(json.dumps(result.to_dict(), indent=2) if as_json else result)
    if not result.equal:
        raise typer.Exit(1)


def _size(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"[0-9]+x[0-9]+", text):
        raise SpecError(f"a size is HEIGHTxWIDTH, such as 224x336; found '{text}'")
    height, width = map(int, text.split("x"))
    return height, width
