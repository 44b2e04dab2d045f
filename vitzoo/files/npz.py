"""Numpy archives."""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitzoo.files.archive import open_archive, words_of
from vitzoo.files.tensor_file import NUMPY_DTYPES, unreadable
from vitzoo.spec import Shape

DEFLATE_MOST = 1032  # no deflated byte stands for more (zlib's technical notes)
ARCHIVE_MOST = 100  # times its size an archive may unpack to, from `ARCHIVE_FREE` bytes on
ARCHIVE_FREE = 256 << 20
# What zipfile and numpy raise; a header is read as Python.
DAMAGED = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    tokenize.TokenError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


class NpzFile:
    """A numpy archive without pickled objects, read member by member.

    What its members declare is held against the size of the file before anything is unpacked.
    """

    notes = ()
    left: Mapping[str, str] = {}

    def __init__(self, path: Path, streamed: bool = False, eager: bool = False) -> None:
        self.path = path  # read member by member whatever is asked for: an archive cannot be mapped
        try:
            self.metadata: Mapping[str, str] = words_of(path)
            self._zip = open_archive(path)
            members = self._zip.infolist()
            self._bytes = path.stat().st_size
            self._check_sizes(members)
            headers = {member.filename.removesuffix(".npy"): self._header(member) for member in members}
        except DAMAGED as error:
            raise unreadable(path, "an npz", error) from None
        self.shapes = {key: shape for key, (shape, _) in headers.items()}
        self.dtypes = {key: dtype for key, (_, dtype) in headers.items()}

    def __len__(self) -> int:
        return self._bytes

    def _check_sizes(self, members: list[zipfile.ZipInfo]) -> None:
        names = [member.filename for member in members]
        if len(set(names)) < len(names):
            raise ValueError("two members have the same name")
        for member in members:
            if not member.filename.endswith(".npy"):
                raise ValueError(f"its member '{member.filename}' is not an array; expected names that end in .npy")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"'{member.filename}' is compressed in a way that numpy never uses")
            if member.compress_size > self._bytes or member.file_size > DEFLATE_MOST * (member.compress_size + 1):
                raise ValueError(f"'{member.filename}' declares {member.file_size:,} bytes, more than it could hold")
        whole = sum(member.file_size for member in members)
        if whole > max(ARCHIVE_FREE, ARCHIVE_MOST * self._bytes):
            raise ValueError(f"it would unpack to {whole:,} bytes, more than {ARCHIVE_MOST} times its own size")

    def _header(self, member: zipfile.ZipInfo) -> tuple[Shape, torch.dtype]:
        name = member.filename.removesuffix(".npy")
        with self._zip.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"'{name}' is in version {version} of the npy format; expected 1.0 or 2.0")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            start = file.tell()
        if dtype.hasobject:
            raise ValueError(f"'{name}' holds pickled objects, which are never loaded")
        if dtype.byteorder == ">":
            raise ValueError(f"'{name}' is big-endian ({dtype.str}); expected {dtype.newbyteorder('<').str}")
        if dtype.name not in NUMPY_DTYPES or dtype != np.dtype(dtype.str):
            raise ValueError(f"'{name}' is of type {dtype}, and torch has no such tensors")
        if any(size < 0 for size in shape) or start + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"'{name}' should be {list(shape)} of {dtype}, and has {member.file_size - start:,} bytes")
        return tuple(shape), NUMPY_DTYPES[dtype.name]

    def read(self, key: str) -> Tensor:
        try:
            with self._zip.open(f"{key}.npy") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except DAMAGED as error:
            raise unreadable(self.path, "an npz", error) from None
        if self.dtypes[key] is torch.bfloat16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).contiguous()
        return torch.from_numpy(array).contiguous()
