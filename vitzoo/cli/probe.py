"""`vitzoo probe`: what the vectors of a frozen model are worth, by a classifier that is trained on them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitzoo.cli.options import (
    DATA,
    AsJson,
    Bootstrap,
    Compile,
    Device,
    Dtype,
    GroupBy,
    ImageColumn,
    ImgSize,
    KeepLabel,
    LabelColumn,
    ModelArgument,
    NumWorkersOrNone,
    Predictions,
    Seed,
    SplitColumn,
    StrictData,
)
from vitzoo.cli.results import check_all, opened, report
from vitzoo.data.columns import Columns

if TYPE_CHECKING:
    from vitzoo.evaluation.probes import Probe
    from vitzoo.publish.dialect import ViT


def probe(
    model: ModelArgument,
    data: Annotated[str, typer.Argument(help=f"{DATA}, split into train and val or test; or a store of vitzoo embed")],
    method: Annotated[str, typer.Option(help="linear (DINOv2's grid), logistic, attentive, class-mean")] = "linear",
    train: Annotated[
        str | None, typer.Option(metavar="DATA", help="pictures to train on; those of DATA if not given")
    ] = None,
    split: Annotated[str | None, typer.Option(help="what is evaluated: val, else test, if not given")] = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    split_column: SplitColumn = None,
    group_by: GroupBy = None,
    keep_label: KeepLabel = None,
    shots: Annotated[int | None, typer.Option(min=1, help="training pictures of each class; all if not given")] = None,
    draws: Annotated[int, typer.Option(min=1, help="times that the shots are drawn")] = 10,
    check: Annotated[
        bool, typer.Option("--check", help="list labels that may be wrong, and pictures alike in both parts")
    ] = False,
    bootstrap: Bootstrap = 1000,
    seed: Seed = 0,
    predictions: Predictions = None,
    img_size: ImgSize = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="pictures per forward pass")] = 64,
    device: Device = "cpu",
    dtype: Dtype = None,
    compile: Compile = False,
    num_workers: NumWorkersOrNone = None,
    strict_data: StrictData = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on the vectors of a frozen model, and evaluate it."""
    check_all(data, train, predictions)
    found = _probed(
        opened(model, img_size, device, dtype, compile),
        data,
        method,
        (batch_size, num_workers, strict_data),
        train=train,
        split=split,
        columns=Columns(tuple(label_column or ()), image_column, split_column, group_by, None, tuple(keep_label or ())),
        shots=shots,
        draws=draws,
        bootstrap=bootstrap,
        seed=seed,
    )
    report(model, found.evaluation, found.facts() | (found.check(seed) if check else {}), predictions, as_json)


def _probed(vit: "ViT", data: str, method: str, reading: Any, **options: Any) -> "Probe":
    from vitzoo.evaluation.predict import Reading
    from vitzoo.evaluation.probes import probe as run

    return run(vit, data, method, reading=Reading(*reading), **options)
