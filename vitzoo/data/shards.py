"""WebDataset shards by number: each picture is where a tar file has it, and its class is in the `.cls` beside it.

timm's ReaderWds says which shards a split has, but gives them as a stream, shuffled as its workers come, without what
it could not decode. A stream cannot be counted, split by class, or go on where a killed run stopped.
"""

import os
import re
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from vitzoo.data.folders import SUFFIXES
from vitzoo.data.natural import natural
from vitzoo.data.pictures import SPLITS, WHOLE, Pictures, file_digest, reading_errors
from vitzoo.data.places import Place, Places, Skipped, no_picture, plain_member
from vitzoo.errors import DataError, shown
from vitzoo.small_files import read_small, read_small_text

CLASS_NAMES = "classnames.txt"
MOST_SHARDS = 100_000
LONGEST_CLASS = 200  # bytes
MOST_CLASSES = 1_000_000
BESIDE = (".json", ".txt", ".__key__", ".xml")
"""What stands beside pictures in shards and is none."""


class Split(BaseModel):
    """One split in `_info.json`, of which nothing else is used."""

    filenames: tuple[str, ...]


class Shard(NamedTuple):
    """The pictures of shards, and what their .cls say."""

    places: list[Place]
    classes: list[str]
    names: list[str]
    left_out: list[Skipped]


class Info(BaseModel):
    """`_info.json` beside shards, as timm's readers write it."""

    splits: dict[str, Split]


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
    said = [text for shard in opened.values() for text in shard.classes]
    if not said:
        raise DataError(f"wds/{name}: no pictures with a .cls beside them; expected shards such as train-0000.tar")
    classes = _classes(name, names, known, said)
    by_number = all(text.isdecimal() for text in said)
    index = {text: int(text) if by_number else classes.index(text) for text in set(said)}
    return {
        split: Pictures(
            f"wds/{name}",
            Places(shard.places),
            classes,
            shard.names,
            np.array([index[text] for text in shard.classes], dtype=np.int64),
            np.arange(len(shard.places), dtype=np.int64),
            file_digest(shards[split]),
            tuple(shard.left_out),
            "by the .cls beside each picture",
        )
        for split, shard in opened.items()
    }


def _classes(name: str, file: Path, known: tuple[str, ...] | None, said: Sequence[str]) -> tuple[str, ...]:
    """The classes: those that are known, or the numbers up to the largest that is said, or the texts that are."""
    if not all(text.isdecimal() for text in said):
        texts = tuple(sorted(set(said), key=natural))
        if known is not None and not set(texts) <= set(known):
            lost = sorted(set(texts) - set(known))[0]
            raise DataError(f"{file} names {len(known)} classes, and the shards have a class {shown(lost)}; add it")
        return known or texts
    most = max(map(int, said))
    if known is not None and most >= len(known):
        raise DataError(f"{file} names {len(known)} classes, and the shards have a class number {most}; add its name")
    if most >= MOST_CLASSES:
        raise DataError(f"wds/{name}: a class has the number {most}; expected less than {MOST_CLASSES:,}")
    return known or tuple(map(str, range(most + 1)))


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


def _index(folder: Path, shards: list[Path]) -> Shard:
    """Where each picture is, and its name; members of one sample share all that comes before the first dot."""
    found = Shard([], [], [], [])
    for shard in shards:
        pictures: dict[str, tarfile.TarInfo] = {}
        classes: dict[str, str] = {}
        with tarfile.open(shard, "r:") as archive:
            for member in map(plain_member, archive):
                above, base = os.path.split(member.name)
                key, _, extension = base.partition(".")
                key = os.path.join(above, key)  # noqa: PTH118 (a name in an archive, not a path)
                if extension == "cls" and (file := archive.extractfile(member)):
                    classes[key] = _class(shard, member.name, file.read(LONGEST_CLASS + 1))
                elif member.isfile() and _is_picture(shard, member, f".{extension}".lower()):
                    pictures[key] = member
        if bare := [key for key in pictures if key not in classes]:
            raise DataError(f"{shard}: the picture '{bare[0]}' has no .cls beside it; expected its class there")
        where = shard.relative_to(folder)
        found.left_out.extend(
            Skipped(f"{where}/{key}", "no picture beside the .cls") for key in classes.keys() - pictures
        )
        found.places.extend(Place(shard, member.offset_data, member.size) for member in pictures.values())
        found.classes.extend(classes[key] for key in pictures)
        found.names.extend(f"{where}/{member.name}" for member in pictures.values())
    return found


def _is_picture(shard: Path, member: tarfile.TarInfo, suffix: str) -> bool:
    """By its name, or by its contents if the name says nothing."""
    if suffix in SUFFIXES:
        return True
    place = Place(shard, member.offset_data, member.size)
    return suffix not in BESIDE and no_picture(member.name, place) is None


def _class(shard: Path, name: str, content: bytes) -> str:
    text = content.decode("utf-8", "replace").strip()
    if not text or len(content) > LONGEST_CLASS:
        raise DataError(f"{shard}: {shown(name)} has {shown(content[:40])}; expected the number or the name of a class")
    return text
