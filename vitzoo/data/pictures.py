"""Pictures with their classes, by number, wherever they are."""

import hashlib
import tarfile
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitzoo.data.places import Reader, Skipped
from vitzoo.data.seen import Seen
from vitzoo.errors import Argument, DataError
from vitzoo.extras import advice
from vitzoo.images.load import Read
from vitzoo.images.ranges import Form, Pixels
from vitzoo.images.read import read_picture

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


WHOLE = "all"
"""The split of data that has none."""


NO_CLASS = -1
"""The target of a picture whose label is not the name of one class."""


Label = str | float | tuple[str, ...] | tuple[float, ...]
"""What is known of a picture: the name of its class, a number, the names of several classes, or several numbers."""


@dataclass(frozen=True)
class Pictures:
    """Pictures by number, each with its class.

    `reader[numbers[i]]` opens the i-th as a binary file, `targets[i]` is its place in `classes`, `names[i]` says where
    in `where` it is. `fingerprint` changes when the files do. Of labels
    and numbers (`with_truth`) targets are rows.
    """

    where: str
    reader: Reader
    classes: tuple[str, ...]
    names: Sequence[str]
    targets: npt.NDArray[Any]
    numbers: npt.NDArray[np.int64]
    fingerprint: str
    left_out: tuple[Skipped, ...] = ()
    """Files beside them that are no pictures, or no one's: in hidden folders, or without a class."""
    understood: str = ""
    """What says the class of a picture, in words."""
    labels: Sequence[Label] | None = None
    """Of a table: what its label column says of each picture, as it stands there. None: the class alone is known."""
    label_columns: tuple[str, ...] = ()
    """The columns that `labels` come from; of several, a label is a tuple with the value of each."""
    groups: npt.NDArray[np.int64] | None = None
    """Pictures of one group, such as those of one patient, are never on both sides of a split."""
    weights: npt.NDArray[np.float64] | None = None
    """What the loss of each picture counts."""
    seen: Seen | None = None
    """What a model made of each; then none is opened."""

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, i: int, form: Form) -> Read:
        """The i-th picture as a model takes it, and what was taken for granted; an ImageError if it cannot be read."""
        with self.reader[int(self.numbers[i])] as file:
            return read_picture(file, form, self.names[i])

    def load(self, i: int, form: Form | int = 3) -> Image.Image | Pixels:
        """The i-th picture alone; a number stands for the form of so many channels."""
        return self.read(i, Form(form) if isinstance(form, int) else form).picture

    def take(self, chosen: npt.NDArray[np.int64]) -> "Pictures":
        """Those of the given places, in that order."""
        return replace(
            self,
            names=[self.names[i] for i in chosen],
            targets=self.targets[chosen],
            numbers=self.numbers[chosen],
            labels=None if self.labels is None else [self.labels[i] for i in chosen],
            groups=None if self.groups is None else self.groups[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            seen=None if self.seen is None else self.seen.take(chosen),
        )

    def leaving_out(self, more: tuple[Skipped, ...]) -> "Pictures":
        """The same, with more beside them that is left out."""
        return replace(self, left_out=self.left_out + more)

    def as_classes(self, classes: tuple[str, ...]) -> "Pictures":
        """The same pictures with the targets that `classes` gives them; it has to hold every class that is used."""
        places = {name: place for place, name in enumerate(classes)}
        new = np.array([places.get(name, NO_CLASS) for name in self.classes] + [NO_CLASS], dtype=np.int64)
        targets = new[self.targets]  # the last one is that of NO_CLASS
        if lost := sorted({self.classes[t] for t in self.targets[(targets < 0) & (self.targets >= 0)]}):
            raise DataError(f"{self.where}: unknown classes: {', '.join(lost[:8])}; expected {', '.join(classes[:8])}")
        return replace(self, classes=classes, targets=targets)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Pictures of each class."""
        known = self.targets[self.targets >= 0]
        return tuple(np.bincount(known, minlength=len(self.classes)).tolist())


def classed(pictures: Pictures, what: str) -> Pictures:
    """The same pictures, if each has one class.

    Raises:
        DataError: `what` is asked of several names or of numbers.
    """
    if pictures.targets.ndim > 1 or (pictures.targets == NO_CLASS).any():
        raise DataError(
            f"{pictures.where}: {what}, and a picture's label is not one class here but several names or numbers; name "
            "a column of classes with ",
            Argument("label_column"),
        )
    return pictures


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


def numbered(names: Sequence[Hashable]) -> npt.NDArray[np.int64]:
    """The same number for the same name, from 0 on."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def file_digest(paths: Sequence[Path]) -> str:
    """Changes when one of the files is another, by name, size or time."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(stats).encode()).hexdigest()
