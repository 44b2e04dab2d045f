"""Picture files as they come, prepared for a model by several processes, each opened once and in order."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitzoo.errors import ImageError
from vitzoo.images.ranges import Note, Pixels
from vitzoo.images.read import read_picture
from vitzoo.images.transform import Transform

MOST_WORKERS = 8


class Batch(NamedTuple):
    """Some files, and what became of them."""

    paths: list[str]
    reasons: list[str | None]
    """Why a file cannot be used, or None: one for each."""
    inputs: Tensor | None
    """(those that can be used, channels, height, width), or None if there are none"""
    notes: list[tuple[str, Note]]
    """What was taken for granted, with the path."""


class Flow:
    """Makes batches of files that come one by one, and knows whether somebody waits for an answer."""

    def __init__(self, size: int) -> None:
        self.size, self.waiting = size, 0

    def idle(self) -> bool:
        """Whether all that came was answered, so that there is time to wait for more."""
        return self.waiting == 0

    def batches(self, paths: Iterable[str | None]) -> Iterator[list[str]]:
        """Whole batches, and what there is of one where None says that nothing comes just now; it may be nothing."""
        batch: list[str] = []
        for path in paths:
            if path is not None:
                self.waiting += 1
                batch.append(path)
            if path is None or len(batch) == self.size:
                yield batch
                batch = []
        if batch:
            yield batch

    def read(self, paths: Iterable[str | None], transform: Transform, num_workers: int) -> Iterator[Batch]:
        """What becomes of each batch; the next one is asked for when the last was answered."""
        loader = DataLoader(
            _Files(transform),
            batch_sampler=self.batches(paths),
            num_workers=num_workers,
            collate_fn=_as_it_is,
        )
        for batch in loader:
            if batch.paths:
                yield batch
                self.waiting -= len(batch.paths)


class _Files(Dataset[Batch]):
    """Batches by the paths in them."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __getitems__(self, paths: list[str]) -> Batch:
        cropped: list[Pixels] = []
        reasons: list[str | None] = []
        notes: list[tuple[str, Note]] = []
        for path in paths:
            try:
                read = read_picture(path, self.transform.form)
                cropped.append(self.transform.cropped(read.picture))
            except (ImageError, OSError) as error:
                reasons.append(str(error))
                continue
            reasons.append(None)
            notes += [(path, note) for note in read.notes]
        return Batch(paths, reasons, self._inputs(cropped) if cropped else None, notes)

    def _inputs(self, cropped: list[Pixels]) -> Tensor:
        """All at once where they have one type, which gives the same numbers sooner."""
        if len({pixels.dtype for pixels in cropped}) == 1:
            return self.transform.normalised(np.stack(cropped))
        return torch.stack([self.transform.normalised(pixels) for pixels in cropped])

    def __getitem__(self, path: str) -> Batch:
        return self.__getitems__([path])


def usable_cores() -> int:
    """Processes that load pictures where nobody says how many: one for each core, eight at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def _as_it_is(batch: Any) -> Any:
    return batch
