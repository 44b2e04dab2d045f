"""WebDataset shards by number: each picture is where a tar file has it, and its class is in the `.cls` beside it.

timm's ReaderWds says which shards a split has, but gives them as a stream, shuffled as its workers come, without what
it could not decode. A stream cannot be counted, split by class, or go on where a killed run stopped.
"""

import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import BaseModel

from vitzoo.data.pictures import SPLITS, SUFFIXES, WHOLE, Pictures, file_digest, plain_member, reading_errors
from vitzoo.errors import DataError, shown
from vitzoo.small_files import read_small, read_small_text

CLASS_NAMES = "classnames.txt"
MOST_SHARDS = 100_000
LONGEST_CLASS = 20  # digits


class Split(BaseModel):
    """One split in `_info.json`, of which nothing else is used."""

    filenames: tuple[str, ...]


class Info(BaseModel):
    """`_info.json` beside shards, as timm's readers write it."""

    splits: dict[str, Split]


class ShardReader:
    """Pictures of shards by number, as timm's readers give them: (binary file, class)."""

    def __init__(self, places: list[tuple[Path, tarfile.TarInfo]], targets: list[int]) -> None:
        self.places, self.targets = places, targets

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> tuple[BinaryIO, int]:
        path, member = self.places[i]
        with tarfile.open(path, "r:") as archive:
            file = archive.extractfile(member)
            assert file is not None  # a regular file, as it was found
            return BytesIO(file.read()), self.targets[i]


def open_shards(name: str) -> dict[str, Pictures]:
    """`FOLDER` with shards, split as its `_info.json` says or by name, or a pattern such as `train-{000..009}.tar`.

    The names of the classes stand in `classnames.txt`, one a line; without it a class is called by its number.
    """
    path = Path(name)
    with reading_errors(f"wds/{name}", needs="webdataset"):
        folder = path if path.is_dir() else path.parent
        shards = {split: found for split, found in _shards(path).items() if found}
        names = folder / CLASS_NAMES
        known = tuple(read_small_text(names).splitlines()) if names.exists() else None
        opened = {split: _index(folder, found) for split, found in shards.items()}
    most = max((target for reader, _ in opened.values() for target in reader.targets), default=-1)
    if most < 0:
        raise DataError(f"wds/{name}: no pictures with a .cls beside them; expected shards such as train-0000.tar")
    if known is not None and most >= len(known):
        raise DataError(f"{names} names {len(known)} classes, and the shards have a class number {most}; add its name")
    classes = known or tuple(map(str, range(most + 1)))
    return {
        split: Pictures(
            f"wds/{name}",
            reader,
            classes,
            keys,
            np.array(reader.targets, dtype=np.int64),
            np.arange(len(reader), dtype=np.int64),
            file_digest(shards[split]),
        )
        for split, (reader, keys) in opened.items()
    }


def _shards(path: Path) -> dict[str, list[Path]]:
    """The files of each split."""
    if not path.is_dir():
        return {WHOLE: _below(path.parent, _expanded(path.name))}
    for info in (path / "_info.json", path / "info.json"):
        if info.exists():
            splits = Info.model_validate_json(read_small(info)).splits
            return {SPLITS.get(name, name): _below(path, split.filenames) for name, split in splits.items()}
    found: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(path.glob("*.tar")):
        found[SPLITS.get(file.name.replace("_", "-").split("-")[0].lower(), WHOLE)].append(file)
    return found


def _below(folder: Path, names: Sequence[str]) -> list[Path]:
    """Files in a folder. webdataset would take a name for an address, or for a command that is run."""
    for name in names:
        if not re.fullmatch(r"[^/\\:|]+\.tar", name):
            raise DataError(f"wds/{folder}: expected the plain names of .tar files in the folder, found {shown(name)}")
    return [folder / name for name in names]


def _expanded(pattern: str) -> list[str]:
    """`train-{000..009}.tar` is ten names; `{a,b}` two."""
    match = re.search(r"\{(?:(\d{1,9})\.\.(\d{1,9})|([^{}]+))\}", pattern)
    if match is None:
        return [pattern]
    first, last, listed = match.groups()
    if listed is None and int(last) - int(first) >= MOST_SHARDS:
        raise DataError(f"{pattern}: more than {MOST_SHARDS:,} shards")
    found = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)] if listed is None else listed.split(",")
    return [rest for one in found for rest in _expanded(pattern[: match.start()] + one + pattern[match.end() :])]


def _index(folder: Path, shards: list[Path]) -> tuple[ShardReader, list[str]]:
    """Where each picture is, and its name; members of one sample share all that comes before the first dot."""
    places, targets, names = [], [], []
    for shard in shards:
        pictures: dict[str, tarfile.TarInfo] = {}
        classes: dict[str, int] = {}
        with tarfile.open(shard, "r:") as archive:
            for member in map(plain_member, archive):
                above, base = os.path.split(member.name)
                key, _, extension = base.partition(".")
                key = os.path.join(above, key)  # noqa: PTH118 (a name in an archive, not a path)
                if f".{extension}".lower() in SUFFIXES:
                    pictures[key] = member
                elif extension == "cls" and (file := archive.extractfile(member)):
                    classes[key] = int(file.read(LONGEST_CLASS))
        if bare := [key for key in pictures if key not in classes]:
            raise DataError(f"{shard}: the picture '{bare[0]}' has no .cls beside it; expected its class number there")
        places += [(shard, member) for member in pictures.values()]
        targets += [classes[key] for key in pictures]
        names += [f"{shard.relative_to(folder)}/{member.name}" for member in pictures.values()]
    return ShardReader(places, targets), names
