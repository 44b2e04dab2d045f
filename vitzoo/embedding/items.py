"""The pictures of which vectors are wanted, with no word of classes."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from vitzoo.data.folders import found_in
from vitzoo.data.natural import natural
from vitzoo.data.open import TABLES, open_splits
from vitzoo.data.pictures import Pictures
from vitzoo.data.places import Place, Skipped
from vitzoo.embedding.store import Row
from vitzoo.errors import DataError

Data = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclass(frozen=True)
class Items:
    """Pictures by number, each with a key that no other of its source has."""

    source: str
    keys: Sequence[str]
    places: Sequence[Place | None]
    """Where the bytes are; None for those that are in no file of their own."""
    inside: Pictures | None = None
    """What opens those."""
    left_out: tuple[Skipped, ...] = ()
    """Files beside them that are no pictures."""
    whole: bool = True
    """Whether they are all that the source has: a list does not say what is gone."""

    def __len__(self) -> int:
        return len(self.keys)

    def open(self, i: int) -> IO[bytes]:
        """The bytes of a picture."""
        place = self.places[i]
        if place is not None:
            return place.open()
        assert self.inside is not None, "what has no place is in something"
        return self.inside.reader[int(self.inside.numbers[i])]

    def row(self, i: int, sha256: str | None) -> Row:
        """What a store says of a picture."""
        place = self.places[i]
        if place is None:
            return Row(self.keys[i], self.source, None, None, None, sha256)
        return Row(self.keys[i], self.source, _text(str(place.path)), place.start, place.size, sha256)


def items_of(data: Data) -> list[Items]:
    """The pictures of a folder, tar file, picture file, table, dataset or shards; or of a list of files.

    Raises:
        DataError: there is nothing, or no picture in it.
    """
    found = [_listed(data)] if not isinstance(data, str | os.PathLike) else _opened(data)
    if not any(map(len, found)):
        where = data if isinstance(data, str | os.PathLike) else "the list of files"
        raise DataError(f"{where}: no pictures found{_first(found)}")
    return found


def _listed(paths: Iterable[str | os.PathLike[str]]) -> Items:
    """Files as they are named; the same file twice is one."""
    keys = list(dict.fromkeys(os.fspath(path) for path in paths))
    return Items("", list(map(_text, keys)), [Place(Path(key).absolute()) for key in keys], whole=False)


def _opened(data: str | os.PathLike[str]) -> list[Items]:
    path = Path(data)
    if path.is_file() and path.suffix.lower() not in (".tar", *TABLES):
        return [_listed([path])]
    if path.is_dir() or path.suffix.lower() == ".tar":
        if not path.exists():
            raise DataError(f"{data}: there is no such folder or file")
        found = found_in(path.absolute())
        names = sorted(found.pictures, key=lambda name: natural(str(name)))
        places = [found.pictures[name] for name in names]
        keys = [_text(str(name)) for name in names]
        return [Items(_text(str(path.resolve())), keys, places, left_out=tuple(found.left_out))]
    splits = open_splits(data)
    return [_of_split(str(data), split, pictures) for split, pictures in splits.items()]


def _of_split(source: str, split: str, pictures: Pictures) -> Items:
    """The pictures of a split; one that a table has in several rows is one."""
    first = {f"{split}/{name}": i for i, name in reversed(list(enumerate(pictures.names)))}
    once = pictures.take(np.array(sorted(first.values()), dtype=np.int64))
    names = [f"{split}/{name}" for name in once.names]
    return Items(source, names, [None] * len(names), once, pictures.left_out)


def _text(name: str) -> str:
    """A name as a store has it: bytes that are no UTF-8, which no column of texts takes, are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _first(found: Sequence[Items]) -> str:
    """The first file that is no picture, where there is one."""
    skipped = [one for items in found for one in items.left_out]
    return f"; {skipped[0].where} is {skipped[0].reason}" if skipped else ""
