"""`vitzoo evaluate`: what a model makes of pictures whose truth is known, and how far the numbers can be trusted."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitzoo.cli.options import (
    DATA,
    AsJson,
    Black,
    Bootstrap,
    Compile,
    Device,
    Dtype,
    GroupBy,
    ImageColumn,
    ImgSize,
    KeepLabel,
    LabelColumn,
    Labels,
    ModelArgument,
    NumWorkersOrNone,
    Predictions,
    Seed,
    SplitColumn,
    StrictData,
    White,
    class_names,
    with_range,
)
from vitzoo.cli.results import check_all, opened, report
from vitzoo.data.columns import Columns
from vitzoo.errors import SpecError

if TYPE_CHECKING:
    from vitzoo.evaluation.result import Evaluation
    from vitzoo.publish.dialect import ViT


def evaluate(
    model: ModelArgument,
    data: Annotated[str, typer.Argument(help=DATA)],
    split: Annotated[str | None, typer.Option(help="train, val or test; val, else test, if not given")] = None,
    knn: Annotated[
        str | None, typer.Option(metavar="DATA", help="by the nearest neighbours in DATA, not by the classifier")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="neighbours")] = 20,
    labels: Labels = None,
    white: White = None,
    black: Black = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    split_column: SplitColumn = None,
    group_by: GroupBy = None,
    keep_label: KeepLabel = None,
    flip: Annotated[bool, typer.Option("--flip", help="average with the mirrored pictures")] = False,
    crops: Annotated[int, typer.Option(help="1, or 5: average the centre and the corners")] = 1,
    bootstrap: Bootstrap = 1000,
    seed: Seed = 0,
    predictions: Predictions = None,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="OUT", help="write the model with the temperature that suits these pictures")
    ] = None,
    img_size: ImgSize = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="pictures per forward pass")] = 64,
    device: Device = "cpu",
    dtype: Dtype = None,
    compile: Compile = False,
    num_workers: NumWorkersOrNone = None,
    strict_data: StrictData = False,
    as_json: AsJson = False,
) -> None:
    """Compare a model's answers with the truth: classes of pictures in folders are matched by name."""
    _check(knn, labels, calibrate, flip or crops > 1)
    check_all(data, knn, predictions)
    vit = opened(model, img_size, device, dtype, compile)
    with_range(vit, white, black)
    columns = Columns(tuple(label_column or ()), image_column, split_column, group_by, None, tuple(keep_label or ()))
    common: dict[str, Any] = {"split": split, "columns": columns, "batch_size": batch_size, "seed": seed}
    common |= {"num_workers": num_workers, "strict": strict_data, "bootstrap": bootstrap}
    if knn is None:
        found = _by_classifier(vit, data, labels, {**common, "flip": flip, "crops": crops})
    else:
        found = _by_knn(vit, data, knn, k, common)
    facts = {} if calibrate is None else {"calibrated": _calibrated(vit, found, calibrate)}
    report(model, found, facts, predictions, as_json)


def _by_classifier(vit: "ViT", data: str, labels: Path | None, options: Mapping[str, Any]) -> "Evaluation":
    from vitzoo.evaluation.measure import evaluate as measured

    return measured(vit, data, labels=None if labels is None else class_names(labels), **options)


def _by_knn(vit: "ViT", data: str, knn: str, k: int, options: Mapping[str, Any]) -> "Evaluation":
    from vitzoo.evaluation.neighbours import nearest_neighbours

    return nearest_neighbours(vit, knn, data, k=k, **options)


def _check(knn: str | None, labels: Path | None, calibrate: Path | None, views: bool) -> None:
    """Refuse options that have no effect together."""
    given = {"--labels": labels is not None, "--calibrate": calibrate is not None, "--flip and --crops": views}
    if knn is not None and (idle := [name for name, there in given.items() if there]):
        raise SpecError(f"--knn does not use a classifier, so {idle[0]} has no effect; give one of them")
    if calibrate is not None and views:
        raise SpecError("--calibrate is for the model alone; leave out --flip and --crops")


def _calibrated(vit: "ViT", found: "Evaluation", path: Path) -> dict[str, Any]:
    """Write the model with a temperature; what that does."""
    from vitzoo.checkpoints.save import save
    from vitzoo.evaluation.calibration import cooled, fitted
    from vitzoo.evaluation.classes import ClassEvaluation

    if not isinstance(found, ClassEvaluation):
        raise SpecError(f"--calibrate is for classes, and the pictures have {found.KIND}; leave it out")
    scale = fitted(found)
    return {**scale.record(), "written": str(save(cooled(vit, scale).cpu(), path))}
