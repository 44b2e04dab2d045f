"""Pictures whose truth is known, a model's answer to them, and what the two say together."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.pictures import NO_CLASS, WHOLE, Pictures, first_of
from vitzoo.data.saying import say, taken_for
from vitzoo.data.truth import CLASSLESS, without_classes
from vitzoo.embedding.splits import check_made_by, open_data
from vitzoo.errors import DataError, SpecError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.given import logits
from vitzoo.evaluation.labels import LabelEvaluation
from vitzoo.evaluation.numbers import NumberEvaluation
from vitzoo.evaluation.predict import Findings, Reading, outputs, places
from vitzoo.evaluation.result import DRAWS, Evaluation, few
from vitzoo.evaluation.truth import truth_of
from vitzoo.evaluation.views import Views
from vitzoo.publish.dialect import ViT, create, is_model
from vitzoo.registry.describe import no_classes
from vitzoo.registry.label_sets import SETS, known_set, synsets

SYNSET = re.compile(r"n[0-9]{8}")
SCALES: Mapping[type[Evaluation], tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    ClassEvaluation: (lambda x: x.softmax(1), torch.log),
    LabelEvaluation: (torch.sigmoid, torch.logit),
    NumberEvaluation: (lambda x: x, lambda x: x),
}
"""From what a model gives to what is averaged over views, and back."""


def evaluate(
    model: str | os.PathLike[str] | ViT,
    data: str | os.PathLike[str] | Pictures,
    *,
    split: str | None = None,
    columns: Columns = ANY,
    labels: Sequence[str] | None = None,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    num_workers: int | None = None,
    strict: bool = False,
    flip: bool = False,
    crops: int = 1,
    bootstrap: int = DRAWS,
    seed: int = 0,
) -> Evaluation:
    """Classify pictures whose classes are known, and compare.

    Args:
        model: whatever `create` takes, or a ViT; it is evaluated where it is, in evaluation mode.
        data: what `open_splits` takes, a store of the model's pooled vectors, or pictures that are open already.
        split: "train", "val" or "test"; if not given "val", else "test"; data that is not split is taken as it is.
        columns: what folders within folders or the columns of tables mean, where it cannot be found out.
        labels: the names of the model's classes, where it does not know them.
        device: that a model is created on; the CPU if not given.
        num_workers, strict: processes that load pictures, one for each core if not given; a picture that cannot be
            read is an error, else it is left out and listed.
        flip, crops: average the answers with those to the mirrored picture and, with 5 crops, to the corners.
        bootstrap, seed: draws that the confidence intervals are made of, 0 for none.

    Raises:
        DataError: no such data or split; a class of the data that is not one of the model's. Classes are matched by
            name, never by their order; ImageNet's folders (n01440764) go with the names of ImageNet's classes.
        SpecError: a model without a classifier, or without names of its classes.
    """
    vit = model if is_model(model) else create(model, pretrained=True, device=device)
    names, views = _names(vit, labels), Views(flip, crops)
    part, pictures = opened(data, order(split), columns, vit)
    pictures, reading = _labelled(pictures, vit, names), Reading(batch_size, num_workers, strict)
    truth = truth_of(pictures, names, vit.num_classes, vit.about.task)
    scores, kept, found = _answers(vit, pictures, truth.kind, views, reading)
    if not isinstance(data, Pictures):
        found.say(pictures.where)
    own: dict[str, Any] = {"kind": truth.kind, "targets": truth.targets[kept], "remarks": views.remarks}
    own |= {"thresholds": vit.about.task.thresholds} if truth.kind is LabelEvaluation and vit.about.task else {}
    pictures = pictures.take(kept.numpy())
    result: Evaluation = measure(scores, pictures, truth.labels, part, found, **own, draws=bootstrap, seed=seed)
    return result


def _labelled(pictures: Pictures, vit: ViT, names: tuple[str, ...] | None) -> Pictures:
    """The pictures with their labels as the model's task has them."""
    if vit.about.kind in CLASSLESS:
        return pictures if pictures.targets.ndim > 1 else without_classes(pictures)
    return pictures if names is None else pictures.as_classes(matched(pictures, names))


