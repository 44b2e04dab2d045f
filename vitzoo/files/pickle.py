"""Torch's own files. They are pickles, of which only what holds values and does nothing is unpickled."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.files.archive import open_archive, words_of
from vitzoo.files.harmless import Stored
from vitzoo.files.tensor_file import MappedFile, unreadable
from vitzoo.files.unpickle import Bounded, Refused, Unpickler
from vitzoo.files.unwrap import unwrapped

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER, at the beginning of files from before archives
RECORD_HEADER = 30  # bytes before the name of a member, which end with the lengths of the name and what follows it


class PickleFile(MappedFile):
    """A `.pth`, `.pt` or `.bin` file; old ones, which are no archives, are not mapped.

    `wrapper` names the entry that holds the state dict, where another than `unwrapped` takes is wanted.
    """

    left: Mapping[str, str] = {}

    def __init__(self, path: Path, streamed: bool = False, eager: bool = False, wrapper: str | None = None) -> None:
        self._wrapper = wrapper
        super().__init__(path, streamed, eager)
        self.shapes = {key: tuple(tensor.shape) for key, tensor in self._state.items()}
        self.dtypes = {key: tensor.dtype for key, tensor in self._state.items()}

    def _map(self) -> None:
        archive = _is_torch_archive(self.path)
        self._streamed = self._streamed and archive
        self.metadata: Mapping[str, str] = _words(self.path) if archive else {}
        self._state, self.notes = unwrapped(unpickled(self.path, self._eager), self._wrapper, self.path)

    def read(self, key: str) -> Tensor:
        if self._streamed:
            self._spend(self.shapes[key], self.dtypes[key])
        return self._state[key]


def _words(path: Path) -> dict[str, str]:
    try:
        return words_of(path)
    except (ValueError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise unreadable(path, "a torch", error) from None


def unpickled(path: Path, eager: bool = False) -> Any:
    """What torch.save wrote, with stand-ins for all that is neither tensors nor plain values.

    Raises:
        WeightsError: a damaged file, or one that asks for code.
    """
    try:
        return _of_archive(path, eager) if _is_torch_archive(path) else _of_old_file(path)
    except Refused as refused:
        raise WeightsError(
            f"{path} holds more than tensors and was not loaded, because that could run code: it asks for "
            f"{refused}. Where you trust the file, take its state dict out: found = torch.load(FILE, "
            "weights_only=False), then torch.save(found.state_dict(), NEW) of a whole module, or of the entry that "
            "holds the weights, such as torch.save(found['model'], NEW)"
        ) from None
    except WeightsError:
        raise
    except Exception as error:  # an unpickler meets whatever stands in a file that is none of its own
        raise unreadable(path, "a torch", error) from None


def _of_archive(path: Path, eager: bool) -> Any:
    """The content of an archive whose tensors lie in members of their own."""
    whole = _in_memory(path) if eager else torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    with open_archive(path) as archive, path.open("rb") as file:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        root, stored = name.removesuffix("data.pkl"), dict[str, Stored]()
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian; expected little-endian")

        def place(pid: Any) -> Stored:
            _, dtype, key, _, count = pid
            if key not in stored:
                member = archive.getinfo(f"{root}data/{key}")
                size = _size(dtype, count)
                if size > member.file_size:
                    raise ValueError(f"its record {key} has {member.file_size:,} bytes, and {size:,} are declared")
                begin = _begin(file, member)
                memory = whole[begin : begin + size]
                if memory.nbytes() != size:
                    raise ValueError(f"its record {key} reaches beyond the end of the file")
                aligned = memory.data_ptr() % dtype.itemsize == 0
                stored[key] = Stored(memory if aligned else memory.clone(), dtype)
            return stored[key]

        with archive.open(name) as pickled:
            return Unpickler(Bounded(pickled), place).load()


def _of_old_file(path: Path) -> Any:
    """The content of a file from before torch wrote archives: five pickles, then the bytes of each storage.

    Raises:
        ValueError: it declares more than it could hold, or leaves some of it out.
    """
    stored: dict[str, Stored] = {}
    with path.open("rb") as file:
        left, source = path.stat().st_size, Bounded(file)

        def place(pid: Any) -> Stored:
            nonlocal left
            _, dtype, key, _, count, view = pid
            if key not in stored:
                size = _size(dtype, count)
                left -= size
                if left < 0:
                    raise ValueError("it declares more bytes of tensors than it could hold")
                stored[key] = Stored(torch.empty(size, dtype=torch.uint8).untyped_storage(), dtype)
            if view is None:
                return stored[key]
            _, begin, count = view
            begin, size = _size(dtype, begin), _size(dtype, count)
            return Stored(stored[key].memory[begin : begin + size], dtype)

        if Unpickler(source).load() != MAGIC:
            raise ValueError("it does not begin as a file of torch's does")
        _, about = Unpickler(source).load(), Unpickler(source).load()
        if about["little_endian"] is not True:
            raise ValueError("its numbers are big-endian; expected little-endian")
        state, listed = Unpickler(source, place).load(), Unpickler(source).load()
        if set(listed) != stored.keys():
            raise ValueError("it leaves out bytes of tensors that it declares")
        for key in listed:
            _fill(file, stored[key])
    return state


def _fill(file: IO[bytes], stored: Stored) -> None:
    count = int.from_bytes(file.read(8), "little")
    memory = torch.empty(0, dtype=torch.uint8).set_(stored.memory)
    if count * stored.dtype.itemsize != len(memory) or file.readinto(memory.numpy()) != len(memory):  # type: ignore[attr-defined]
        raise ValueError("a tensor's bytes are not as many as it declares")


def _size(dtype: Any, count: Any) -> int:
    """Bytes of so many elements."""
    if not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
        raise ValueError("it declares a tensor of no size")
    return count * dtype.itemsize


def _begin(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin, by the header in front of it."""
    file.seek(member.header_offset)
    head = file.read(RECORD_HEADER)
    if len(head) < RECORD_HEADER or not head.startswith(b"PK\3\4"):
        raise ValueError(f"its record {member.filename} is not where its directory says")
    return member.header_offset + RECORD_HEADER + sum(int.from_bytes(head[n : n + 2], "little") for n in (26, 28))


def _in_memory(path: Path) -> torch.UntypedStorage:
    memory = torch.empty(path.stat().st_size, dtype=torch.uint8)
    with path.open("rb", buffering=0) as file:
        view, done = memoryview(memory.numpy()), 0  # type: ignore[arg-type]
        while count := file.readinto(view[done:]):
            done += count
    return memory.untyped_storage()


def _is_torch_archive(path: Path) -> bool:
    """Whether a torch file is a zip archive that may be mapped; TorchScript is refused."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                return False
        with open_archive(path) as archive:
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
