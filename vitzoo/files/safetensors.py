"""Safetensors files."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.files.tensor_file import DTYPES, MappedFile, unreadable
from vitzoo.spec import Shape

LARGEST_HEADER = 32 << 20  # bytes; a hundred thousand tensors have half of it


class SafetensorsFile(MappedFile):
    """A safetensors file."""

    notes = ()
    left: Mapping[str, str] = {}
    metadata: Mapping[str, str]
    shapes: dict[str, Shape]
    _file: Any

    def _map(self) -> None:
        try:
            with self.path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
            if size > LARGEST_HEADER:
                raise OSError(f"header too large: {size:,} bytes; expected at most {LARGEST_HEADER:,}")
            self._file = safe_open(self.path, framework="pt")
        except (SafetensorError, OSError, MemoryError) as error:  # where there is no room to map it
            raise unreadable(self.path, "a safetensors", error) from None
        self.metadata = self._file.metadata() or {}
        self.shapes = {key: tuple(self._file.get_slice(key).get_shape()) for key in self._file.keys()}  # noqa: SIM118
        vars(self).pop("dtypes", None)  # of a file whose place this one took
        self._memory = self._whole() if self._eager else None

    @cached_property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        names = {key: self._file.get_slice(key).get_dtype() for key in self.shapes}
        for key, name in names.items():
            if name not in DTYPES:
                known = ", ".join(DTYPES)
                raise WeightsError(f"{self.path}: '{key}' is of type {name}; convert it to one of {known}")
        return {key: DTYPES[name] for key, name in names.items()}

    def _whole(self) -> dict[str, Tensor]:
        """All tensors, as views of one block of memory that is filled from the beginning of the file to its end."""
        memory = torch.empty(len(self), dtype=torch.uint8)
        with self.path.open("rb", buffering=0) as file:
            view, done = memoryview(memory.numpy()), 0  # type: ignore[arg-type]
            while count := file.readinto(view[done:]):
                done += count
        start = 8 + int.from_bytes(bytes(view[:8]), "little")
        header = json.loads(bytes(view[8:start]))  # `safe_open` has checked it
        tensors = {}
        for key, shape in self.shapes.items():
            first, last = header[key]["data_offsets"]
            part = memory[start + first : start + last]
            aligned = part.storage_offset() % self.dtypes[key].itemsize == 0
            tensors[key] = (part if aligned else part.clone()).view(self.dtypes[key]).reshape(shape)
        return tensors

    def read(self, key: str) -> Tensor:
        if self._memory is not None:
            return self._memory[key]
        if self._streamed:
            self._spend(self.shapes[key], self.dtypes[key])
        return self._file.get_tensor(key)  # type: ignore[no-any-return]
