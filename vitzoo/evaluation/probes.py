"""What the vectors of a frozen model are worth: a classifier on them, by the ways that papers report."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.pictures import WHOLE, Pictures, classed
from vitzoo.errors import Argument, DataError, SpecError
from vitzoo.evaluation.attention import RATES as ATTENTIVE_RATES
from vitzoo.evaluation.attention import attended
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.given import in_parts, in_tokens, of_length_one
from vitzoo.evaluation.linear import FINER, RATES, STRENGTHS, accuracy, best_of, descended, held_out, present, regressed
from vitzoo.evaluation.measure import matched, measure, opened, order
from vitzoo.evaluation.neighbours import FEATURES, features
from vitzoo.evaluation.overlap import among, both, shared
from vitzoo.evaluation.predict import READING, Reading
from vitzoo.evaluation.result import DRAWS
from vitzoo.evaluation.suspects import alike, suspects
from vitzoo.evaluation.vectors import Vector, Vectors, vectors
from vitzoo.publish.dialect import ViT, create, is_model
from vitzoo.spec import FinalNorm

PART = 0.2  # of each class, by which settings are chosen
BLOCKS = 4  # the last ones, whose class tokens DINOv2's grid puts side by side
MOST_BYTES = 4 << 30  # of tokens, which an attentive probe holds all at once


class Fitted(NamedTuple):
    """A classifier's answers, and how it was chosen."""

    scores: Tensor
    """(queries, classes)"""
    chosen: str
    trials: Mapping[str, float]
    """What was tried, and which part of the pictures that were held out it recognised."""


class Method(NamedTuple):
    """A way to probe."""

    vector: Vector
    fit: Callable[[Tensor, Tensor, int, Tensor, int], Fitted]
    """Of (vectors, classes, how many classes, vectors of the queries, seed)."""


@dataclass(frozen=True)
class Probe:
    """What a probe recognised, and how it was chosen."""

    evaluation: ClassEvaluation
    method: str
    chosen: str
    trials: Mapping[str, float]
    draws: tuple[float, ...]
    """Few-shot: the top-1 accuracy with each draw of training pictures."""
    train: Vectors
    """The pictures that were trained on, with what the model made of each."""
    queries: Vectors
    known: Vectors
    """All training pictures, those that are evaluated too among them."""

    def check(self, seed: int = 0) -> dict[str, Any]:
        """For JSON: training pictures whose labels may be wrong, and evaluated pictures that are much like them."""
        return {
            "suspects": [one._asdict() for one in suspects(self.train, seed)],
            "alike": [one._asdict() for one in alike(self.known, self.queries)],
        }

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {"method": self.method, "chosen": self.chosen, "train": len(self.train.targets)}
        told |= {"trials": {name: round(value, 6) for name, value in self.trials.items()}}
        return {"probe": told | ({"draws": [round(one, 6) for one in self.draws]} if self.draws else {})}


def last_blocks(vit: ViT, x: Tensor) -> Tensor:
    """(batch, blocks + 1, hidden_dim): the class tokens of the last four blocks, then the mean of the last's patches.

    As DINOv2 has them (eval/linear.py, `create_linear_input`), each after the final norm. A model without a class token
    has the means of four blocks.
    """
    blocks = min(BLOCKS, vit.spec.depth)
    taken = vit.forward_intermediates(
        x, blocks, return_prefix_tokens=True, norm=True, output_fmt="NLC", intermediates_only=True
    )
    means = [patches.mean(1) for patches, _ in taken]
    parts = [prefix[:, 0] for _, prefix in taken] + means[-1:] if vit.spec.class_token else means
    found = torch.stack(parts, 1)
    pooled_norm = vit.spec.final_norm is FinalNorm.POOLED and vit.spec.pooled_dim == vit.spec.hidden_dim
    return vit.norm(found) if pooled_norm else found


def tokens(vit: ViT, x: Tensor) -> Tensor:
    """(batch, tokens, hidden_dim) of the last block."""
    return vit.forward_features(x)


def unit_features(vit: ViT, x: Tensor) -> Tensor:
    """(batch, pooled_dim) of length one: what the head is given."""
    return F.normalize(features(vit, x), dim=1)


def linear_grid(x: Tensor, targets: Tensor, classes: int, queries: Tensor, seed: int) -> Fitted:
    """DINOv2's grid: learning rates, the last block or the last four, with or without the mean of the patches."""
    fit, choose = held_out(targets, PART, seed)
    trials, settings = {}, {}
    for name, parts in _inputs(x.shape[1]).items():
        narrow = x[:, parts].flatten(1)
        for rate, one in zip(RATES, descended(narrow[fit], targets[fit], classes, RATES, seed), strict=True):
            trial = f"{name}, rate {rate:g}"
            trials[trial], settings[trial] = accuracy(one(narrow[choose]), targets[choose]), (parts, rate)
    parts, rate = settings[chosen := best_of(trials)]
    (final,) = descended(x[:, parts].flatten(1), targets, classes, (rate,), seed)
    return Fitted(final(queries[:, parts].flatten(1)), chosen, trials)


