"""`vitzoo convert`: weights into another layout."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vitzoo.cli.options import (
    AsJson,
    DropField,
    Dtype,
    Like,
    ModelArgument,
    Prefix,
    Set,
    SourceLayout,
    Wrapper,
    WrittenLayout,
    fields,
    size_in_bytes,
)
from vitzoo.cli.tables import columns


def convert(
    source: ModelArgument,
    target: Annotated[Path, typer.Argument(help="a file, or a new folder for timm and huggingface")],
    layout: WrittenLayout,
    source_layout: SourceLayout = None,
    like: Like = None,
    wrapper: Wrapper = None,
    prefix: Prefix = None,
    settings: Set = None,
    drop: DropField = None,
    dtype: Dtype = None,
    shard_size: Annotated[str | None, typer.Option(help="most bytes of one safetensors file, e.g. 2GB")] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="list every tensor: from, to, transform, shape")] = False,
    as_json: AsJson = False,
) -> None:
    """Write weights in another layout, tensor by tensor, and say what became of each."""
    from rich.console import Console
    from rich.progress import Progress

    from vitzoo.checkpoints.convert import convert as run

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("converting", total=None)
        report = run(
            source,
            target,
            layout,
            source_layout=source_layout,
            like=like,
            wrapper=wrapper,
            prefix=prefix,
            drop=drop or (),
            dtype=dtype,
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
