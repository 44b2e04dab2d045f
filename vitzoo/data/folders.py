"""Pictures in folders or a tar file: the folder that a picture stands in says its class, and one above it the split.

Files are taken by their contents. What is left out is listed; folders that may be meant in two ways are asked about.
"""

import hashlib
import os
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from vitzoo.data.columns import FOLDER, NO_GROUPS, Columns
from vitzoo.data.natural import natural
from vitzoo.data.pictures import SPLITS, WHOLE, Pictures, file_digest, numbered, reading_errors
from vitzoo.data.places import Place, Places, Skipped, no_picture, plain_member
from vitzoo.errors import Argument, DataError

SUFFIXES: tuple[str, ...] = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".bmp",
    ".dib",
    ".gif",
    ".tif",
    ".tiff",
)
SUFFIXES += (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".npy")
"""Files that are taken for pictures before anybody looks into them; all others are looked into."""
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")


class Found(NamedTuple):
    """What is in a folder or an archive."""

    pictures: dict[PurePosixPath, Place]
    left_out: list[Skipped]
    empty: list[str]
    """Folders at the ends of the tree that hold no picture."""
    fingerprint: str


class Home(NamedTuple):
    """What the folder of a picture says."""

    split: str
    label: str
    group: str | None


def open_files(root: Path, columns: Columns) -> dict[str, Pictures]:
    """The splits of a folder or a tar file."""
    return meant_by(root, found_in(root), columns)


def meant_by(root: Path, found: Found, columns: Columns) -> dict[str, Pictures]:
    """What the folders of a tree or a tar file say of the pictures in them."""
    if not found.pictures:
        raise DataError(f"{root}: no pictures found; expected a folder for each class with pictures in it{_why(found)}")
    homes, aside = _homes(root, found, columns.group_by)
    if empty := [folder for folder in found.empty if _split(PurePosixPath(folder)) in (WHOLE, "train")]:
        raise DataError(f"{root}: no pictures in {_some(empty)}; add some, or remove the folder{_why(found)}")
    return _by_split(root, found, homes, tuple(found.left_out + aside))


def _by_split(
    root: Path, found: Found, homes: dict[PurePosixPath, Home], left_out: tuple[Skipped, ...]
) -> dict[str, Pictures]:
    paths = sorted((path for path in found.pictures if path.parent in homes), key=lambda path: natural(str(path)))
    classes = tuple(sorted({home.label for home in homes.values()}, key=natural))
    index = {name: place for place, name in enumerate(classes)}
    groups, understood = None, "by the folder around each picture"
    if any(home.group for home in homes.values()):
        groups = numbered([homes[path.parent].group or str(path) for path in paths])
        understood = f"by the first folder, in {groups.max() + 1} groups by the folder around each picture"
    chosen: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        chosen[homes[path.parent].split].append(i)
    whole = Pictures(
        str(root),
        Places([found.pictures[path] for path in paths]),
        classes,
        [str(path) for path in paths],
        np.array([index[homes[path.parent].label] for path in paths], dtype=np.int64),
        np.arange(len(paths), dtype=np.int64),
        found.fingerprint,
        left_out,
        understood,
        groups=groups,
    )
    return {split: whole.take(np.array(places, dtype=np.int64)) for split, places in chosen.items()}


# What folders mean.


def _homes(root: Path, found: Found, group_by: str | None) -> tuple[dict[PurePosixPath, Home], list[Skipped]]:
    """What each folder with pictures says, and the pictures of which none says a class."""
    if group_by not in (None, FOLDER, NO_GROUPS):
        raise DataError(f"{root}: ", Argument("group_by"), f" takes {FOLDER} or {NO_GROUPS} here, found '{group_by}'")
    splits, levels = _levels({path.parent for path in found.pictures})
    bare = [folder for folder, parts in levels.items() if not parts]
    if outside := [str(p) for p in found.pictures if p.parent in bare and splits[p.parent] in (WHOLE, "train")]:
        raise DataError(
            f"{root}: expected each picture in the folder of its class, found {_some(outside)} outside; move them, or "
            f"give a table with a label for each{_tables(root, found)}"
        )
    if len(bare) == len(levels):
        raise DataError(f"{root}: no picture has a class: none stands in the folder of one; expected some that do")
    deep = any(len(parts) > 1 for parts in levels.values())
    if group_by is None and deep:
        _ask(root, found, levels)
    if group_by == FOLDER and not deep:
        raise DataError(f"{root}: no folder stands in the folder of a class; leave ", Argument("group_by"), " out")
    homes = {f: _home(splits[f], parts, group_by) for f, parts in levels.items() if parts}
    _check(root, homes)
    aside = [Skipped(str(path), "no folder of a class around it") for path in found.pictures if path.parent in bare]
    return homes, aside


def _home(split: str, parts: tuple[str, ...], group_by: str | None) -> Home:
    if group_by == FOLDER and len(parts) > 1:
        return Home(split, parts[0], "/".join(parts))
    return Home(split, parts[-1], None)


def _levels(
    folders: set[PurePosixPath],
) -> tuple[dict[PurePosixPath, str], dict[PurePosixPath, tuple[str, ...]]]:
    """Of each folder the split, and the rest of its parts without the folder that all others stand in."""
    splits, levels = {}, {}
    for folder in folders:
        splits[folder] = _split(folder)
        place = next((i for i, part in enumerate(folder.parts) if part.lower() in SPLITS), len(folder.parts))
        levels[folder] = folder.parts[:place] + folder.parts[place + 1 :]
    while len({parts[0] for parts in levels.values() if parts}) == 1 and max(map(len, levels.values())) > 1:
        levels = {folder: parts[1:] for folder, parts in levels.items()}
    return splits, levels


