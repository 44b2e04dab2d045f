"""What a run came to, for people: pictures, a report in Markdown, and the model card."""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from vitzoo.errors import LicenseError
from vitzoo.evaluation import plots
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.measure import evaluate
from vitzoo.evaluation.result import Evaluation
from vitzoo.files.atomic import replacing
from vitzoo.images.ranges import Form
from vitzoo.markdown import code, page, said, table
from vitzoo.publish.card import write_card
from vitzoo.publish.dialect import ViT
from vitzoo.train.datamodule import PictureData
from vitzoo.train.rate import CURVE

MOST_ROWS = 20


def write_report(output: Path, vit: ViT, data: PictureData) -> Evaluation:
    """Evaluate the model of a run; write report.md, its pictures, results.json and README.md into the run's folder.

    The folder holds `metrics.csv` and `model.safetensors` already; the model is evaluated where it is, on the test
    pictures if the data has some, else on those it was validated on.
    """
    split, pictures = data.final()
    found = evaluate(vit, pictures, split=split, num_workers=data.num_workers, strict=True)
    history, measure = read_history(output / "metrics.csv"), data.goal.measure
    plots.curves(history, output / "curves.png", measure.name, measure.title)
    try:
        write_card(vit, output, results=found.to_dict())
        card = "[README.md](README.md) is the model card."
    except LicenseError as error:
        card = f"There is no model card: {error}."
    parts = _of_classes(found, vit, output, data) if isinstance(found, ClassEvaluation) else _of_others(found)
    text = page(
        [f"# {said(output.resolve().name)}"],
        [_summary(found, vit, len(history), data)],
        ["## Result"],
        [*table(("", "value"), _numbers(found), numbers=("value",))],
        [f"![loss and {measure.title} over the epochs](curves.png)"],
        *_rate(output),
        *parts,
        ["## Pictures"],
        [*_pictures(data)],
        ["## Use"],
        ["```python", "import vitzoo", "", f'model = vitzoo.create("{output.as_posix()}")', "```"],
        [f"All settings are in [recipe.yaml](recipe.yaml), the curves' numbers in [metrics.csv](metrics.csv). {card}"],
    )
    with replacing(output / "results.json") as partial:
        partial.write_text(json.dumps(found.to_dict(), indent=2), encoding="utf-8")
    with replacing(output / "report.md") as partial:
        partial.write_text(text, encoding="utf-8")
    return found


def _rate(output: Path) -> Iterator[list[str]]:
    """How the learning rate was found, where it was looked for."""
    if (output / CURVE).exists():
        yield ["## Learning rate"]
        yield [
            "It was looked for before the first step: a tenth of the rate at which the loss was least.",
            "",
            f"![the loss over rising learning rates]({CURVE})",
        ]


def _of_classes(found: ClassEvaluation, vit: ViT, output: Path, data: PictureData) -> list[list[str]]:
    """The classes one by one, what they are taken for, and mistakes."""
    plots.confusion(found, output / "confusion.png")
    parts = [
        ["## Classes"],
        [*_classes(found, data)],
        ["![which class was taken for which](confusion.png)"],
        [*_confusions(found)],
    ]
    if found.mistakes(1) and found.pictures.seen is None:
        plots.mistakes(found, output / "mistakes.png", Form.of(vit))
        parts += [["## Mistakes"], ["![the mistakes the model was surest of](mistakes.png)"]]
    return parts


def _of_others(found: Evaluation) -> list[list[str]]:
    """The labels or numbers one by one."""
    names = list(found.rows[0].metrics)
    rows = [
        (said(row.name), f"{row.pictures:,}", *(f"{row.metrics[name]:.4g}" for name in names)) for row in found.rows
    ]
    head = (found.KIND, "pictures", *(name.replace("_", " ") for name in names))
    return [[f"## {found.KIND.capitalize()}"], [*table(head, rows, numbers=head[1:])]]


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, one an epoch."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _summary(found: Evaluation, vit: ViT, epochs: int, data: PictureData) -> str:
    before = vit.about.derived_from or vit.about.origin
    known = before.public() if before is not None else None
    came = (known.name or known.place or known.note) if known is not None else "weights of your own"
    start = f"{'Fine-tuned from ' if vit.about.derived_from is not None else ''}{came}"
    part = "test" if found.split == "test" else "validation"
    first, called = next(iter(found.HEADLINE.items()))
    result = (
        f"{found.metrics[first]:.2%} are recognised"
        if isinstance(found, ClassEvaluation)
        else f"the {called} is {found.metrics.get(first, math.nan):.4g}"
    )
    what = found.KIND if len(data.classes) > 1 else found.KIND.removesuffix("s")
    return (
        f"{said(start)}, on {data.goal.pictures:,} pictures of {len(data.classes)} {what} for "
        f"{epochs} epochs. Of {len(found.targets):,} {part} pictures {result}."
    )


def _numbers(found: Evaluation) -> Iterator[tuple[str, str]]:
    if isinstance(found, ClassEvaluation):
        yield "top-1 accuracy", f"{found.top1:.2%}"
        if found.top5 is not None:
            yield "top-5 accuracy", f"{found.top5:.2%}"
        yield "expected calibration error", f"{found.calibration_error:.2%}"
    else:
        values = [(called, found.metrics.get(name)) for name, called in found.HEADLINE.items()]
        yield from ((called, f"{value:.4g}") for called, value in values if value is not None)
    yield "pictures", f"{len(found.targets):,}"
    yield "split", found.split
    if found.pictures_per_second:
        yield "pictures a second", f"{found.pictures_per_second:,.0f}"


def _classes(found: ClassEvaluation, data: PictureData) -> Iterator[str]:
    """Every class where there are few, else those that are recognised worst."""
    trained = dict(zip(data.classes, data.counts, strict=True))
    worst = sorted(found.classes, key=lambda result: (result.accuracy, result.name))
    if len(worst) > MOST_ROWS:
        yield from (f"The {MOST_ROWS} of {len(worst)} classes that are recognised worst:", "")
    rows = [(said(r.name), f"{r.accuracy:.1%}", f"{r.pictures:,}", f"{trained[r.name]:,}") for r in worst[:MOST_ROWS]]
    head = ("class", "recognised", "pictures", "training pictures")
    yield from table(head, rows, numbers=head[1:])


def _confusions(found: ClassEvaluation) -> Sequence[str]:
    rows = [(said(c.name), said(c.predicted), f"{c.pictures:,}") for c in found.confusions[:MOST_ROWS]]
    return table(("is", "taken for", "pictures"), rows, numbers=("pictures",)) if rows else ["No picture was mistaken."]


def _pictures(data: PictureData) -> Iterator[str]:
    """What was used, and what was left out."""
    parts = {"training": data.train_pictures, "validation": data.val_pictures, "test": data.test_pictures}
    rows = [(part, said(Path(p.where).name), f"{len(p):,}") for part, p in parts.items() if p is not None]
    yield from table(("part", "from", "pictures"), rows, numbers=("pictures",))
    for remark in data.remarks:
        yield from ("", f"Read: {said(remark)}.")
    if data.skipped:
        yield from ("", f"{len(data.skipped):,} left out:", "")
        yield from (f"- {code([skipped.where])}: {said(skipped.reason)}" for skipped in data.skipped[:MOST_ROWS])
        if len(data.skipped) > MOST_ROWS:
            yield f"- and {len(data.skipped) - MOST_ROWS:,} more"
