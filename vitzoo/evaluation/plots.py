"""The pictures of a report: curves, confusion, mistakes. Light, and told apart by colour-blind eyes too."""

import math
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.files.atomic import replacing
from vitzoo.images.ranges import RGB, Form

TRAIN, VAL = "#D55E00", "#0072B2"  # Okabe and Ito, https://jfly.uni-koeln.de/color
MOST_CLASSES = 100  # whose names can be read on one picture
MOST_NUMBERS = 20  # classes whose cells have room for a number
MOST_MISTAKES = 20
THUMBNAIL = 256  # pixels
LEAST_SPAN = 0.1  # of the accuracy, so that a hair's breadth does not look like a leap


def curves(
    history: Sequence[Mapping[str, float]], path: Path, column: str = "val_top1", title: str = "accuracy"
) -> None:
    """Loss and another column over the epochs, from the rows of metrics.csv; of 1, unless it is an error in units."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    _line(loss, epochs, history, "train_loss", "training, as augmented", TRAIN, "o")
    _line(loss, epochs, history, "val_loss", "validation", VAL, "s")
    _line(accuracy, epochs, history, column, "validation", VAL, "s")
    loss.set_title("loss")
    accuracy.set_title(title)
    if column != "val_mae":
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        low, high = accuracy.get_ylim()
        middle, span = (low + high) / 2, max(high - low, LEAST_SPAN)
        accuracy.set_ylim(middle - span / 2, middle + span / 2)
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    _save(figure, path)


def rates(tried: Sequence[float], losses: Sequence[float], chosen: float, path: Path) -> None:
    """The loss over rising learning rates, and the rate that was chosen."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(tried[: len(losses)], losses, color=TRAIN)
    axes.axvline(chosen, color=VAL, linestyle="--", label=f"chosen: {chosen:g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, smoothed")
    finite = [loss for loss in losses if math.isfinite(loss)]
    axes.set_ylim(0, 2 * finite[0])  # beyond, the steps only say that it diverged
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)


@rc_context({"text.parse_math": False})  # dollars in names of classes are dollars
def confusion(evaluation: ClassEvaluation, path: Path) -> None:
    """For each class, which part of its pictures was taken for which class.

    Of more than a hundred classes, the hundred that are recognised worst.
    """
    worst = sorted(evaluation.classes, key=lambda found: (found.accuracy, found.name))[:MOST_CLASSES]
    places = {name: place for place, name in enumerate(evaluation.labels)}
    shown = sorted(places[found.name] for found in worst)
    row_of = np.full(len(evaluation.labels), -1)
    row_of[shown] = np.arange(len(shown))
    rows, columns = row_of[evaluation.targets.numpy()], row_of[evaluation.predictions.numpy()]
    counts = np.zeros((len(shown), len(shown)))
    kept = (rows >= 0) & (columns >= 0)
    np.add.at(counts, (rows[kept], columns[kept]), 1)
    parts = counts / np.bincount(rows[rows >= 0], minlength=len(shown))[:, None]

    side = min(3.5 + 0.42 * len(shown), 9 + 0.09 * len(shown))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    names = [textwrap.shorten(evaluation.labels[place], 24, placeholder="...") for place in shown]
    size = 9 if len(shown) <= 2 * MOST_NUMBERS else 6
    flat = len(shown) <= 4 and max(map(len, names)) <= 12
    axes.set_xticks(range(len(shown)), names, rotation=0 if flat else 90, fontsize=size)
    axes.set_yticks(range(len(shown)), names, fontsize=size)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    left_out = len(evaluation.classes) - len(shown)
    axes.set_title(f"the {len(shown)} classes recognised worst" if left_out else "confusion, part of each class")
    if len(shown) <= MOST_NUMBERS:
        for (row, column), part in np.ndenumerate(parts):
            if part:
                colour = "white" if part > 0.5 else "0.2"
                axes.text(column, row, f"{part:.0%}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(drawn, ax=axes, format=PercentFormatter(1.0), fraction=0.046, pad=0.02)
    _save(figure, path)


@rc_context({"text.parse_math": False})
def mistakes(evaluation: ClassEvaluation, path: Path, form: Form = RGB) -> None:
    """The mistakes that the model was surest of, the surest first."""
    found = evaluation.mistakes(MOST_MISTAKES)
    columns = min(5, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(2.1 * columns, 2.75 * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, mistake in zip(figure.axes[: len(found)], found, strict=True):
        picture = evaluation.pictures.load(mistake.number, form)
        if not isinstance(picture, Image.Image):  # of many channels the first is shown
            picture = Image.fromarray(np.uint8(picture[..., 0] * (1 if picture.dtype == np.uint8 else 255)))
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        axes.imshow(picture, cmap="gray" if picture.mode == "L" else None, interpolation="nearest")
        taken, name = f"{mistake.probability:.0%} sure: {mistake.predicted}", f"is: {mistake.name}"
        axes.set_title(f"{_wrapped(taken)}\n{_wrapped(name)}", fontsize=8, loc="left")
    _save(figure, path)


def _line(
    axes: Axes,
    epochs: Sequence[float],
    history: Sequence[Mapping[str, float]],
    column: str,
    label: str,
    colour: str,
    marker: str,
) -> None:
    # A line through one or two points is hard to see; through hundreds, points hide it.
    shown = marker if len(history) <= 40 else ""
    axes.plot(epochs, [row[column] for row in history], color=colour, marker=shown, markersize=4, label=label)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(textwrap.shorten(text, 48, placeholder="..."), 26))


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box; the report has the names as they are
        figure.savefig(partial, format="png", dpi=120, facecolor="white")