def _answers(
    vit: ViT, pictures: Pictures, kind: type[Evaluation], views: Views, reading: Reading
) -> tuple[Tensor, Tensor, Findings]:
    """What the model gives for the pictures that can be read, their places, and what was found on the way."""
    (given, back), found = SCALES[kind], Findings.of(pictures)
    function = vit if views.count == 1 else views.averaged(vit, given)
    of_seen = (lambda seen: logits(vit, seen)) if views.count == 1 else None
    seen = list(outputs(vit, pictures, function, "evaluating", reading, found, views.transform(vit), of_seen))
    scores = torch.cat([batch.values for batch in seen])
    return scores if views.count == 1 else back(scores), torch.from_numpy(places(seen)), found


E = TypeVar("E", bound=Evaluation)


def measure(
    scores: Tensor,
    pictures: Pictures,
    labels: tuple[str, ...],
    split: str,
    found: Findings,
    kind: type[E] = ClassEvaluation,  # type: ignore[assignment]
    targets: Tensor | None = None,
    remarks: tuple[str, ...] = (),
    **options: Any,
) -> E:
    """From what a model gave for each picture, (pictures, classes) logits, to what that says of it.

    Raises:
        DataError: numbers that are none.
    """
    if bad := int((scores.isnan() | scores.isposinf()).any(1).sum()):
        raise DataError(
            f"the model gave no numbers (NaN) for {bad} of {len(scores)} pictures; evaluate in float32 (--dtype), and "
            "check that its weights are whole (vitzoo verify)"
        )
    return kind(
        pictures=pictures,
        split=split,
        skipped=tuple(found.skipped),
        labels=labels,
        targets=torch.from_numpy(pictures.targets) if targets is None else targets,
        scores=scores,
        pictures_per_second=len(pictures) / found.seconds if found.seconds else 0.0,
        remarks=(*remarks, *found.remarks),
        **options,
    )


def _names(vit: ViT, labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of the model's classes, if they are known."""
    if vit.num_classes == 0:
        raise SpecError(no_classes(vit.spec))
    names = tuple(labels) if labels is not None else vit.labels
    if names is not None and len(names) != vit.num_classes:
        raise SpecError(f"labels names {len(names)} classes, and the model has {vit.num_classes}; give one for each")
    return names


def order(split: str | None) -> tuple[str, ...]:
    """The splits to evaluate on, the first that there is."""
    return (split,) if split is not None else (WHOLE, "val", "test")


def opened(
    data: str | os.PathLike[str] | Pictures, splits: tuple[str, ...], columns: Columns, vit: ViT
) -> tuple[str, Pictures]:
    """The first of `splits` that the data has, and its name; what it was taken for is said on the console.

    Raises:
        DataError, SpecError: no such data or split; a store of another model's vectors.
    """
    if isinstance(data, Pictures):
        return splits[0], data
    check_made_by(data, vit)
    part, pictures = first_of(open_data(data, columns), *splits)
    say(taken_for({part: pictures}))
    return part, pictures


def matched(pictures: Pictures, names: tuple[str, ...]) -> tuple[str, ...]:
    """The model's classes under the names that the data has for them."""
    if all(SYNSET.fullmatch(name) for name in pictures.classes) and not set(pictures.classes) <= set(names):
        known = next((one for one in SETS if SETS[one] == len(names) and known_set(one) == names), None)
        if known is not None:
            return synsets(known)
    used = [pictures.classes[target] for target in sorted(set(pictures.targets.tolist()) - {NO_CLASS})]
    times = Counter(names)
    if unknown := [name for name in used if not times[name]]:
        raise DataError(
            f"{pictures.where}: {len(unknown)} of {len(used)} classes are unknown to the model: {few(unknown)}; "
            f"the model knows {few(names)}; rename the folders, or give labels for the model's classes"
        )
    if twice := [name for name in used if times[name] > 1]:
        raise DataError(f"the model has several classes named {few(twice)}; give labels that differ")
    return names
