"""`vitzoo verify`: two models on the same pictures."""

import json
from typing import Annotated, Any

import typer

from vitzoo.cli.options import AsJson, Drop, Layout, Like, ModelArgument, Prefix, Set, Wrapper, fields, size


def verify(
    first: ModelArgument,
    second: Annotated[
        str | None,
        typer.Argument(help="the same, an exported file, or whose model runs FIRST: timm, huggingface, torchvision"),
    ] = None,
    layout: Layout = None,
    like: Like = None,
    wrapper: Wrapper = None,
    prefix: Prefix = None,
    drop: Drop = None,
    settings: Set = None,
    img_size: Annotated[
        list[str] | None,
        typer.Option(
            "--img-size",
            "--size",
            metavar="N or HxW",
            help="pixels; native, larger and rectangular if not given; may be repeated",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0.0, help="share of the largest value; 1e-5 if not given, or that of an exported file"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run two models on the same pictures and print the largest difference; exit code 1 beyond the tolerance."""
    from vitzoo.checkpoints.verify import verify as run

    given = {"layout": layout, "like": like, "wrapper": wrapper, "prefix": prefix, "drop": drop}
    options: dict[str, Any] = fields(settings) | {name: value for name, value in given.items() if value}
    wanted = None if img_size is None else [found for text in img_size if (found := size(text))]
    result = run(first, second, sizes=wanted, tolerance=tolerance, **options)
    print(json.dumps(result.to_dict(), indent=2) if as_json else result)
    if not result.equal:
        raise typer.Exit(1)
