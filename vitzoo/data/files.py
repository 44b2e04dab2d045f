"""Pictures with their classes, wherever they are: folders, tar files, Hugging Face datasets, WebDataset shards.

timm's readers do the reading. What is added is what they leave open: splits, folders that would be merged or missed
without a word, and one indexed form for all sources, so that pictures can be counted, split and drawn again by number.
"""

import hashlib
import os
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitzoo.data.pictures import SPLITS, SUFFIXES, WHOLE, Pictures, Skipped, file_digest, plain_member, reading_errors
from vitzoo.errors import DataError


def open_files(root: Path) -> dict[str, Pictures]:
    """A folder or a tar file; the class of a picture is the folder that it stands in."""
    if not root.exists():
        raise DataError(f"{root}: there is no such folder or file; give a folder, a .tar file, hfds/NAME or wds/FOLDER")
    if root.is_file() and root.suffix != ".tar":
        raise DataError(f"{root}: expected a folder or a .tar file, found another file; unpack it, or pack it as .tar")
    with reading_errors(str(root)):
        folders, fingerprint = _archived(root) if root.is_file() else _on_disk(root)
    if not any(folders.values()):
        raise DataError(f"{root}: no pictures found; expected a folder for each class with {', '.join(SUFFIXES)} in it")
    if empty := sorted(str(folder) for folder, count in folders.items() if not count):
        raise DataError(f"{root}: no pictures in {_some(empty)}; add some, or remove the folder")
    with reading_errors(str(root)), _read_suffixes():
        from timm.data.readers import create_reader

        # An open archive that is shared by forked workers would be read from the wrong place.
        reader = create_reader("", str(root), **({"cache_tarfiles": False} if root.is_file() else {}))
    return _by_split(root, reader, fingerprint)


def _by_split(root: Path, reader: Any, fingerprint: str) -> dict[str, Pictures]:
    paths = [PurePosixPath(Path(name).as_posix()) for name in reader.filenames()]
    kept = [i for i, path in enumerate(paths) if not _is_hidden(path)]
    if outside := [str(paths[i]) for i in kept if len(paths[i].parts) < 2]:
        raise DataError(f"{root}: expected each picture in the folder of its class, found {_some(outside)} outside")
    homes: dict[tuple[str, str], set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        *above, label, _ = paths[i].parts
        split = next((SPLITS[part.lower()] for part in above if part.lower() in SPLITS), WHOLE)
        homes[split, label].add(str(paths[i].parent))
        places[split].append(i)
    if WHOLE in places and len(places) > 1:
        raise DataError(
            f"{root}: some pictures are in split folders and some, such as {paths[places[WHOLE][0]]}, are not; "
            "move them, or remove the split folders"
        )
    if mixed := [sorted(folders) for folders in homes.values() if len(folders) > 1]:
        raise DataError(f"{root}: {_some(mixed[0])} would be one class; give the folders different names")
    order: dict[str, int] = getattr(reader, "class_to_idx", None) or reader.class_name_to_idx
    classes = tuple(sorted({label for _, label in homes}, key=order.__getitem__))
    index = {name: place for place, name in enumerate(classes)}
    hidden = tuple(Skipped(str(path), "a hidden file") for path in paths if _is_hidden(path))
    return {
        split: Pictures(
            str(root),
            reader,
            classes,
            [str(paths[i]) for i in chosen],
            np.array([index[paths[i].parts[-2]] for i in chosen], dtype=np.int64),
            np.array(chosen, dtype=np.int64),
            fingerprint,
            hidden,
        )
        for split, chosen in places.items()
    }


@contextmanager
def _read_suffixes() -> Iterator[None]:
    """timm reads .png and .jpg alone unless told otherwise, for the whole process."""
    from timm.data.readers import get_img_extensions, set_img_extensions

    before = get_img_extensions()
    set_img_extensions(SUFFIXES)
    try:
        yield
    finally:
        set_img_extensions(before)


def _on_disk(root: Path) -> tuple[dict[PurePosixPath, int], str]:
    """The folders at the ends of a tree and how many pictures each holds, with a digest of all names, sizes, times."""
    counts: dict[PurePosixPath, int] = {}
    digest = hashlib.sha256(str(root.resolve()).encode())
    places: dict[Path, tuple[int, int]] = {}
    for folder, below, files in os.walk(root, followlinks=True):
        found = Path(folder).stat()
        places[Path(folder)] = (found.st_dev, found.st_ino)
        if places[Path(folder)] in (places.get(parent) for parent in Path(folder).parents):
            raise DataError(f"{folder}: a link leads to a folder that it stands in; remove the link")
        below.sort()
        inner = PurePosixPath(Path(folder).relative_to(root).as_posix())
        if _is_hidden(inner):
            continue
        pictures = sorted(file for file in files if Path(file).suffix.lower() in SUFFIXES)
        for file in pictures:
            path = Path(folder, file)
            stat = path.stat() if path.exists() else path.lstat()  # a link to nothing is a picture that cannot be read
            digest.update(f"{inner}/{file}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
        if pictures or not below:
            counts[inner] = len(pictures)
    return counts, digest.hexdigest()


def _archived(path: Path) -> tuple[dict[PurePosixPath, int], str]:
    """The same of a tar file, whose own size and time are enough for the digest."""
    counts: dict[PurePosixPath, int] = {}
    with tarfile.open(path, "r:") as archive:
        for member in map(plain_member, archive):
            inner = PurePosixPath(member.name)
            if member.isdir():
                counts.setdefault(inner, 0)
            elif member.isfile() and inner.suffix.lower() in (*SUFFIXES, ".tar"):
                counts[inner.parent] = counts.get(inner.parent, 0) + 1
    above = {parent for folder in counts for parent in folder.parents}
    ends = {f: count for f, count in counts.items() if (count or f not in above) and not _is_hidden(f)}
    return ends, file_digest([path])


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
