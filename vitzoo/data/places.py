"""Where a picture's bytes are: a file, a part of an archive, or in memory."""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from vitzoo.errors import ImageError, shown
from vitzoo.images.contents import HEAD, picture_kind, what_is

LARGEST_MEMBER = 2 << 30  # bytes of one picture


class Place(NamedTuple):
    """A whole file, or `size` bytes of it from `start` on."""

    path: Path
    start: int = 0
    size: int | None = None

    def open(self, most: int | None = None) -> IO[bytes]:
        """The bytes, or the first `most` of them where they are a part of a file."""
        if self.size is None and (reason := unusual(self.path)) is not None:
            raise ImageError(f"{self.path}: expected a picture, found {reason}")
        file = self.path.open("rb")
        if self.size is None:
            return file
        with file:
            file.seek(self.start)
            return BytesIO(file.read(self.size if most is None else min(most, self.size)))

    def head(self) -> bytes:
        """The first bytes."""
        with self.open(HEAD) as file:
            return file.read(HEAD)


class Reader(Protocol):
    """What opens pictures by number."""

    def __getitem__(self, i: int) -> IO[bytes]: ...


@dataclass(frozen=True)
class Places:
    """Pictures by number, wherever they are."""

    places: Sequence[Place]

    def __getitem__(self, i: int) -> IO[bytes]:
        return self.places[i].open()


class Skipped(NamedTuple):
    """A picture or another file that is left out, and why."""

    where: str
    reason: str


def no_picture(name: str, place: Place) -> str | None:
    """Why a file that is not called like a picture is none; None for a picture, whatever it is called."""
    try:
        head = place.head()
    except ImageError:
        return unusual(place.path)
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if picture_kind(head) is not None:
        return None
    return f"no picture but {what_is(head)}" if head else what_is(head)


def unusual(path: Path) -> str | None:
    """What is no file of its own; a pipe is not opened, as whoever opens it waits."""
    if path.is_file():
        return None
    if path.exists():
        return "a folder" if path.is_dir() else "a pipe or device"
    return "a link to nothing" if path.is_symlink() else "no such file"


def plain_member(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive that has the bytes it says; a ValueError for one of holes, which may have any size."""
    if member.issparse() or member.size > LARGEST_MEMBER:
        what = "of holes" if member.issparse() else f"of {member.size:,} bytes"
        raise ValueError(f"{shown(member.name)} is {what}; pack the pictures as they are")
    return member
