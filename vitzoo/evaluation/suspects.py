"""Pictures whose labels may be wrong, and pictures that two parts share, found by their vectors."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.evaluation.linear import present, regressed
from vitzoo.evaluation.vectors import Vectors

FOLDS = 5
ROWS = 256  # queries that are compared at once
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # scikit-learn's C, of logistic regression on vectors of length one
NEIGHBOURS = 10  # the next ones, whose distance is the usual one
NEARER = 0.25
"""Two pictures are alike if they are at most this part of the usual distance apart. What is usual differs from model to
model and from picture to picture, so that no cosine would suit all."""
MOST_PARTS = 8  # of a picture's vectors; of more, such as tokens, the mean stands for it


class Suspect(NamedTuple):
    """A picture that a probe which has not seen it takes for another class."""

    picture: str
    label: str
    predicted: str
    confidence: float
    """The probability of its label (self-confidence), by a probe that was trained without the picture."""


class Pair(NamedTuple):
    """Two pictures that are alike."""

    picture: str
    other: str
    cosine: float
    same: bool
    """Whether the model sees the same pixels."""


@torch.no_grad()
def out_of_fold(x: Tensor, targets: Tensor, copies: Tensor, classes: int, strength: float, seed: int) -> Tensor:
    """(pictures, classes) probabilities, each by logistic regression on vectors of length one without that picture.

    The folds are stratified; copies of a picture are in its fold, as they would give its label away.
    """
    unit, folds = F.normalize(_flat(x), dim=1), folds_of(targets, copies, seed)
    found = torch.zeros(len(x), classes)
    for fold in range(FOLDS):
        out = folds == fold
        if bool(out.any()):
            found[out] = regressed(unit[~out], targets[~out], classes, strength)(unit[out]).softmax(1)
    return found


def folds_of(targets: Tensor, copies: Tensor, seed: int) -> Tensor:
    """(pictures,) 0 to 4: each class is spread evenly, and copies are together."""
    generator, folds = torch.Generator().manual_seed(seed), torch.zeros(len(targets), dtype=torch.long)
    for target in present(targets):
        members = torch.nonzero(targets == target).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        folds[members] = torch.arange(len(members)) % FOLDS
    first: dict[int, int] = {}
    for place, number in enumerate(copies.tolist()):
        folds[place] = folds[first.setdefault(number, place)]
    return folds


def suspects(seen: Vectors, seed: int = 0) -> tuple[Suspect, ...]:
    """Pictures whose label has less than its usual self-confidence and that are taken for another class, worst first.

    Confident learning (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068): the other class is given at least the
    probability that its own pictures have in the mean. Classes with fewer than two pictures are not judged. The probe's
    regularisation is that of least log loss on pictures that it has not seen.
    """
    classes = len(seen.pictures.classes)
    targets = seen.targets
    tried = [out_of_fold(seen.values, targets, seen.copies, classes, strength, seed) for strength in STRENGTHS]
    given = min(tried, key=lambda one: float(F.nll_loss(one.clamp(min=1e-9).log(), targets)))
    own = given.gather(1, targets[:, None])[:, 0]
    counts = targets.bincount(minlength=classes)
    usual = torch.zeros(classes).index_add_(0, targets, own) / counts.clamp(min=1)
    usual[counts == 0] = 2.0  # no class that there are no pictures of
    confident = given.masked_fill(given < usual, 0.0)
    best = confident.max(1)
    wrong = (best.values > 0) & (best.indices != targets) & (own < best.values) & (counts[targets] > 1)
    places = torch.nonzero(wrong).flatten()
    places = places[own[places].argsort(stable=True)]
    names = seen.pictures.classes
    return tuple(
        Suspect(seen.pictures.names[i], names[int(targets[i])], names[int(best.indices[i])], float(own[i]))
        for i in places.tolist()
    )


def alike(known: Vectors, queries: Vectors) -> tuple[Pair, ...]:
    """For each query the nearest of the known pictures, if the two are alike; the same pixels first."""
    found: list[Pair] = []
    unit, asked = (F.normalize(_flat(part.values), dim=1) for part in (known, queries))
    for start in range(0, len(asked), ROWS):
        near = (asked[start : start + ROWS] @ unit.T).clamp(max=1)
        same = queries.copies[start : start + ROWS, None] == known.copies
        best = near.masked_fill(same, 2).topk(min(NEIGHBOURS + 1, len(unit)), dim=1)
        nearest = near.gather(1, best.indices[:, :1])[:, 0]
        usual = 1 - best.values[:, 1:].clamp(max=1).median(1).values if len(unit) > 1 else torch.zeros(len(near))
        copies = same.gather(1, best.indices[:, :1])[:, 0]
        for row in torch.nonzero(copies | (1 - nearest < NEARER * usual)).flatten().tolist():
            names = queries.pictures.names[start + row], known.pictures.names[int(best.indices[row, 0])]
            found.append(Pair(*names, float(nearest[row]), bool(copies[row])))
    return tuple(sorted(found, key=lambda pair: (-pair.same, -pair.cosine)))


def _flat(values: Tensor) -> Tensor:
    """(pictures, dim)"""
    return values.mean(1) if values.dim() == 3 and values.shape[1] > MOST_PARTS else values.flatten(1)
