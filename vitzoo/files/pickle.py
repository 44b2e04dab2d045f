"""Torch's own files. They are pickles, of which only what holds values and does nothing is unpickled."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.files.harmless import HARMLESS
from vitzoo.files.tensor_file import MappedFile, unreadable
from vitzoo.files.unwrap import unwrapped


class PickleFile(MappedFile):
    """A `.pth`, `.pt` or `.bin` file, read with `weights_only=True`; old ones, which are no archives, are not mapped.

    `wrapper` names the entry that holds the state dict, where another than `unwrapped` takes is wanted.
    """

    metadata: Mapping[str, str] = {}
    left: Mapping[str, str] = {}

    def __init__(self, path: Path, streamed: bool = False, eager: bool = False, wrapper: str | None = None) -> None:
        self._wrapper = wrapper
        super().__init__(path, streamed, eager)
        self.shapes = {key: tuple(tensor.shape) for key, tensor in self._state.items()}
        self.dtypes = {key: tensor.dtype for key, tensor in self._state.items()}

    def _map(self) -> None:
        archive = _is_torch_archive(self.path)
        self._streamed = self._streamed and archive
        try:
            state = _load(self.path, map_location="cpu", mmap=not self._eager) if archive else _load_old(self.path)
        except Exception as error:  # an unpickler meets whatever stands in a file that is none of its own
            refused = re.search(r"GLOBAL (\S*\w)\s", str(error))  # where the file breaks off there is no name
            if refused is None:
                raise unreadable(self.path, "a torch", error) from None
            raise WeightsError(
                f"{self.path} holds more than tensors and was not loaded, because that could run code: it asks for "
                f"{refused[1]}. Where you trust the file, take its state dict out: found = torch.load(FILE, "
                "weights_only=False), then torch.save(found.state_dict(), NEW) of a whole module, or of the entry that "
                "holds the weights, such as torch.save(found['model'], NEW)"
            ) from None
        self._state, self.notes = unwrapped(state, self._wrapper, self.path)

    def read(self, key: str) -> Tensor:
        if self._streamed:
            self._spend(self.shapes[key], self.dtypes[key])
        return self._state[key]


def _load(path: Path, **how: Any) -> Any:
    with torch.serialization.safe_globals(HARMLESS):
        if path.suffix != ".safetensors":
            return torch.load(path, weights_only=True, **how)
        with path.open("rb") as file:  # torch goes by this suffix; an open file has none, and cannot be mapped
            return torch.load(file, weights_only=True, **{**how, "mmap": None})


def _load_old(path: Path) -> Any:
    """The content of a file from before torch wrote archives.

    Such a file lists which of its storages it fills, and torch believes it: what is not on the list, or lies beyond
    the end of its storage, would show what this process had in that memory before. So torch gets memory that was
    filled here and cannot grow, and what is still as it was filled has not been read.

    Raises:
        ValueError: it declares more than it could hold, or leaves some of it out.
    """
    held: dict[int, list[np.ndarray[Any, Any]]] = {0: [], 255: []}

    def filled(value: int) -> Callable[[torch.UntypedStorage, str], torch.UntypedStorage]:
        left = path.stat().st_size

        def place(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
            nonlocal left
            left -= storage.nbytes()
            if left < 0:
                raise ValueError("it declares more bytes of tensors than it could hold")
            memory = np.full(storage.nbytes(), value, np.uint8)
            held[value].append(memory)
            return torch.from_numpy(memory).untyped_storage()

        return place

    state = _load(path, map_location=filled(0))
    if not all(memory.any() for memory in held[0]):
        _load(path, map_location=filled(255))
        if not all(map(np.array_equal, held[0], held[255])):
            raise ValueError("it leaves out bytes of tensors that it declares")
    return state


def _is_torch_archive(path: Path) -> bool:
    """Whether a torch file is a zip archive that may be mapped; TorchScript is refused."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return False
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable(path, "a torch", error) from None
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise WeightsError(
            f"{path} is a TorchScript archive, a program together with its weights, and is not run; expected a state "
            "dict: where you trust the file, save torch.jit.load(path).state_dict(), best as safetensors"
        )
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise WeightsError(f"{path}: '{packed[0]}' was compressed after torch wrote it; expected the file as written")
    return True