def _inputs(parts: int) -> dict[str, list[int]]:
    """Which of the parts of `last_blocks` each kind of input has."""
    if parts == 1:
        return {"last block": [0]}
    *blocks, mean = range(parts)
    found = {"last block": blocks[-1:], "last block with mean": [blocks[-1], mean]}
    if len(blocks) > 1:
        found |= {
            f"last {len(blocks)} blocks": blocks,
            f"last {len(blocks)} blocks with mean": [*blocks, mean],
        }
    return found


def logistic(x: Tensor, targets: Tensor, classes: int, queries: Tensor, seed: int) -> Fitted:
    """Logistic regression on vectors of length one, with the regularisation that suits held-out pictures best."""
    fit, choose = held_out(targets, PART, seed)
    trials: dict[str, float] = {}
    strengths: dict[str, float] = {}

    def attempt(tried: Sequence[float]) -> str:
        one = None
        for strength in tried:
            one = regressed(x[fit], targets[fit], classes, strength, one)
            trial = f"C {strength:.4g}"
            trials[trial], strengths[trial] = accuracy(one(x[choose]), targets[choose]), strength
        return best_of(trials)

    middle = strengths[attempt(STRENGTHS)]
    chosen = attempt([middle * factor for factor in FINER])
    return Fitted(regressed(x, targets, classes, strengths[chosen])(queries), chosen, trials)


