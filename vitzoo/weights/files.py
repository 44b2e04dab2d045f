"""Checkpoint files: names and shapes first, tensors on demand, native files written atomically."""

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.spec import Shape

WRAPPERS = ("state_dict", "model")


class TensorFile(Protocol):
    """A checkpoint whose tensors are read one by one."""

    path: Path

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def read(self, key: str) -> Tensor:
        """One tensor on the CPU."""
        ...


class SafetensorsFile:
    """A safetensors file, mapped into memory: a tensor costs nothing until it is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file: Any = safe_open(path, framework="pt")
            self._file = file
            self.metadata: Mapping[str, str] = file.metadata() or {}
            names = file.keys()
            self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, "safetensors", error) from None

    def read(self, key: str) -> Tensor:
        return self._file.get_tensor(key)  # type: ignore[no-any-return]


class NpzFile:
    """A numpy archive without pickled objects."""

    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = np.load(path, allow_pickle=False)
            if not isinstance(self._file, np.lib.npyio.NpzFile):
                raise ValueError("a single array, not an archive of named arrays")
            self.shapes = {name: self._shape(name) for name in self._file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise _unreadable(path, "npz", error) from None

    def _shape(self, name: str) -> Shape:
        with self._file.zip.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(member)
        if dtype.hasobject:
            raise ValueError(f"'{name}' holds pickled objects, which are never loaded")
        if dtype.kind not in "fiub":
            raise ValueError(f"'{name}' is of type {dtype}, and torch has no such tensors")
        return tuple(shape)

    def read(self, key: str) -> Tensor:
        return torch.from_numpy(self._file[key])


class PickleFile:
    """A `.pth`, `.pt` or `.bin` file, read with `weights_only=True` and mapped into memory where torch can."""

    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except UnpicklingError as error:
            raise WeightsError(
                f"{path} holds more than tensors and was not loaded, because that could run code: "
                f"{str(error).splitlines()[0]}; save its state dict alone, best as safetensors"
            ) from None
        except (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
            # The legacy unpickler meets whatever stands in a file that is none of its own.
            raise _unreadable(path, "torch", error) from None
        for wrapper in WRAPPERS:
            if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
                state = state[wrapper]
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise WeightsError(f"{path} holds no state dict: expected a mapping from names to tensors")
        self._state: dict[str, Tensor] = state
        self.shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}

    def read(self, key: str) -> Tensor:
        return self._state[key]


READERS: dict[str, Callable[[Path], TensorFile]] = {
    ".safetensors": SafetensorsFile,
    ".npz": NpzFile,
    ".pth": PickleFile,
    ".pt": PickleFile,
    ".bin": PickleFile,
}


def open_tensors(path: Path) -> TensorFile:
    """Open a checkpoint by its suffix.

    Raises:
        WeightsError: no such file, an unknown suffix, or a file that is not what its suffix says.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}")
    if path.suffix not in READERS:
        raise WeightsError(f"{path.name} has an unknown suffix; expected one of {', '.join(READERS)}")
    return READERS[path.suffix](path)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that is either whole or not there."""
    ready = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with replacing(path) as partial:
        save_file(ready, partial, dict(metadata))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if the block ends well, and is removed if not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_metadata(path: Path) -> dict[str, object] | None:
    """What a native file says about itself; None for another kind of file."""
    text = open_tensors(path).metadata.get("vitzoo") if path.suffix == ".safetensors" else None
    if text is None:
        return None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path}: the metadata of this native file cannot be read: {error}") from None
    return data if isinstance(data, dict) else None


def _unreadable(path: Path, kind: str, error: Exception) -> WeightsError:
    size = path.stat().st_size
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return WeightsError(f"{path} ({size:,} bytes) cannot be read as a {kind} file: {reason}; fetch or copy it again")
