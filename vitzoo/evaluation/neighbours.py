"""Classes by the nearest neighbours in a model's features, which needs no training at all."""

import os
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.pictures import WHOLE, Pictures, classed
from vitzoo.errors import DataError
from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.given import as_they_are
from vitzoo.evaluation.measure import matched, measure, opened, order
from vitzoo.evaluation.overlap import both, shared
from vitzoo.evaluation.predict import Reading
from vitzoo.evaluation.result import DRAWS
from vitzoo.evaluation.vectors import Vector, vectors
from vitzoo.publish.dialect import ViT, create, is_model

QUERIES = 256  # that are compared at once
COMPARED = 1 << 26  # pairs that are compared at once


def nearest_neighbours(
    model: str | os.PathLike[str] | ViT,
    train: str | os.PathLike[str] | Pictures,
    data: str | os.PathLike[str] | Pictures,
    *,
    k: int = 20,
    temperature: float = 0.07,
    split: str | None = None,
    columns: Columns = ANY,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    num_workers: int | None = None,
    strict: bool = False,
    bootstrap: int = DRAWS,
    seed: int = 0,
) -> ClassEvaluation:
    """Classify the pictures of `data` by the `k` most alike of `train`, the split "train" if it has one.

    No classifier is needed: the classes are those of `train`. A neighbour's vote is exp(cosine / temperature), as in
    DINO (https://arxiv.org/abs/2104.14294, section 4.1; facebookresearch/dino, eval_knn.py). A class without a vote is
    never among the first five. Of neighbours that are equally alike those that come first in `train` vote, of classes
    with equal votes the one that comes first is taken. A picture's own copies have no vote: where pictures of `data`
    are in `train` too, by what the model sees of them, `notes` says so. `train` and `data` may be stores of the model's
    vectors; then no picture is opened. Errors and other arguments are `evaluate`'s.
    """
    vit = model if is_model(model) else create(model, pretrained=True, device=device)
    _, known = opened(train, ("train", WHOLE), columns, vit)
    part, pictures = opened(data, order(split), columns, vit)
    known, pictures = (classed(one, "neighbours vote for classes") for one in (known, pictures))
    pictures = pictures.as_classes(matched(pictures, known.classes))
    parts = (("computing neighbours", known), ("evaluating", pictures))
    before, queries = vectors(vit, parts, FEATURES, Reading(batch_size, num_workers, strict))
    voters = Voters(before.values, before.targets, before.copies, len(known.classes))
    some = max(1, min(QUERIES, COMPARED // max(1, len(before.copies))))
    rows = zip(torch.split(queries.values, some), torch.split(queries.copies, some), strict=True)
    scores = torch.cat([voters.votes(x, k, temperature, copies) for x, copies in rows]).log()
    return measure(
        scores,
        queries.pictures,
        known.classes,
        part,
        queries.findings,
        remarks=(*shared(before, queries, "a picture's own copies have no vote"), *both(before, queries)),
        draws=bootstrap,
        seed=seed,
    )


def features(vit: ViT, x: Tensor) -> Tensor:
    """(batch, in_chans, height, width) -> (batch, pooled_dim): what the last layer of the head is given."""
    return vit.forward_head(vit.forward_features(x), pre_logits=True)


FEATURES = Vector(features, as_they_are)


@dataclass(frozen=True)
class Voters:
    """Pictures whose classes are known."""

    features: Tensor
    """(known, dim)"""
    targets: Tensor
    """(known,) their classes"""
    copies: Tensor
    """(known,) equal numbers for pictures that are the same"""
    classes: int

    @cached_property
    def _unit(self) -> Tensor:
        return F.normalize(self.features, dim=1)

    def votes(self, queries: Tensor, k: int, temperature: float, copies: Tensor) -> Tensor:
        """(queries, classes): the share of each class in the votes of the `k` nearest, by cosine.

        Voters with a query's number in `copies` (queries,) have no vote on it. Of equally near ones the first vote.

        Raises:
            DataError: nobody is left to vote on a query.
        """
        near = (F.normalize(queries, dim=1) @ self._unit.T).round(decimals=6)  # beyond that the batch decides
        near[copies[:, None] == self.copies] = -torch.inf
        similar, places = near.topk(min(k, len(self.targets)), dim=1)
        if bool(similar[:, 0].isneginf().any()):
            raise DataError("a picture has no neighbours but its own copies; give other pictures to compare with")
        tied = (near >= similar[:, -1:]).sum(1) > similar.shape[1]  # which of them topk takes, it leaves open
        if bool(tied.any()):
            similar[tied], places[tied] = (
                found[:, : similar.shape[1]] for found in near[tied].sort(dim=1, descending=True, stable=True)
            )
        weight = (similar / temperature).softmax(1)
        return torch.zeros(len(queries), self.classes).scatter_add_(1, self.targets[places], weight)
