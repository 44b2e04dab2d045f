"""`vitzoo embed`: pictures in, a folder of their vectors out."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitzoo.cli.options import (
    AsJson,
    Device,
    GroupBy,
    ImageColumn,
    ImgSize,
    LabelColumn,
    ModelArgument,
    NumWorkersOrNone,
    SplitColumn,
    size,
    usable_device,
)
from vitzoo.data.columns import Columns
from vitzoo.errors import SpecError, one_line
from vitzoo.extras import extra_for

if TYPE_CHECKING:
    from vitzoo.embedding.pipeline import Embedded

MOST_SHOWN = 5


Data = Annotated[
    str, typer.Argument(help="a folder, .tar, picture, table, hfds/NAME or wds/FOLDER, or - for paths on stdin")
]
Output = Annotated[Path, typer.Argument(help="the folder of vectors; one that is there goes on")]
Features = Annotated[
    str | None,
    typer.Option(
        help="projection, pooled, cls, mean, cls_mean or patches; the model's projection, else pooled, if not given"
    ),
]
Blocks = Annotated[str | None, typer.Option(metavar="N,N", help="of these blocks, one after the other; -1 is the last")]
Normalize = Annotated[bool, typer.Option("--normalize", help="to length 1")]
KeptDtype = Annotated[str, typer.Option("--dtype", help="of the kept numbers, float32 or float16")]
ModelDtype = Annotated[
    str | None, typer.Option("--model-dtype", help="that the model computes with: float32, float16, bfloat16")
]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="pictures per forward pass")]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="all forward passes alike: the bits of a vector hang on no other")
]
RowsPerFile = Annotated[
    int, typer.Option("--rows-per-file", min=1, help="what a killed run loses at most, in pictures")
]


def embed(
    model: ModelArgument,
    data: Data,
    output: Output,
    features: Features = None,
    blocks: Blocks = None,
    normalize: Normalize = False,
    dtype: KeptDtype = "float32",
    model_dtype: ModelDtype = None,
    img_size: ImgSize = None,
    batch_size: BatchSize = 32,
    deterministic: Deterministic = False,
    rows_per_file: RowsPerFile = 8192,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    split_column: SplitColumn = None,
    group_by: GroupBy = None,
    device: Device = "cpu",
    num_workers: NumWorkersOrNone = None,
    as_json: AsJson = False,
) -> None:
    """Compute the vectors of pictures into a folder of Parquet files; run again it goes on."""
    with extra_for("embedding"):
        from vitzoo.embedding.pipeline import embed as run

    options: dict[str, Any] = {"device": usable_device(device)}
    options |= {} if img_size is None else {"img_size": size(img_size)}
    options |= {} if model_dtype is None else {"model_dtype": model_dtype}
    started = time.monotonic()
    found = run(
        model,
        (line.rstrip("\n") for line in sys.stdin if line.strip()) if data == "-" else data,
        output,
        features=features,
        blocks=_numbers(blocks),
        normalize=normalize,
        dtype=dtype,
        batch_size=batch_size,
        deterministic=deterministic,
        rows_per_file=rows_per_file,
        columns=Columns(tuple(label_column or ()), image_column, split_column, group_by),
        num_workers=num_workers,
        **options,
    )
    _print(found, output, time.monotonic() - started, as_json)
    if found.unread:
        raise typer.Exit(1)


def _print(found: "Embedded", output: Path, seconds: float, as_json: bool) -> None:
    recipe = found.store.recipe
    if as_json:
        said: dict[str, Any] = {"store": str(output), "features": recipe.features, "shape": recipe.shape}
        said |= {name: getattr(found, name) for name in ("computed", "kept", "removed", "left_out")}
        unread = [{"key": row.key, "source": row.source, "reason": reason} for row, reason in found.unread]
        print(json.dumps({**said, "unread": unread}, indent=2))
        return
    rate = f" ({found.computed / seconds:.1f} a second with the start)" if found.computed else ""
    shape = " x ".join(map(str, recipe.shape))
    print(f"{output}: {len(found.store)} vectors of {shape} numbers ({recipe.features} of {recipe.model})")
    counts = f"unchanged: {found.kept}, gone: {found.removed}, without a vector: {len(found.unread)}"
    print(f"pictures read: {found.computed}{rate}, {counts}")
    for row, reason in found.unread[:MOST_SHOWN]:
        print(one_line(f"vitzoo: no vector: {reason}" + (f" ({row.source})" if row.source else "")))
    if len(found.unread) > MOST_SHOWN:
        print(f"vitzoo: no vector: and {len(found.unread) - MOST_SHOWN} more (--json has all)")


def _numbers(text: str | None) -> tuple[int, ...]:
    """`-1,-4` -> (-1, -4)."""
    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SpecError(f"--blocks takes numbers with commas, such as -4,-1; found '{text}'") from None
