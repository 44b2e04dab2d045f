"""Pictures with their classes, by number, wherever they are."""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitzoo.errors import DataError, shown
from vitzoo.extras import advice
from vitzoo.images.load import Read
from vitzoo.images.ranges import Form, Pixels
from vitzoo.images.read import read_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".npy")


SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


WHOLE = "all"
"""The split of data that has none."""


LARGEST_MEMBER = 2 << 30  # bytes of one picture


class Skipped(NamedTuple):
    """A picture that is left out, and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class Pictures:
    """Pictures by number, each with its class.

    `reader[numbers[i]]` opens the i-th as a binary file, `targets[i]` is its place in `classes`, `names[i]` says where
    in `where` it is. `fingerprint` changes when the files do.
    """

    where: str
    reader: Any
    classes: tuple[str, ...]
    names: Sequence[str]
    targets: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    fingerprint: str
    hidden: tuple[Skipped, ...] = ()
    """Files that are no one's pictures: in folders that begin with a dot, or that macOS adds to archives."""

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, i: int, form: Form) -> Read:
        """The i-th picture as a model takes it, and what was taken for granted; an ImageError if it cannot be read."""
        file, _ = self.reader[int(self.numbers[i])]
        with file:
            return read_picture(file, form, self.names[i])

    def load(self, i: int, form: Form | int = 3) -> Image.Image | Pixels:
        """The i-th picture alone; a number stands for the form of so many channels."""
        return self.read(i, Form(form) if isinstance(form, int) else form).picture

    def take(self, chosen: npt.NDArray[np.int64]) -> "Pictures":
        """Those of the given places, in that order."""
        names = [self.names[i] for i in chosen]
        return replace(self, names=names, targets=self.targets[chosen], numbers=self.numbers[chosen])

    def as_classes(self, classes: tuple[str, ...]) -> "Pictures":
        """The same pictures with the targets that `classes` gives them; it has to hold every class that is used."""
        places = {name: place for place, name in enumerate(classes)}
        targets = np.array([places[self.classes[t]] for t in self.targets], dtype=np.int64)
        return replace(self, classes=classes, targets=targets)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Pictures of each class."""
        return tuple(np.bincount(self.targets, minlength=len(self.classes)).tolist())


def first_of(splits: dict[str, Pictures], *wanted: str) -> tuple[str, Pictures]:
    """The first of the `wanted` splits that there is, and its name; else a DataError."""
    for name in wanted:
        if name in splits:
            return name, splits[name]
    where, expected = next(iter(splits.values())).where, " or ".join(name for name in wanted if name != WHOLE)
    raise DataError(f"{where}: expected split {expected}, found {', '.join(splits)}; name another split or path")


@contextmanager
def reading_errors(where: str, needs: str | None = None) -> Iterator[None]:
    """What readers raise becomes one DataError that names the source."""
    try:
        yield
    except ImportError as error:
        raise DataError(f"{where}: {error}; {advice(needs or 'timm')}") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, tarfile.TarError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{where}: cannot be read: {reason}; check that it is complete and has the expected structure"
        ) from None


def plain_member(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive that has the bytes it says; a ValueError for one of holes, which may have any size."""
    if member.issparse() or member.size > LARGEST_MEMBER:
        what = "of holes" if member.issparse() else f"of {member.size:,} bytes"
        raise ValueError(f"{shown(member.name)} is {what}; pack the pictures as they are")
    return member


def file_digest(paths: Sequence[Path]) -> str:
    """Changes when one of the files is another, by name, size or time."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(stats).encode()).hexdigest()
