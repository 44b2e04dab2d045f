"""What a model makes of pictures, as vectors; kept, if asked, under all that they depend on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from vitzoo.data.pictures import Pictures
from vitzoo.errors import WeightsError
from vitzoo.evaluation.predict import DIGEST, Findings, Reading, outputs, places
from vitzoo.files.atomic import replacing
from vitzoo.model.digest import tensors_digest
from vitzoo.publish.dialect import ViT
from vitzoo.version import __version__

Vector = Callable[[ViT, Tensor], Tensor]
"""(batch, in_chans, height, width) -> (batch, ...)"""


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


@dataclass(frozen=True)
class Store:
    """A folder that keeps vectors for the next time, each under the pixels that the model saw.

    A file is for one network with all of its weights, one way of computing, one kind of vector. Pictures are still
    read; what is saved is the model's work on them.
    """

    folder: Path

    def file(self, vit: ViT, vector: Vector) -> Path:
        """Named after all that decides on a vector, beside the pixels."""
        digest = hashlib.sha256(f"{vit.spec.model_dump_json()} {vector.__module__}.{vector.__name__}".encode())
        like = next(vit.parameters())
        compiled = getattr(vit, "_compiled_call_impl", None) is not None
        digest.update(f"{like.dtype} {like.device.type} {compiled} {vit.resample} {torch.__version__}".encode())
        digest.update(f"{__version__} {tensors_digest(vit)}".encode())
        return self.folder / f"{digest.hexdigest()}.npz"

    def read(self, file: Path) -> dict[bytes, Tensor]:
        """The vectors of a file by the digest of the pixels; none if there is no such file.

        Raises:
            WeightsError: a file that is damaged.
        """
        if not file.exists():
            return {}
        try:
            with np.load(file, allow_pickle=False) as held:
                digests, values = held["digests"], torch.from_numpy(held["values"])
            if digests.shape != (len(values), DIGEST):
                raise ValueError(f"{len(values)} vectors, digests of shape {digests.shape}")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise WeightsError(f"{file}: expected vectors, found a damaged file ({error}); delete it") from None
        return {digest.tobytes(): value for digest, value in zip(digests, values, strict=True)}

    def write(self, file: Path, known: dict[bytes, Tensor]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            digests = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), DIGEST)
            with replacing(file) as partial, partial.open("wb") as stream:
                np.savez(stream, digests=digests, values=torch.stack(list(known.values())).numpy())
        except OSError as error:
            raise WeightsError(f"{file} cannot be written: {error.strerror}; name another folder") from None


def vectors(
    vit: ViT, parts: Sequence[tuple[str, Pictures]], vector: Vector, reading: Reading, store: Store | None = None
) -> tuple[Vectors, ...]:
    """Of each of the parts, (what is being done, pictures), in one pass; numbers of copies are those of all parts."""
    file = None if store is None else store.file(vit, vector)
    known = {} if store is None or file is None else store.read(file)
    before, numbers, found = len(known), dict[bytes, int](), []
    for title, pictures in parts:
        findings = Findings.of(pictures)
        batches = list(outputs(vit, pictures, lambda x: vector(vit, x), title, reading, findings, known=known))
        findings.say(pictures.where)
        digests = [digest for batch in batches for digest in batch.digests]
        values = torch.cat([batch.values for batch in batches])
        if store is not None:
            known |= dict(zip(digests, values, strict=True))
        copies = torch.tensor([numbers.setdefault(digest, len(numbers)) for digest in digests])
        found.append(Vectors(pictures.take(places(batches)), values, copies, findings))
    if store is not None and file is not None and len(known) > before:
        store.write(file, known)
    return tuple(found)
