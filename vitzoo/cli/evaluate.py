"""`vitzoo evaluate`: how many pictures of known classes a model recognises, and how sure it is when it is wrong."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitzoo.cli.options import (
    DATA,
    AsJson,
    Black,
    Device,
    GroupBy,
    ImageColumn,
    LabelColumn,
    Labels,
    ModelArgument,
    NumWorkers,
    SplitColumn,
    StrictData,
    White,
    class_names,
    usable_device,
    with_range,
)
from vitzoo.cli.tables import columns as in_columns
from vitzoo.data.columns import Columns
from vitzoo.data.open import check_there
from vitzoo.errors import SpecError, one_line, public
from vitzoo.extras import extra_for

if TYPE_CHECKING:
    from vitzoo.evaluation.measure import Evaluation

MOST_ROWS = 20


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
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=1, help="pictures per forward pass")] = 64,
    device: Device = "cpu",
    num_workers: NumWorkers = 0,
    strict_data: StrictData = False,
    as_json: AsJson = False,
) -> None:
    """Compare a model's classes with those of pictures in folders; classes are matched by name."""
    if knn is not None and labels is not None:
        raise SpecError("--knn does not use a classifier, so --labels has no effect; give one of them")
    for one in filter(None, (data, knn)):
        check_there(one)
    with extra_for("evaluation"):
        from vitzoo.evaluation.measure import evaluate as by_classifier
        from vitzoo.evaluation.neighbours import nearest_neighbours
    from vitzoo.publish.dialect import create

    vit = create(model, pretrained=True, device=usable_device(device))
    with_range(vit, white, black)
    columns = Columns(tuple(label_column or ()), image_column, split_column, group_by)
    options: dict[str, Any] = {"split": split, "batch_size": batch_size, "num_workers": num_workers}
    options |= {"columns": columns, "strict": strict_data}
    if knn is None:
        names = None if labels is None else class_names(labels)
        found = by_classifier(vit, data, labels=names, **options)
    else:
        found = nearest_neighbours(vit, knn, data, k=k, **options)
    if as_json:
        print(json.dumps({"model": public(model), **found.to_dict()}, indent=2))
    else:
        _print(found)


def _print(found: "Evaluation") -> None:
    facts = [("top-1", f"{found.top1:.2%}")]
    facts += [] if found.top5 is None else [("top-5", f"{found.top5:.2%}")]
    facts += [
        ("calibration error", f"{found.calibration_error:.2%}"),
        ("pictures", f"{len(found.targets)} ({found.split})"),
        ("pictures a second", f"{found.pictures_per_second:.0f}"),
    ]
    print(in_columns(facts))
    worst = sorted(found.classes, key=lambda result: (result.accuracy, result.name))
    more = f", the worst {MOST_ROWS} of {len(worst)} (--json has all)" if len(worst) > MOST_ROWS else ""
    print(f"\nclasses{more}:")
    print(in_columns([(f"  {r.name}", f"{r.accuracy:.1%}", f"of {r.pictures}") for r in worst[:MOST_ROWS]]))
    if found.skipped:
        print(f"\n{len(found.skipped)} pictures left out:")
        print("\n".join(f"  {one_line(f'{one.where}: {one.reason}')}" for one in found.skipped[:MOST_ROWS]))
