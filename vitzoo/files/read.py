"""Checkpoint files of every kind, opened by what is in them, whatever their names end in."""

import os
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from vitzoo.errors import Argument, MissingFile, WeightsError, shown
from vitzoo.files.archive import open_archive
from vitzoo.files.npz import NpzFile
from vitzoo.files.pickle import PickleFile
from vitzoo.files.safetensors import SafetensorsFile
from vitzoo.files.sharded import INDEX, ShardedFile
from vitzoo.files.tensor_file import TensorFile, some, unreadable
from vitzoo.spec import Shape

IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
READERS: dict[str, Callable[[Path, bool, bool], TensorFile]] = {
    ".safetensors": SafetensorsFile,
    ".npz": NpzFile,
    ".pth": PickleFile,
    ".pt": PickleFile,
    ".bin": PickleFile,
}
"""By suffix: what is written under it, and what a file should have been that cannot be read."""
LONGEST_NAME = 1000  # characters; the longest published name of a tensor has a hundred
MOST_TENSORS = 100_000  # the largest published ViT has a thousand, with the state of its optimiser a few
SHARDED = (".safetensors", ".bin")


class Reading(TypedDict, total=False):
    """How a file is read; see `open_tensors`."""

    streamed: bool
    eager: bool
    wrapper: str | None
    drop: Sequence[str]


class PartOfFile:
    """A file without some of its tensors."""

    def __init__(self, file: TensorFile, left: Mapping[str, str]) -> None:
        self._file, self.path, self.metadata, self.notes = file, file.path, file.metadata, file.notes
        self.left: Mapping[str, str] = {**file.left, **left}
        self.shapes: dict[str, Shape] = {key: shape for key, shape in file.shapes.items() if key not in left}

    @property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        return self._file.dtypes

    def __len__(self) -> int:
        return len(self._file)

    def read(self, key: str) -> Tensor:
        return self._file.read(key)


def open_tensors(
    path: Path,
    *,
    wrapper: str | None = None,
    drop: Sequence[str] = (),
    streamed: bool = False,
    eager: bool = False,
) -> TensorFile:
    """Open a checkpoint: a file, the index of several, or a folder that holds one of `IN_A_FOLDER`.

    `wrapper` names the entry of a torch file that holds the state dict ("student", "model.encoder"). `drop` names
    tensors to leave out, with `*` for any text. A `streamed` file keeps no more than about `WINDOW` bytes of itself in
    memory, if its tensors are let go of one after the other. An `eager` file is read from its beginning to its end at
    once, which is faster where a mapped one is slow: on a network disk.

    Raises:
        WeightsError: no such file, one that is of no known kind, or an entry or a tensor that it does not have.
    """
    path = _file_at(path)
    if path.name.endswith(tuple(f"{suffix}{INDEX}" for suffix in SHARDED)):
        found: TensorFile = ShardedFile(path, lambda shard: _reader(shard)(shard, streamed, eager))
        reader = None
    else:
        reader = _reader(path)
        found = PickleFile(path, streamed, eager, wrapper) if reader is PickleFile else reader(path, streamed, eager)
    if wrapper is not None and reader is not PickleFile:
        raise WeightsError(
            f"{path.name} has no wrapper '{wrapper}', which only files that torch wrote have; leave ",
            Argument("wrapper"),
            " out",
        )
    if len(found.shapes) > MOST_TENSORS:
        raise WeightsError(
            f"{path} holds {len(found.shapes):,} tensors, and no model more than {MOST_TENSORS:,}; save the model alone"
        )
    if len(longest := max(found.shapes, key=len, default="")) > LONGEST_NAME:
        raise WeightsError(
            f"{path} has a tensor whose name has {len(longest):,} characters, {shown(longest)}; expected at most "
            f"{LONGEST_NAME:,}"
        )
    left = left_out(found.shapes, drop, str(path))
    return PartOfFile(found, left) if left else found


def left_out(keys: Mapping[str, Shape], drop: Sequence[str], where: str) -> dict[str, str]:
    """The tensors that `drop` names, exactly or with `*`; a WeightsError for a name of none."""
    left: dict[str, str] = {}
    for name in drop:
        found = [key for key in keys if key == name or ("*" in name and fnmatchcase(key, name))]
        if not found:
            near = get_close_matches(name, keys, 1)
            way = Argument("drop", [near[0] if near else next(iter(keys), "")])
            raise WeightsError(f"{where} has no tensor '{name}' to leave out; name one as it stands there: ", way)
        left |= dict.fromkeys(found, "left out on purpose: it was named in drop")
    return left


def _file_at(path: Path) -> Path:
    """The file that a path means, which may be in the folder that it names."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            path = _in_folder(path)
            mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of a name that no file can have
        raise MissingFile(f"no weights file at {path}; give the path of one, or of a folder that holds one") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        raise WeightsError(f"{path} is a {kind}; expected a file: copy what it gives into one")
    return path


def _reader(path: Path) -> Callable[[Path, bool, bool], TensorFile]:
    """What reads a file: its content decides, and where it tells nothing, its suffix says what it should have been."""
    found = _by_content(path) or READERS.get(path.suffix)
    if found is None:
        kinds = "its content is neither safetensors nor a numpy archive nor a file of torch's"
        raise unreadable(path, "a weights", ValueError(kinds))
    return found


def _by_content(path: Path) -> Callable[[Path, bool, bool], TensorFile] | None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head.startswith(b"PK\x03\x04"):
            with open_archive(path) as archive:
                names = archive.namelist()
            if any(name.endswith("/data.pkl") for name in names):
                return PickleFile
            return NpzFile if names and all(name.endswith(".npy") for name in names) else None
        # A header of JSON, after its length as eight bytes.
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
            return SafetensorsFile
        return PickleFile if head.startswith(b"\x80") and head[1:2] <= b"\x05" else None
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def _in_folder(folder: Path) -> Path:
    held = sorted(os.listdir(folder))  # noqa: PTH208 (names are all that is needed)
    for name in IN_A_FOLDER:
        if name in held:
            return folder / name
    raise WeightsError(
        f"{folder} is a folder without weights; expected one of {', '.join(IN_A_FOLDER)} in it, "
        f"found {some(held) or 'nothing'}"
    )
