"""A model on pictures, batch by batch, with nothing drawn and nothing kept for a backward pass."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitzoo.data.pictures import Pictures
from vitzoo.data.places import Skipped
from vitzoo.data.progress import tracked
from vitzoo.data.saying import say_reading, summed
from vitzoo.data.seen import Seen
from vitzoo.errors import DataError, ImageError
from vitzoo.images.ranges import Form, Note
from vitzoo.images.transform import Transform, preprocess
from vitzoo.publish.dialect import ViT

MOST_WORKERS = 8
DIGEST = 16  # bytes


@dataclass(frozen=True)
class Reading:
    """How pictures are read for a model."""

    batch_size: int = 64
    num_workers: int | None = None
    """Processes that load pictures; one for each core, eight at most, if not given."""
    strict: bool = False
    """A picture that cannot be read is an error; else it is left out and listed."""

    def workers(self, pictures: int) -> int:
        """None for less than two batches: starting them would take longer than they save."""
        if self.num_workers is not None:
            return self.num_workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return 0 if pictures < 2 * self.batch_size or cores == 1 else min(cores, MOST_WORKERS)


READING = Reading()


class Batch(NamedTuple):
    """What a model made of some pictures."""

    places: Tensor
    """(batch,) their numbers among the pictures"""
    values: Tensor
    """(batch, ...) fp32 on the CPU"""
    digests: tuple[bytes, ...]
    """Of what the model saw: equal for pictures with the same pixels, whatever their names and formats. Of pictures
    that are not opened, of their bytes."""


def places(batches: Sequence[Batch]) -> npt.NDArray[np.int64]:
    """(pictures,) the numbers of all that were read."""
    return torch.cat([batch.places for batch in batches]).numpy()


@dataclass
class Findings:
    """What was found on the way through pictures."""

    skipped: list[Skipped] = field(default_factory=list)
    """Pictures that are left out, and why."""
    notes: list[tuple[str, Note]] = field(default_factory=list)
    """What was taken for granted, with the picture's name."""
    seconds: float = 0.0
    """Reading, preprocessing and the model together."""

    @classmethod
    def of(cls, pictures: Pictures) -> "Findings":
        """What is known before the first picture is opened."""
        return cls(list(pictures.left_out))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was taken for granted, in words."""
        return tuple(map(str, summed(self.notes)))

    def say(self, where: str) -> None:
        """On the console, as every command does."""
        say_reading(where, self.skipped, summed(self.notes))


class _Loaded(NamedTuple):
    """Pictures as a loading process passes them on."""

    places: Tensor
    x: Tensor | None
    """(batch, channels, height, width), if any could be read"""
    digests: tuple[bytes, ...]
    lost: list[tuple[int, str]]
    """Places and reasons."""
    notes: list[tuple[int, Note]]
    """With places."""


class _Prepared(Dataset[Any]):
    """(place, the model's input, its digest, notes), or (place, why there is none)."""

    def __init__(self, pictures: Pictures, transform: Transform, form: Form) -> None:
        self.pictures, self.transform, self.form = pictures, transform, form

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        try:
            read = self.pictures.read(i, self.form)
            x = self.transform(read.picture)
        except (ImageError, OSError) as error:
            return i, str(error)
        return i, x, blake2b(x.numpy().tobytes(), digest_size=DIGEST).digest(), read.notes


def _together(batch: list[tuple[Any, ...]]) -> _Loaded:
    """In the loading process, as each tensor that is passed on holds a file open."""
    good, lost = [one for one in batch if len(one) > 2], [one for one in batch if len(one) == 2]
    places, inputs, digests, notes = zip(*good, strict=True) if good else ((), (), (), ())
    x = torch.stack(inputs) if good else None
    taken = [(place, note) for place, many in zip(places, notes, strict=True) for note in many]
    return _Loaded(torch.tensor(places, dtype=torch.long), x, digests, lost, taken)


@torch.inference_mode()
def outputs(
    vit: ViT,
    pictures: Pictures,
    function: Callable[[Tensor], Tensor],
    title: str,
    reading: Reading = READING,
    findings: Findings | None = None,
    transform: Transform | None = None,
    of_seen: Callable[[Seen], Tensor] | None = None,
) -> Iterator[Batch]:
    """What `function` makes of each batch; each picture is opened once, in order, prepared as for evaluation.

    The batch is where the model is, and of its type; the model is in evaluation mode while it is used. `transform` is
    the model's own if not given. Pictures that cannot be read go to the `findings`. Of pictures that a model has seen
    before none is opened: `of_seen` makes of their vectors what `function` makes of them.

    Raises:
        DataError: a picture that cannot be read, where the reading is strict or nobody asks for `findings`; or none
            that can; or a store of vectors where pictures are needed.
    """
    if pictures.seen is not None:
        yield _given(pictures, pictures.seen, of_seen)
        return
    like, strict = next(vit.parameters()), reading.strict or findings is None
    findings = Findings() if findings is None else findings
    loader = DataLoader(
        _Prepared(pictures, transform or preprocess(vit), Form.of(vit)),
        reading.batch_size,
        num_workers=reading.workers(len(pictures)),
        pin_memory=like.is_cuda,
        collate_fn=_together,
    )
    was_training, good, start = vit.training, 0, time.perf_counter()
    vit.eval()
    try:
        for loaded in tracked(loader, title):
            findings.skipped += [Skipped(pictures.names[i], reason) for i, reason in loaded.lost]
            findings.notes += [(pictures.names[i], note) for i, note in loaded.notes]
            if loaded.lost and strict:
                raise DataError(f"{pictures.where}: {' cannot be read: '.join(findings.skipped[-1])}")
            if loaded.x is not None:
                good += len(loaded.places)
                values = function(loaded.x.to(like.device, like.dtype)).float().cpu()
                yield Batch(loaded.places, values, loaded.digests)
        if not good:
            why = findings.skipped[0].reason if findings.skipped else "there are none"
            raise DataError(f"{pictures.where}: none of {len(pictures)} pictures can be read; the first: {why}")
    finally:
        findings.seconds += time.perf_counter() - start
        vit.train(was_training)


def _given(pictures: Pictures, seen: Seen, of_seen: Callable[[Seen], Tensor] | None) -> Batch:
    if of_seen is None:
        raise DataError(f"{pictures.where} holds vectors, and views are cut out of pictures; give the pictures")
    return Batch(torch.arange(len(pictures)), of_seen(seen), tuple(map(str.encode, seen.digests)))
