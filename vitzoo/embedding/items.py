"""The pictures of which vectors are wanted, each with its class and its part where something says them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from vitzoo.data.columns import ANY, Columns
from vitzoo.data.folders import Found, found_in, meant_by
from vitzoo.data.natural import natural
from vitzoo.data.open import TABLES, open_splits
from vitzoo.data.pictures import NO_CLASS, WHOLE, Pictures
from vitzoo.data.places import Place, Skipped
from vitzoo.data.saying import say
from vitzoo.embedding.store import Row, Said
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
    said: Mapping[str, Said] = field(default_factory=dict)
    """What is known of the pictures, by their keys."""
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
        key, place = self.keys[i], self.places[i]
        label, split = self.said_of(key)
        if place is None:
            return Row(key, self.source, None, None, None, sha256, label, split)
        return Row(key, self.source, _text(str(place.path)), place.start, place.size, sha256, label, split)

    def said_of(self, key: str) -> Said:
        """The class and the part of a picture, where they are known."""
        return self.said.get(key, (None, None))


def items_of(data: Data, columns: Columns = ANY) -> list[Items]:
    """The pictures of a folder, tar file, picture file, table, dataset or shards; or of a list of files.

    `columns` says what folders within folders or the columns of a table mean.

    Raises:
        DataError: there is nothing, or no picture in it.
    """
    found = [_listed(data)] if not isinstance(data, str | os.PathLike) else _opened(data, columns)
    if not any(map(len, found)):
        where = data if isinstance(data, str | os.PathLike) else "the list of files"
        raise DataError(f"{where}: no pictures found{_first(found)}")
    return found


def _listed(paths: Iterable[str | os.PathLike[str]]) -> Items:
    """Files as they are named; the same file twice is one."""
    keys = list(dict.fromkeys(os.fspath(path) for path in paths))
    return Items("", list(map(_text, keys)), [Place(Path(key).absolute()) for key in keys], whole=False)


def _opened(data: str | os.PathLike[str], columns: Columns) -> list[Items]:
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
        left_out, said = tuple(found.left_out), _said_by_folders(path, found, columns)
        return [Items(_text(str(path.resolve())), keys, places, None, left_out, said)]
    splits = open_splits(data, columns)
    return [_of_split(str(data), split, pictures) for split, pictures in splits.items()]


def _of_split(source: str, split: str, pictures: Pictures) -> Items:
    """The pictures of a split; one that a table has in several rows is one."""
    first = {f"{split}/{name}": i for i, name in reversed(list(enumerate(pictures.names)))}
    once = pictures.take(np.array(sorted(first.values()), dtype=np.int64))
    names = [f"{split}/{name}" for name in once.names]
    said = _said(split, pictures, [f"{split}/{name}" for name in pictures.names])
    return Items(source, names, [None] * len(names), once, pictures.left_out, said)


def _said_by_folders(root: Path, found: Found, columns: Columns) -> dict[str, Said]:
    """What the folders around pictures say, where they can be meant in one way alone.

    Vectors are wanted of pictures in any folders, so that those which say no class are no error; it is said.
    """
    if not found.pictures:
        return {}
    try:
        splits = meant_by(root, found, columns)
    except DataError as error:
        if columns != ANY:
            raise
        say(f"no labels are kept: {error}")
        return {}
    parts = (_said(split, pictures, list(map(_text, pictures.names))) for split, pictures in splits.items())
    return {key: one for part in parts for key, one in part.items()}


def _said(split: str, pictures: Pictures, keys: Sequence[str]) -> dict[str, Said]:
    """What is known of each picture; of one in rows of several classes no class."""
    part, found = None if split == WHOLE else split, dict[str, Said]()
    for key, target in zip(keys, pictures.targets.tolist(), strict=True):
        label = None if target == NO_CLASS else _text(pictures.classes[target])
        found[key] = (label if found.get(key, (label,))[0] == label else None, part)
    return found


def _text(name: str) -> str:
    """A name as a store has it: bytes that are no UTF-8, which no column of texts takes, are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _first(found: Sequence[Items]) -> str:
    """The first file that is no picture, where there is one."""
    skipped = [one for items in found for one in items.left_out]
    return f"; {skipped[0].where} is {skipped[0].reason}" if skipped else ""
