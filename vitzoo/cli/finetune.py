"""`vitzoo finetune`: pictures in folders to a model of one's own."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vitzoo.cli.options import (
    DATA,
    Black,
    GroupBy,
    ImageColumn,
    ImgSize,
    KeepLabel,
    LabelColumn,
    ModelOption,
    NumWorkersOrNone,
    RecipeOption,
    SplitColumn,
    StrictData,
    WeightColumn,
    White,
    fields,
    size,
)
from vitzoo.cli.tables import columns as in_columns
from vitzoo.data.columns import Columns
from vitzoo.errors import SpecError
from vitzoo.extras import extra_for
from vitzoo.spec import TaskKind
from vitzoo.train.loggers import Logger

RecipeFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="any other field of the recipe; may be repeated"),
]

Task = Annotated[TaskKind | None, typer.Option(help="what labels are; as the table has them if not given")]
Loggers = Annotated[
    list[Logger] | None,
    typer.Option(help="who keeps the numbers: tensorboard if not given; csv: metrics.csv alone; may be repeated"),
]

Steps = Annotated[int | None, typer.Option(min=1, help="save within epochs too, this often")]
FindLr = Annotated[bool, typer.Option("--find-lr", help="look for the learning rate first, by 100 steps")]
Folds = Annotated[
    int | None, typer.Option(min=2, help="train and evaluate so many times, each on another part: mean and spread")
]


def finetune(
    model: ModelOption,
    data: Annotated[str, typer.Option("--data", "-d", help=DATA)],
    output: Annotated[Path, typer.Option("--output", "-o", help="a new folder for the results")],
    recipe: RecipeOption = "adamw_layer_decay",
    val: Annotated[str | None, typer.Option(help="validation pictures, if not in DATA")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="times that each picture is seen")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="pictures of a step")] = None,
    lr: Annotated[float | None, typer.Option(help="peak learning rate")] = None,
    img_size: ImgSize = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="channels; the weights' own if not given")] = None,
    white: White = None,
    black: Black = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    split_column: SplitColumn = None,
    group_by: GroupBy = None,
    weight_column: WeightColumn = None,
    keep_label: KeepLabel = None,
    task: Task = None,
    settings: RecipeFields = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the last checkpoint, or begin")] = False,
    devices: Annotated[str, typer.Option(help="how many, or auto")] = "1",
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, mps, auto")] = "auto",
    strategy: Annotated[str, typer.Option(help="auto, ddp, fsdp")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="machines")] = 1,
    folds: Folds = None,
    strict_data: StrictData = False,
    num_workers: NumWorkersOrNone = None,
    logger: Loggers = None,
    find_lr: FindLr = False,
    checkpoint_steps: Steps = None,
) -> None:
    """Train a model on pictures in folders; what it learnt, how, and how well goes into one folder."""
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "in_chans": in_chans}
    given["img_size"] = size(img_size)
    overrides = {name: value for name, value in given.items() if value is not None} | fields(settings)
    _check(model, data, val, recipe, overrides, find_lr)
    machines: dict[str, Any] = {"strategy": strategy, "accelerator": accelerator, "num_nodes": num_nodes}
    machines["devices"] = int(devices) if devices.isdecimal() else devices
    kept, labels = tuple(keep_label or ()), tuple(label_column or ())
    columns = Columns(labels, image_column, split_column, group_by, weight_column, kept)
    reading: dict[str, Any] = {"val": val, "columns": columns, "strict_data": strict_data, "num_workers": num_workers}
    saving: dict[str, Any] = {"resume": resume, "checkpoint_steps": checkpoint_steps, "find_lr": find_lr}
    saving |= {"loggers": logger or [Logger.TENSORBOARD], **overrides}
    _run(folds, model, data, output, recipe, **machines, **reading, **saving)


def _run(folds: int | None, *what: Any, **options: Any) -> None:
    with extra_for("train"):
        from lightning.pytorch.utilities import rank_zero_only

        from vitzoo.train.finetuning import finetune as run
        from vitzoo.train.folds import cross_validate
    if folds is None:
        rank_zero_only(_print)(run(*what, **options))
    else:
        _print_folds(cross_validate(*what, folds=folds, **options))


def _check(model: str, data: str, val: str | None, recipe: str, overrides: dict[str, Any], find_lr: bool) -> None:
    """Whatever can be known to be wrong before torch is imported."""
    if find_lr and "lr" in overrides:
        raise SpecError("--lr gives the learning rate and --find-lr looks for it; give one of them")
    from vitzoo.data.open import check_there
    from vitzoo.registry.recipes import load_recipe
    from vitzoo.registry.reference import parse

    for source in (data, val):
        if source is not None:
            check_there(source)
    load_recipe(recipe, **overrides)
    parse(model)


def _print(path: Path) -> None:
    """How well it went and where it is, as paths from where the user stands."""
    found = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
    print(
        in_columns(
            [
                _first(found),
                ("model", str(path)),
                ("report", str(path.parent / "report.md")),
            ]
        )
    )


def _first(found: dict[str, Any]) -> tuple[str, str]:
    """The number that says most, of the task's."""
    of = f"of {found['pictures']:,} pictures ({found['split']})"
    if found.get("top1") is not None:
        return "top-1", f"{found['top1']:.2%} {of}"
    name = "mean absolute error" if "mae" in found else "mean average precision"
    value = found.get("mae", found.get("mean_average_precision"))
    return name, "undefined" if value is None else f"{value:.4g} {of}"


def _print_folds(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (name.replace("_", " "), f"{mean:.4f}", f"+- {found['std'][name]:.4f}") for name, mean in found["mean"].items()
    ]
    print(in_columns([(f"{found['folds']} folds", "mean", "spread"), *rows]))
    print(in_columns([("results", str(path)), ("report", str(path.parent / "report.md"))]))
