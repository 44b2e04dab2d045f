"""`vitzoo export`: a model as a graph of another engine, compared with the model before it is kept."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vitzoo.cli.options import AsJson, ImgSize, ModelArgument, size


def export(
    model: ModelArgument,
    path: Annotated[Path, typer.Argument(metavar="OUT", help="ends in .onnx, .xml (OpenVINO) or .pt2 (torch.export)")],
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16, int8, int8_weights")] = "fp32",
    sizes: Annotated[str, typer.Option(help="what stays open: any (batch, height, width), batch, or fixed")] = "any",
    features: Annotated[bool, typer.Option("--features", help="give tokens and pooled features, too")] = False,
    calibrate: Annotated[str | None, typer.Option(metavar="PICTURES", help="a folder or .tar, for int8")] = None,
    pictures: Annotated[
        list[Path] | None, typer.Option("--pictures", help="compare on this one, too; may be repeated")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0.0, help="share of the largest value; the precision's if not given")
    ] = None,
    img_size: ImgSize = None,
    force: Annotated[bool, typer.Option("--force", help="also what is slower here than fp32")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a model as a graph that other engines run, if it gives the model's numbers; nothing is written if not."""
    from vitzoo.exporting.write import export as run

    options: dict[str, Any] = {} if img_size is None else {"img_size": size(img_size)}
    found = run(
        model,
        path,
        precision=precision,
        sizes=sizes,
        features=features,
        calibrate=calibrate,
        pictures=pictures or (),
        tolerance=tolerance,
        force=force,
        **options,
    )
    print(json.dumps(found.to_dict(), indent=2) if as_json else found)
