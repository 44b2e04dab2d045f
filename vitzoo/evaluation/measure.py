"""How good a classifier is: accuracy, calibration, confusion, and the mistakes that it was surest of."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.open import open_splits
from vitzoo.data.pictures import WHOLE, Pictures, first_of
from vitzoo.data.places import Skipped
from vitzoo.data.readable import readable
from vitzoo.data.saying import say, say_reading, taken_for
from vitzoo.errors import DataError, SpecError
from vitzoo.evaluation.predict import outputs
from vitzoo.images.ranges import Form
from vitzoo.publish.dialect import ViT, create
from vitzoo.registry.describe import no_classes
from vitzoo.registry.label_sets import SETS, known_set, synsets

BINS = 15  # of the calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 5)
SYNSET = re.compile(r"n[0-9]{8}")


class ClassResult(NamedTuple):
    """One class: its pictures, and which part of them was recognised."""

    name: str
    pictures: int
    accuracy: float


class Confusion(NamedTuple):
    """How many pictures of one class were taken for another."""

    name: str
    predicted: str
    pictures: int


class Mistake(NamedTuple):
    """A picture that was taken for another class, and how sure the model was."""

    number: int
    picture: str
    name: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Evaluation:
    """What a model made of pictures. Parts are of 1; classes are places in `labels`, the names that the model gives."""

    pictures: Pictures
    split: str
    skipped: tuple[Skipped, ...]
    labels: tuple[str, ...]
    targets: Tensor
    """(pictures,) the right classes"""
    predictions: Tensor
    """(pictures,) the classes that the model gave"""
    probabilities: Tensor
    """(pictures,) how sure it was of them"""
    top5: float | None
    """None for a model of five classes or fewer."""
    calibration_error: float
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017)."""
    pictures_per_second: float
    """Reading, preprocessing and the model together."""

    @property
    def top1(self) -> float:
        return float((self.predictions == self.targets).double().mean())

    @cached_property
    def classes(self) -> tuple[ClassResult, ...]:
        """The classes that there are pictures of."""
        right = self.targets[self.predictions == self.targets].bincount(minlength=len(self.labels)).tolist()
        counts = self.targets.bincount(minlength=len(self.labels)).tolist()
        found = zip(self.labels, counts, right, strict=True)
        return tuple(ClassResult(name, count, hits / count) for name, count, hits in found if count)

    @cached_property
    def confusions(self) -> tuple[Confusion, ...]:
        """Pairs of classes that were confused, the most frequent first."""
        pairs = Counter(zip(self.targets.tolist(), self.predictions.tolist(), strict=True))
        wrong = sorted(((n, t, p) for (t, p), n in pairs.items() if t != p), key=lambda item: (-item[0], *item[1:]))
        return tuple(Confusion(self.labels[t], self.labels[p], n) for n, t, p in wrong)

    def mistakes(self, most: int = 20) -> tuple[Mistake, ...]:
        """The mistakes that the model was surest of, the surest first."""
        wrong = torch.nonzero(self.predictions != self.targets).flatten()
        wrong = wrong[self.probabilities[wrong].argsort(descending=True, stable=True)][:most]
        return tuple(
            Mistake(
                number=i,
                picture=self.pictures.names[i],
                name=self.labels[self.targets[i]],
                predicted=self.labels[self.predictions[i]],
                probability=float(self.probabilities[i]),
            )
            for i in wrong.tolist()
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with six decimals."""
        found = {
            "data": self.pictures.where,
            "split": self.split,
            "pictures": len(self.targets),
            "top1": self.top1,
            "top5": self.top5,
            "calibration_error": self.calibration_error,
            "pictures_per_second": self.pictures_per_second,
            "classes": [result._asdict() for result in self.classes],
            "confusions": [confusion._asdict() for confusion in self.confusions],
            "mistakes": [mistake._asdict() for mistake in self.mistakes()],
            "skipped": [skipped._asdict() for skipped in self.skipped],
        }
        return _rounded(found)  # type: ignore[no-any-return]


def evaluate(
    model: str | os.PathLike[str] | ViT,
    data: str | os.PathLike[str] | Pictures,
    *,
    split: str | None = None,
    columns: Columns = ANY,
    labels: Sequence[str] | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    num_workers: int = 0,
    strict: bool = False,
) -> Evaluation:
    """Classify pictures whose classes are known, and compare.

    Args:
        model: whatever `create` takes, or a ViT; it is evaluated where it is, in evaluation mode.
        data: what `open_splits` takes, or pictures that are open already.
        split: "train", "val" or "test"; if not given "val", else "test"; data that is not split is taken as it is.
        columns: what folders within folders or the columns of tables mean, where it cannot be found out.
        labels: the names of the model's classes, where it does not know them.
        device: that a model is created on; the CPU if not given.
        strict: a picture that cannot be read is an error; else it is left out and listed.

    Raises:
        DataError: no such data or split; a class of the data that is not one of the model's. Classes are matched by
            name, never by their order; ImageNet's folders (n01440764) go with the names of ImageNet's classes.
        SpecError: a model without a classifier, or without names of its classes.
    """
    vit = model if isinstance(model, ViT) else create(model, pretrained=True, device=device)
    names = _names(vit, labels)
    part, pictures, skipped = opened(data, order(split), Form.of(vit), strict, num_workers, columns)
    pictures = pictures.as_classes(matched(pictures, names))
    scores = outputs(vit, pictures, lambda x: vit(x).float().softmax(1), "evaluating", batch_size, num_workers)
    return measure(scores, pictures, names, part, skipped)


def measure(
    scores: Iterable[tuple[Tensor, Tensor]],
    pictures: Pictures,
    labels: tuple[str, ...],
    split: str,
    skipped: tuple[Skipped, ...],
) -> Evaluation:
    """From batches of (probabilities of each class, right classes), as they come, to what they say together."""
    top5 = MulticlassAccuracy(len(labels), top_k=5, average="micro") if len(labels) > 5 else None
    calibration = MulticlassCalibrationError(len(labels), n_bins=BINS, norm="l1")
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    start = time.perf_counter()
    for probabilities, targets in scores:
        calibration.update(probabilities, targets)
        if top5 is not None:
            top5.update(probabilities, targets)
        best = probabilities.max(1)
        found.append((targets, best.indices, best.values))
    seconds = time.perf_counter() - start
    targets, predictions, sure = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Evaluation(
        pictures=pictures,
        split=split,
        skipped=skipped,
        labels=labels,
        targets=targets,
        predictions=predictions,
        probabilities=sure,
        top5=None if top5 is None else float(top5.compute()),
        calibration_error=float(calibration.compute()),
        pictures_per_second=len(pictures) / seconds,
    )


def _names(vit: ViT, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the model's classes."""
    if vit.num_classes == 0:
        raise SpecError(no_classes(vit.spec))
    names = tuple(labels) if labels is not None else vit.labels
    if names is None:
        raise SpecError(f"the model does not know the names of its {vit.num_classes} classes; give labels")
    if len(names) != vit.num_classes:
        raise SpecError(f"labels names {len(names)} classes, and the model has {vit.num_classes}; give one for each")
    return names


def order(split: str | None) -> tuple[str, ...]:
    """The splits to evaluate on, the first that there is."""
    return (split,) if split is not None else (WHOLE, "val", "test")


def opened(
    data: str | os.PathLike[str] | Pictures,
    splits: tuple[str, ...],
    form: Form,
    strict: bool,
    num_workers: int,
    columns: Columns = ANY,
) -> tuple[str, Pictures, tuple[Skipped, ...]]:
    """The first of `splits` that the data has: its name, its readable pictures, and those that are left out."""
    if isinstance(data, Pictures):
        return splits[0], data, ()
    name, pictures = first_of(open_splits(data, columns), *splits)
    kept, skipped, remarks = readable(pictures, form, strict=strict, num_workers=num_workers)
    skipped = (*pictures.left_out, *skipped)
    say(taken_for({name: kept}))
    say_reading(pictures.where, skipped, remarks)
    if not len(kept):
        raise DataError(f"{data}: none of {len(skipped)} pictures can be read; the first: {skipped[0].reason}")
    return name, kept, skipped


def matched(pictures: Pictures, names: tuple[str, ...]) -> tuple[str, ...]:
    """The model's classes under the names that the data has for them."""
    if all(SYNSET.fullmatch(name) for name in pictures.classes) and not set(pictures.classes) <= set(names):
        known = next((one for one in SETS if SETS[one] == len(names) and known_set(one) == names), None)
        if known is not None:
            return synsets(known)
    used = [pictures.classes[target] for target in sorted(set(pictures.targets.tolist()))]
    times = Counter(names)
    if unknown := [name for name in used if not times[name]]:
        raise DataError(
            f"{pictures.where}: {len(unknown)} of {len(used)} classes are unknown to the model: {_few(unknown)}; "
            f"the model knows {_few(names)}; rename the folders, or give labels for the model's classes"
        )
    if twice := [name for name in used if times[name] > 1]:
        raise DataError(f"the model has several classes named {_few(twice)}; give labels that differ")
    return names


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(map(repr, names[:most])) + (" ..." if len(names) > most else "")
