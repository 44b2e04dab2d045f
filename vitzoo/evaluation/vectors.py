"""What a model makes of pictures, as vectors: computed here, or those of a store."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitzoo.data.pictures import Pictures
from vitzoo.data.seen import Seen
from vitzoo.evaluation.predict import Findings, Reading, outputs, places
from vitzoo.publish.dialect import ViT


class Vector(NamedTuple):
    """A kind of vectors."""

    computed: Callable[[ViT, Tensor], Tensor]
    """(batch, in_chans, height, width) -> (batch, ...)"""
    given: Callable[[Seen], Tensor]
    """The same of what a store has."""


class Vectors(NamedTuple):
    """The pictures that were read, and what the model made of each."""

    pictures: Pictures
    values: Tensor
    """(pictures, ...) fp32"""
    copies: Tensor
    """(pictures,) equal numbers for pictures that look the same to the model"""
    findings: Findings

    @property
    def targets(self) -> Tensor:
        return torch.from_numpy(self.pictures.targets)

    def take(self, chosen: Tensor) -> "Vectors":
        """Those of the given places, in that order."""
        return Vectors(self.pictures.take(chosen.numpy()), self.values[chosen], self.copies[chosen], self.findings)


def vectors(vit: ViT, parts: Sequence[tuple[str, Pictures]], vector: Vector, reading: Reading) -> tuple[Vectors, ...]:
    """Of each of the parts, (what is being done, pictures), in one pass; numbers of copies are those of all parts."""
    numbers, found = dict[bytes, int](), []
    for title, pictures in parts:
        findings = Findings.of(pictures)
        computed = outputs(
            vit, pictures, lambda x: vector.computed(vit, x), title, reading, findings, of_seen=vector.given
        )
        batches = list(computed)
        findings.say(pictures.where)
        digests = [digest for batch in batches for digest in batch.digests]
        values = torch.cat([batch.values for batch in batches])
        copies = torch.tensor([numbers.setdefault(digest, len(numbers)) for digest in digests])
        found.append(Vectors(pictures.take(places(batches)), values, copies, findings))
    return tuple(found)
