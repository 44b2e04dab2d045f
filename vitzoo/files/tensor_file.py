"""What every kind of checkpoint file gives: names, shapes and types first, then tensors one by one."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from vitzoo.errors import MissingFile, WeightsError
from vitzoo.spec import Shape

# As safetensors names them, and in its order of storage: wide types first, so that every tensor lies aligned.
DTYPES: dict[str, torch.dtype] = {
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F32": torch.float32,
    "U32": torch.uint32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

# numpy has no bfloat16: JAX programs, big_vision among them, leave its bytes behind as a void type of two bytes.
NUMPY_DTYPES: dict[str, torch.dtype] = {
    "void16": torch.bfloat16,
    "bool": torch.bool,
    **{f"float{bits}": getattr(torch, f"float{bits}") for bits in (16, 32, 64)},
    **{f"{sign}int{bits}": getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

LONGEST_REASON = 300  # characters: a reader may quote what it found
WINDOW = 128 << 20  # bytes of a streamed file that may be resident before it is mapped anew


class TensorFile(Protocol):
    """A checkpoint whose tensors are read one by one."""

    path: Path

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    @property
    def dtypes(self) -> Mapping[str, torch.dtype]: ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know of the file: the wrapper taken, and what was left aside."""
        ...

    @property
    def left(self) -> Mapping[str, str]:
        """Tensors of the file that are not given, each with the reason."""
        ...

    def __len__(self) -> int:
        """Bytes on disk."""
        ...

    def read(self, key: str) -> Tensor:
        """One tensor on the CPU."""
        ...


class MappedFile(ABC):
    """A file mapped into memory: a tensor costs nothing until it is used, and its pages stay as long as the mapping.

    A streamed file is mapped anew whenever `WINDOW` bytes were read, so that the pages of tensors that the caller has
    let go of are let go of too. An eager file is read into memory as a whole instead.
    """

    def __init__(self, path: Path, streamed: bool, eager: bool) -> None:
        self.path = path
        self._eager = eager
        self._streamed = streamed
        self._left = WINDOW
        while not self._is_of_one_file():
            pass

    @abstractmethod
    def _map(self) -> None:
        """Open the file, or read it into memory; called again, open it anew."""

    def _is_of_one_file(self) -> bool:
        """Map the file; false if another took its place meanwhile, so that parts of both may have been read."""
        self._stamp = self._stat()
        try:
            self._map()
        except Exception:
            if self._stat() == self._stamp:
                raise
        return self._stat() == self._stamp

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:  # it was removed or replaced meanwhile
            raise unreadable(self.path, "a weights", error) from None
        return found.st_size, found.st_ino, found.st_mtime_ns

    def __len__(self) -> int:
        return self._stamp[0]

    def _spend(self, shape: Shape, dtype: torch.dtype) -> None:
        self._left -= math.prod(shape) * dtype.itemsize
        if self._left < 0:
            self._map()
            if self._stat() != self._stamp:
                raise WeightsError(f"{self.path} was changed while it was read; start again")
            self._left = WINDOW


def some(names: Iterable[object], most: int = 8) -> str:
    """The first few of a list, and how many more there are."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def unreadable(path: Path, kind: str, error: Exception) -> WeightsError:
    """Why a file cannot be read: what it is instead, where its first bytes tell, and else what its reader said."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return MissingFile(f"{path} was removed while it was read; start again")
    except OSError as denied:
        return WeightsError(f"{path} cannot be read: {denied.strerror}; check its permissions")
    if size == 0:
        reason = "it is empty; fetch or copy it again"
    elif head.startswith(b"version https://git-lfs"):
        reason = "this is a Git LFS pointer, not the file itself; fetch the real file with `git lfs pull`"
    elif head.startswith(b"<") and b"\0" not in head:
        reason = "this is a web page, a login or error page; fetch the file again, from its direct address"
    else:
        said = str(error).splitlines()[0][:LONGEST_REASON] if str(error).strip() else type(error).__name__
        reason = f"{said}; fetch or copy it again"
    return WeightsError(f"{path} ({size:,} bytes) cannot be read as {kind} file: {reason}")
