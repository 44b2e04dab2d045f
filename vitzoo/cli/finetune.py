"""`vitzoo finetune`: pictures in folders to a model of one's own. `vitzoo recipes`: the ways to train it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vitzoo.cli.options import AsJson, fields
from vitzoo.cli.tables import columns
from vitzoo.extras import extra_for
from vitzoo.registry.recipes import list_recipes, load_recipe


def finetune(
    model: Annotated[str, typer.Option("--model", "-m", help="a name, an alias or a checkpoint")],
    data: Annotated[str, typer.Option("--data", "-d", help="a folder of class folders, .tar, hfds/NAME or wds/FOLDER")],
    output: Annotated[Path, typer.Option("--output", "-o", help="a new folder for the results")],
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="a name (`vitzoo recipes`) or a .yaml file")] = (
        "adamw_layer_decay"
    ),
    val: Annotated[str | None, typer.Option(help="validation pictures, if not in DATA")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="times that each picture is seen")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="pictures of a step")] = None,
    lr: Annotated[float | None, typer.Option(help="peak learning rate")] = None,
    img_size: Annotated[int | None, typer.Option(min=1, help="pixels; the weights' own if not given")] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="channels; the weights' own if not given")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="any other field of the recipe; may be repeated"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the last checkpoint, or begin")] = False,
    devices: Annotated[str, typer.Option(help="how many, or auto")] = "1",
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, mps, auto")] = "auto",
    strategy: Annotated[str, typer.Option(help="auto, ddp, fsdp")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="machines")] = 1,
    strict_data: Annotated[bool, typer.Option("--strict-data", help="a picture that cannot be read ends it")] = False,
    num_workers: Annotated[int | None, typer.Option(min=0, help="processes that load pictures")] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(min=1, help="save within epochs too, this often")] = None,
) -> None:
    """Train a model on pictures in folders; what it learnt, how, and how well goes into one folder."""
    with extra_for("train"):
        from vitzoo.train.finetuning import finetune as run
    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "img_size": img_size,
        "in_chans": in_chans,
    }
    overrides = {name: value for name, value in given.items() if value is not None} | fields(settings)
    path = run(
        model,
        data,
        output,
        recipe,
        val=val,
        resume=resume,
        devices=int(devices) if devices.isdecimal() else devices,
        strategy=strategy,
        accelerator=accelerator,
        num_nodes=num_nodes,
        strict_data=strict_data,
        num_workers=num_workers,
        checkpoint_steps=checkpoint_steps,
        **overrides,
    )
    from lightning.pytorch.utilities import rank_zero_only

    rank_zero_only(print)(path)


def recipes(
    name: Annotated[str | None, typer.Argument(help="show all fields of this one, as a file to start from")] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes, or show one."""
    found = {recipe: load_recipe(recipe) for recipe in (list_recipes() if name is None else [name])}
    if as_json:
        print(json.dumps({recipe: each.model_dump(mode="json") for recipe, each in found.items()}, indent=2))
    elif name is None:
        print(columns([(recipe, each.about) for recipe, each in found.items()]))
    else:
        print(found[name].to_yaml(), end="")