def _split(folder: PurePosixPath) -> str:
    return next((SPLITS[part.lower()] for part in folder.parts if part.lower() in SPLITS), WHOLE)


def _ask(root: Path, found: Found, levels: dict[PurePosixPath, tuple[str, ...]]) -> None:
    deep = next(path for path in sorted(found.pictures) if len(levels[path.parent]) > 1)
    first = sorted({parts[0] for parts in levels.values() if parts}, key=natural)
    last = sorted({parts[-1] for parts in levels.values() if parts}, key=natural)
    raise DataError(
        f"{root}: folders stand in folders, as in {deep}: say which is the class. ",
        Argument("group_by", FOLDER),
        f": the outer one ({len(first)} classes: {_some(first)}), and pictures of one inner folder, such as a patient, "
        "stay on one side of a split. ",
        Argument("group_by", NO_GROUPS),
        f": the one around a picture ({len(last)} classes: {_some(last)})",
    )


def _check(root: Path, homes: dict[PurePosixPath, Home]) -> None:
    splits = {home.split for home in homes.values()}
    if WHOLE in splits and len(splits) > 1:
        without = next(str(folder) for folder, home in sorted(homes.items()) if home.split == WHOLE)
        raise DataError(
            f"{root}: some pictures are in split folders and some, such as those in {without}, are not; "
            "move them, or remove the split folders"
        )
    same: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for folder, home in homes.items():
        if home.group is None:
            same[home.split, home.label, ""].add(str(folder))
    if mixed := [sorted(folders) for folders in same.values() if len(folders) > 1]:
        raise DataError(f"{root}: {_some(mixed[0])} would be one class; give the folders different names")


# What is there.


def found_in(root: Path) -> Found:
    """The files of a folder or a tar file, whatever its folders mean."""
    with reading_errors(str(root)):
        return _archived(root) if root.is_file() else _on_disk(root)


def _on_disk(root: Path) -> Found:
    """The files of a tree; the digest is of all pictures' names, sizes and times."""
    found = Found({}, [], [], "")
    digest = hashlib.sha256(os.fsencode(root.resolve()))
    for folder, below, files in walk(root):
        inner = PurePosixPath(folder.relative_to(root).as_posix())
        before = len(found.pictures)
        for file in sorted(files):
            place = Place(folder / file)
            status = place.path.stat() if place.path.exists() else place.path.lstat()
            if _sorted_in(found, inner / file, place, stat.S_ISREG(status.st_mode)):
                digest.update(
                    f"{inner}/{file}:{status.st_size}:{status.st_mtime_ns}\n".encode(errors="surrogateescape")
                )
        if len(found.pictures) == before and not below and not _is_hidden(inner):
            found.empty.append(str(inner))
    return found._replace(fingerprint=digest.hexdigest())


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` through links, in order; a DataError for a link that leads in a circle."""
    places: dict[Path, tuple[int, int]] = {}
    for name, below, files in os.walk(root, followlinks=True):
        folder = Path(name)
        status = folder.stat()
        places[folder] = (status.st_dev, status.st_ino)
        if places[folder] in (places.get(parent) for parent in folder.parents):
            raise DataError(f"{folder}: a link leads to a folder that it stands in; remove the link")
        below.sort()
        yield folder, below, files


def _archived(path: Path) -> Found:
    """The files of a tar file, and of tar files in it; its own size and time are enough for the digest."""
    found, folders = Found({}, [], [], file_digest([path])), set()
    with tarfile.open(path, "r:") as archive:
        for name, member, start in _members(archive, 0):
            if member.isdir():
                folders.add(name)
            else:
                _sorted_in(found, name, Place(path, start + member.offset_data, member.size), member.isfile())
    filled = {parent for name in found.pictures for parent in name.parents}
    above = {parent for folder in folders for parent in folder.parents}
    found.empty.extend(sorted(str(f) for f in folders - filled - above if not _is_hidden(f)))
    return found


def _members(archive: tarfile.TarFile, start: int) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo, int]]:
    """(name, member, where its archive starts); a tar file in it is a folder of its name."""
    for member in map(plain_member, archive):
        name = PurePosixPath(member.name)
        file = archive.extractfile(member) if member.isfile() and name.suffix.lower() == ".tar" else None
        if file is None:
            yield name, member, start
            continue
        with tarfile.open(fileobj=file, mode="r:") as inner:
            for below, one, further in _members(inner, start + member.offset_data):
                yield name.with_suffix("") / below, one, further


def _sorted_in(found: Found, name: PurePosixPath, place: Place, is_file: bool) -> bool:
    """Put a file where it belongs; whether it is a picture."""
    if _is_hidden(name):
        reason: str | None = "a hidden file"
    elif not is_file and place.size is not None:
        reason = "a link or device in an archive"
    else:
        reason = None if name.suffix.lower() in SUFFIXES else no_picture(str(name), place)
    if reason is None:
        found.pictures[name] = place
    else:
        found.left_out.append(Skipped(str(name), reason))
    return reason is None


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


# In words.


def _why(found: Found) -> str:
    """The first file that is no picture, where there is one."""
    return f"; {found.left_out[0].where} is {found.left_out[0].reason}" if found.left_out else ""


def _tables(root: Path, found: Found) -> str:
    here = [skipped.where for skipped in found.left_out if skipped.where.endswith(TABLES)]
    return f", such as {root / here[0]}" if here else f" ({', '.join(TABLES)})"


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
