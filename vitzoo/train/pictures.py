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
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitzoo.errors import DataError
from vitzoo.train.bands import load_bands
from vitzoo.transform import MODES, Pixels, load_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".npy")
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
WHOLE = "all"
"""The split of data that has none."""


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

    def load(self, i: int, in_chans: int = 3) -> Image.Image | Pixels:
        """The i-th picture, upright, mode RGB or L, or an array of other channels; an ImageError if it is damaged."""
        file, _ = self.reader[int(self.numbers[i])]
        with file:
            return load_image(file, in_chans) if in_chans in MODES else load_bands(file, self.names[i], in_chans)

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


def open_splits(source: str | os.PathLike[str]) -> dict[str, Pictures]:
    """The splits of a data set: "train", "val" and "test", those there are, or "all" if it is not split.

    `source` is a folder of class folders, or of split folders with class folders in them; a tar file laid out like
    one; `hfds/NAME` for a Hugging Face dataset; or `wds/FOLDER` and `wds/train-{000..009}.tar` for WebDataset shards.
    Settings of timm's readers may follow: `hfds/NAME?input_key=img&target_key=fine_label`.

    Raises:
        DataError: nothing there, no pictures, an empty class, pictures outside of class folders, two folders that
            would be one class, pictures both in and outside of split folders.
    """
    kind, _, rest = str(source).partition("/")
    if kind.lower() == "hfds":
        from vitzoo.train.hfds import open_dataset

        return open_dataset(rest)
    if kind.lower() == "wds":
        from vitzoo.train.shards import open_shards

        return open_shards(rest)
    return _from_files(Path(source))


def first_of(splits: dict[str, Pictures], *wanted: str) -> tuple[str, Pictures]:
    """The first of the `wanted` splits that there is, and its name; else a DataError."""
    for name in wanted:
        if name in splits:
            return name, splits[name]
    where, expected = next(iter(splits.values())).where, " or ".join(name for name in wanted if name != WHOLE)
    raise DataError(f"{where}: expected split {expected}, found {', '.join(splits)}; name another split or path")


def _from_files(root: Path) -> dict[str, Pictures]:
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
        raise DataError(f"{root}: some pictures are in split folders and some, such as {paths[places[WHOLE][0]]}, not")
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
def reading_errors(where: str, needs: str | None = None) -> Iterator[None]:
    """What readers raise becomes one DataError that names the source."""
    try:
        yield
    except ImportError as error:
        raise DataError(f"{where}: {error}; pip install {needs}") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, tarfile.TarError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: cannot be read: {reason}; check that it is whole and laid out as expected") from None


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
    for folder, below, files in os.walk(root, followlinks=True):
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
        for member in archive:
            inner = PurePosixPath(member.name)
            if member.isdir():
                counts.setdefault(inner, 0)
            elif member.isfile() and inner.suffix.lower() in (*SUFFIXES, ".tar"):
                counts[inner.parent] = counts.get(inner.parent, 0) + 1
    above = {parent for folder in counts for parent in folder.parents}
    ends = {f: count for f, count in counts.items() if (count or f not in above) and not _is_hidden(f)}
    return ends, file_digest([path])


def file_digest(paths: Sequence[Path]) -> str:
    """Changes when one of the files is another, by name, size or time."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