def attentive(x: Tensor, targets: Tensor, classes: int, queries: Tensor, seed: int) -> Fitted:
    """A query that attends to all tokens, at the learning rate that suits held-out pictures best."""
    fit, choose = held_out(targets, PART, seed)
    heads = max(1, x.shape[-1] // 64)
    heads = heads if x.shape[-1] % heads == 0 else 1
    trials = {}
    for rate in ATTENTIVE_RATES:
        one = attended(x[fit], targets[fit], classes, heads, rate, seed)
        trials[f"rate {rate:g}"] = accuracy(_answers(one, x[choose]), targets[choose])
    chosen = best_of(trials)
    final = attended(x, targets, classes, heads, float(chosen.removeprefix("rate ")), seed)
    return Fitted(_answers(final, queries), chosen, trials)


@torch.no_grad()
def _answers(probe: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.cat([probe(part) for part in torch.split(x, 256)])


def class_mean(x: Tensor, targets: Tensor, classes: int, queries: Tensor, seed: int) -> Fitted:
    """The class whose mean is nearest, of vectors that are centred and of length one.

    Wang et al. 2019, https://arxiv.org/abs/1911.04623 (SimpleShot, CL2N). Nothing is drawn and nothing is chosen.
    """
    centre = x.mean(0)
    x, queries = F.normalize(x - centre, dim=1), F.normalize(queries - centre, dim=1)
    sums = torch.zeros(classes, x.shape[1]).index_add_(0, targets, x)
    counts = targets.bincount(minlength=classes)
    scores = -torch.cdist(queries, sums / counts.clamp(min=1)[:, None]).square()
    return Fitted(scores.masked_fill(counts == 0, -torch.inf), "the nearest mean", {})


METHODS: Mapping[str, Method] = {
    "linear": Method(Vector(last_blocks, in_parts), linear_grid),
    "logistic": Method(Vector(unit_features, of_length_one), logistic),
    "attentive": Method(Vector(tokens, in_tokens), attentive),
    "class-mean": Method(FEATURES, class_mean),
}


def probe(
    model: str | os.PathLike[str] | ViT,
    data: str | os.PathLike[str] | Pictures,
    method: str = "linear",
    *,
    train: str | os.PathLike[str] | Pictures | None = None,
    split: str | None = None,
    columns: Columns = ANY,
    shots: int | None = None,
    draws: int = 1,
    reading: Reading = READING,
    device: torch.device | str | None = None,
    bootstrap: int = DRAWS,
    seed: int = 0,
) -> Probe:
    """Train a classifier on the vectors of a frozen model and evaluate it; each picture goes through the model once.

    Args:
        model, data, split, columns, device, bootstrap, seed: as `evaluate` takes them. The model needs no classifier.
        method: linear, logistic, attentive or class-mean; settings are chosen by a fifth of the training pictures, and
            the classifier is then trained on all of them.
        train: the pictures to train on; the part "train" of `data` if not given.
        shots, draws: so many training pictures of each class, drawn so often; the evaluation is that of the first draw.

    `data` and `train` may be stores of the model's vectors, which are then taken as they are; no picture is opened.

    Raises:
        DataError: as `evaluate`; also nothing to train on, or too few pictures of a class.
        SpecError: an unknown method.
    """
    if method not in METHODS:
        raise SpecError(f"unknown method '{method}'; give one of {', '.join(METHODS)} as ", Argument("method"))
    vit = model if is_model(model) else create(model, pretrained=True, device=device)
    part, known, pictures = _parts(vit, data, train, split, columns)
    _check_memory(vit, method, len(known) + len(pictures))
    parts = (("computing vectors", known), ("evaluating", pictures))
    seen, queries = vectors(vit, parts, METHODS[method].vector, reading)
    used, first, drawn = _fits(METHODS[method], _trained_on(seen, queries), queries, shots, draws, seed)
    said = (*shared(seen, queries, "their copies are not trained on"), *both(seen, queries))
    found: ClassEvaluation = measure(
        first.scores,
        queries.pictures,
        known.classes,
        part,
        queries.findings,
        remarks=(*_remarks(method, first, used, drawn), *said),
        draws=bootstrap,
        seed=seed,
    )
    return Probe(found, method, first.chosen, first.trials, drawn, used, queries, seen)


def _parts(
    vit: ViT,
    data: str | os.PathLike[str] | Pictures,
    train: str | os.PathLike[str] | Pictures | None,
    split: str | None,
    columns: Columns,
) -> tuple[str, Pictures, Pictures]:
    """The name of the part that is evaluated, the pictures to train on, those to evaluate with the same classes."""
    part, pictures = opened(data, order(split), columns, vit)
    if train is None and part == WHOLE:
        raise DataError(
            f"{pictures.where} is not split into pictures to train on and others to evaluate; name those to train on "
            "with ",
            Argument("train"),
            ", or make folders train and val",
        )
    _, known = opened(data if train is None else train, ("train", WHOLE), columns, vit)
    known, pictures = (classed(one, "a probe tells classes apart") for one in (known, pictures))
    return part, known, pictures.as_classes(matched(pictures, known.classes))


def _check_memory(vit: ViT, method: str, count: int) -> None:
    """An attentive probe holds all tokens."""
    if method != "attentive":
        return
    each = (vit.spec.num_patches + vit.spec.num_prefix_tokens) * vit.spec.hidden_dim * 4
    if each * count > MOST_BYTES:
        raise DataError(
            f"the tokens of {count:,} pictures take {each * count / 2**30:.1f} GiB, and an attentive probe holds "
            f"{MOST_BYTES / 2**30:.0f} GiB: give {MOST_BYTES // each:,} pictures or fewer, or a smaller img_size"
        )


def _trained_on(seen: Vectors, queries: Vectors) -> Vectors:
    """Without the pictures that are evaluated."""
    kept = torch.nonzero(~among(queries, seen)).flatten()
    if len(left := present(seen.targets[kept])) < 2:
        raise DataError(
            f"{seen.pictures.where}: pictures of {len(left)} classes are left to train on, as those that are "
            "evaluated are not trained on; give others"
        )
    return seen.take(kept)


def _fits(
    method: Method, train: Vectors, queries: Vectors, shots: int | None, draws: int, seed: int
) -> tuple[Vectors, Fitted, tuple[float, ...]]:
    """The pictures and the fit of the first draw, and the accuracy of every draw; of all pictures there is no draw."""
    classes, found = len(train.pictures.classes), []
    for draw in range(1 if shots is None else draws):
        used = train if shots is None else train.take(_few(train.targets, shots, seed + draw))
        _check_choice(method, used)
        found.append((used, method.fit(used.values, used.targets, classes, queries.values, seed)))
    accuracies = [accuracy(fitted.scores, queries.targets) for _, fitted in found]
    return *found[0], tuple(accuracies) if shots is not None else ()


def _check_choice(method: Method, used: Vectors) -> None:
    """All but class means hold pictures out to choose by."""
    counts = used.targets.bincount()
    if method.fit is not class_mean and (lonely := torch.nonzero(counts == 1).flatten().tolist()):
        raise DataError(
            f"class '{used.pictures.classes[lonely[0]]}' has one picture to train on, and settings are chosen by "
            "pictures that are held out: give two or more, or the method class-mean"
        )


def _few(targets: Tensor, shots: int, seed: int) -> Tensor:
    """(chosen,) places of `shots` pictures of each class, or of all that it has."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=generator)
    chosen = [order[targets[order] == target][:shots] for target in present(targets)]
    return torch.cat(chosen).sort().values


def _remarks(method: str, fitted: Fitted, used: Vectors, drawn: Sequence[float]) -> tuple[str, ...]:
    said = [f"{method} probe on {len(used.targets):,} training pictures: {fitted.chosen}"]
    if fitted.trials:
        best = fitted.trials[fitted.chosen]
        said.append(f"chosen of {len(fitted.trials)} by {PART:.0%} of these, of which it had {best:.2%} right")
    if len(drawn) > 1:
        mean = sum(drawn) / len(drawn)
        said.append(
            f"{len(drawn)} draws of training pictures: top-1 {mean:.2%} in the mean, from {min(drawn):.2%} to "
            f"{max(drawn):.2%}; all other numbers are of the first"
        )
    few = [used.pictures.classes[c] for c in torch.nonzero(used.targets.bincount(minlength=1) == 0).flatten().tolist()]
    return (*said, *((f"no pictures to train on: {', '.join(few[:5])}",) if few else ()))
