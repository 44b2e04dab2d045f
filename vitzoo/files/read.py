"""Checkpoint files of every kind: names, shapes and types first, then tensors one by one."""

import argparse
import json
import math
import os
import re
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitzoo.errors import WeightsError
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

# Where training programs put the state dict. Of two that are there the earlier counts: weights before their running
# mean under the same program, teacher and target encoder before what is trained against them, as the authors evaluate.
WRAPPERS = ("state_dict", "model", "teacher", "target_encoder", "student", "encoder", "model_ema", "module")
DEEPEST_WRAPPER = 4

IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
INDEX = ".index.json"
LARGEST_INDEX = 100 << 20  # bytes, the limit that safetensors puts on its own header

WINDOW = 128 << 20  # bytes of a streamed file that may be resident before it is mapped anew
DEFLATE_MOST = 1032  # no deflated byte stands for more (zlib's technical notes)
ARCHIVE_MOST = 100  # times its size an archive may unpack to, from `ARCHIVE_FREE` bytes on
ARCHIVE_FREE = 256 << 20


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

    def __len__(self) -> int:
        """Bytes on disk."""
        ...

    def read(self, key: str) -> Tensor:
        """One tensor on the CPU."""
        ...


class _MappedFile(ABC):
    """A file mapped into memory: a tensor costs nothing until it is used, and its pages stay as long as the mapping.

    A streamed file is mapped anew whenever `WINDOW` bytes were read, so that the pages of tensors that the caller has
    let go of are let go of too. An eager file is read into memory as a whole instead.
    """

    def __init__(self, path: Path, streamed: bool, eager: bool) -> None:
        self.path = path
        self._eager = eager
        self._streamed = streamed
        self._left = WINDOW
        self._map()
        self._stamp = self._stat()

    @abstractmethod
    def _map(self) -> None:
        """Open the file; called again, open it anew."""

    def _stat(self) -> tuple[int, int, int]:
        found = self.path.stat()
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


class SafetensorsFile(_MappedFile):
    """A safetensors file."""

    notes = ()

    def __init__(self, path: Path, streamed: bool = False, eager: bool = False) -> None:
        super().__init__(path, streamed, eager)
        self.metadata: Mapping[str, str] = self._file.metadata() or {}
        self.shapes: dict[str, Shape] = {key: tuple(self._file.get_slice(key).get_shape()) for key in self._file.keys()}  # noqa: SIM118
        self._memory = self._whole() if eager else None

    def _map(self) -> None:
        try:
            self._file: Any = safe_open(self.path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise _unreadable(self.path, "a safetensors", error) from None

    @cached_property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        names = {key: self._file.get_slice(key).get_dtype() for key in self.shapes}
        for key, name in names.items():
            if name not in DTYPES:
                raise WeightsError(f"{self.path}: '{key}' is of type {name}; expected one of {', '.join(DTYPES)}")
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


class NpzFile:
    """A numpy archive without pickled objects, read member by member.

    What its members declare is held against the size of the file before anything is unpacked.
    """

    metadata: Mapping[str, str] = {}
    notes = ()

    def __init__(self, path: Path, streamed: bool = False, eager: bool = False) -> None:
        self.path = path  # read member by member whatever is asked for: an archive cannot be mapped
        try:
            self._zip = zipfile.ZipFile(path)
            members = self._zip.infolist()
            self._bytes = path.stat().st_size
            self._check_sizes(members)
            headers = {member.filename.removesuffix(".npy"): self._header(member) for member in members}
        except (ValueError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise _unreadable(path, "an npz", error) from None
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
                raise ValueError(f"its member '{member.filename}' is no array; expected names that end in .npy")
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
        except (ValueError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise _unreadable(self.path, "an npz", error) from None
        if self.dtypes[key] is torch.bfloat16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).contiguous()
        return torch.from_numpy(array).contiguous()


class PickleFile(_MappedFile):
    """A `.pth`, `.pt` or `.bin` file, read with `weights_only=True`; old ones, which are no archives, are not mapped.

    `wrapper` names the entry that holds the state dict, where another than the first of `WRAPPERS` is wanted.
    """

    metadata: Mapping[str, str] = {}

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
                raise _unreadable(self.path, "a torch", error) from None
            raise WeightsError(
                f"{self.path} holds more than tensors and was not loaded, because that could run code: "
                f"it asks for {refused[1]}; save its state dict alone, best as safetensors"
            ) from None
        self._state, self.notes = _unwrap(state, self._wrapper, self.path)

    def read(self, key: str) -> Tensor:
        if self._streamed:
            self._spend(self.shapes[key], self.dtypes[key])
        return self._state[key]


def _load(path: Path, **how: Any) -> Any:
    # The arguments of a training run, as DINO stores them: a class that holds values and does nothing.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True, **how)


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
        raise _unreadable(path, "a torch", error) from None
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise WeightsError(
            f"{path} is a TorchScript archive, a program together with its weights, and is not run; expected a state "
            "dict: where you trust the file, save torch.jit.load(path).state_dict(), best as safetensors"
        )
    packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise WeightsError(f"{path}: '{packed[0]}' was compressed after torch wrote it; expected the file as written")
    return True


def _unwrap(state: object, wrapper: str | None, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict inside a checkpoint, and notes on where it stood and what stood beside it."""
    notes: list[str] = []
    for _ in range(DEEPEST_WRAPPER):
        if not isinstance(state, dict) or (wrapper is None and _all_tensors(state)):
            break
        names = WRAPPERS if wrapper is None else (wrapper,)
        name = next((name for name in names if isinstance(state.get(name), dict)), None)
        if name is None:
            if wrapper is not None:
                raise WeightsError(f"{path} has no state dict named '{wrapper}'; it holds {_some(state)}")
            break
        notes.append(f"tensors of '{name}'")
        if len(state) > 1:
            notes.append(f"left aside: {_some(key for key in state if key != name)}")
        state, wrapper = state[name], None
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds no state dict: expected names with tensors, found a {type(state).__name__}")
    if not state or not _all_tensors(state):
        other = [key for key, value in state.items() if not isinstance(value, Tensor)]
        raise WeightsError(
            f"{path} holds no state dict: expected a mapping from names to tensors"
            + (f", found besides {_some(other)}; name the entry that holds it (wrapper=...)" if other else "")
        )
    most = path.stat().st_size
    for key, tensor in state.items():
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise WeightsError(f"{path}: '{key}' is {tensor.layout} on {tensor.device}; expected plain tensors")
        if tensor.numel() * tensor.itemsize > most:
            raise WeightsError(f"{path}: '{key}' declares {list(tensor.shape)}, more than the file could hold")
    return {key: tensor.detach() for key, tensor in state.items()}, tuple(notes)


def _all_tensors(state: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items())


def _some(names: Any, most: int = 8) -> str:
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


class ShardedFile:
    """Several files that an index joins, as transformers writes them.

    The index and the files beside it must agree: every shard there, each tensor where the index says and nowhere else,
    and the total of bytes that it states.
    """

    def __init__(self, path: Path, streamed: bool = False, eager: bool = False) -> None:
        self.path = path
        where, total = read_index(path)
        files = sorted(set(where.values()))
        missing = [name for name in files if not (path.parent / name).is_file()]
        if missing:
            raise WeightsError(
                f"{path}: {len(missing)} of {len(files)} shards are missing: {_some(missing)}; fetch them"
            )
        self._shards = {
            name: READERS[path.with_name(name).suffix](path.parent / name, streamed, eager) for name in files
        }
        found = {(key, name) for name, shard in self._shards.items() for key in shard.shapes}
        for wrong, verb in ((where.items() - found, "lacks"), (found - where.items(), "also holds")):
            if wrong:
                key, name = min(wrong)
                raise WeightsError(
                    f"{path} and its shards do not agree: {name} {verb} '{key}', unlike the index says"
                    f"{f', and so for {len(wrong) - 1} more' if len(wrong) > 1 else ''}; fetch index and shards again"
                )
        shards = self._shards.values()
        self._where = where
        self.metadata = {key: text for shard in shards for key, text in shard.metadata.items()}
        self.shapes = {key: self._shards[name].shapes[key] for key, name in where.items()}
        self.dtypes = {key: self._shards[name].dtypes[key] for key, name in where.items()}
        self.notes = (f"{len(files)} shards", *(note for shard in shards for note in shard.notes))
        held = sum(math.prod(self.shapes[key]) * self.dtypes[key].itemsize for key in where)
        if total is not None and total != held:
            raise WeightsError(
                f"{path} states {total:,} bytes of tensors, and its shards hold {held:,}; fetch them again"
            )

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))

    def read(self, key: str) -> Tensor:
        return self._shards[self._where[key]].read(key)


def read_index(path: Path) -> tuple[dict[str, str], float | None]:
    """The shard of each tensor, and the bytes of them all where the index states them."""
    try:
        if path.stat().st_size > LARGEST_INDEX:
            raise ValueError(f"an index of more than {LARGEST_INDEX:,} bytes")
        index = json.loads(path.read_bytes())
        where, about = index["weight_map"], index.get("metadata") or {}
        total = about.get("total_size")
        if not where or not all(isinstance(name, str) for name in where.values()):
            raise ValueError("its weight_map names no files")
        if not (total is None or isinstance(total, int | float)):
            raise ValueError(f"its total_size is {total!r}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(path, "an index", error) from None
    suffix = Path(path.name.removesuffix(INDEX)).suffix
    for name in set(where.values()):
        # A path in an index from elsewhere could name any file of this machine.
        if name != re.sub(r"[/\\:\0]", "", name) or name.startswith(".") or Path(name).suffix != suffix:
            raise WeightsError(f"{path} names the shard {name!r}; expected the plain name of a {suffix} file beside it")
    return where, total


READERS: dict[str, Callable[[Path, bool, bool], TensorFile]] = {
    ".safetensors": SafetensorsFile,
    ".npz": NpzFile,
    ".pth": PickleFile,
    ".pt": PickleFile,
    ".bin": PickleFile,
}
SHARDED = (".safetensors", ".bin")


class Reading(TypedDict, total=False):
    """How a file is read; see `open_tensors`."""

    streamed: bool
    eager: bool


def open_tensors(path: Path, *, wrapper: str | None = None, streamed: bool = False, eager: bool = False) -> TensorFile:
    """Open a checkpoint by its suffix: a file, the index of several, or a folder that holds one of `IN_A_FOLDER`.

    `wrapper` names the entry of a torch file that holds the state dict ("student"). A `streamed` file keeps no more
    than about `WINDOW` bytes of itself in memory, if its tensors are let go of one after the other. An `eager` file is
    read from its beginning to its end at once, which is faster where a mapped one is slow: on a network disk.

    Raises:
        WeightsError: no such file, an unknown suffix, or a file that is not what its suffix says.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            path = _in_folder(path)
            mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise WeightsError(f"no weights file at {path}") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise WeightsError(f"{path} is a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}; expected a file")
    if wrapper is not None and READERS.get(path.suffix) is not PickleFile:
        raise WeightsError(f"{path.name} has no wrapper '{wrapper}': only .pth, .pt and .bin files have wrappers")
    if path.suffix in READERS:
        if wrapper is not None:
            return PickleFile(path, streamed, eager, wrapper)
        return READERS[path.suffix](path, streamed, eager)
    if path.name.endswith(tuple(f"{suffix}{INDEX}" for suffix in SHARDED)):
        return ShardedFile(path, streamed, eager)
    raise WeightsError(f"{path.name} has an unknown suffix; expected one of {', '.join(READERS)}, {INDEX}")


def _in_folder(folder: Path) -> Path:
    held = sorted(os.listdir(folder))  # noqa: PTH208 (names are all that is needed)
    for name in IN_A_FOLDER:
        if name in held:
            return folder / name
    raise WeightsError(
        f"{folder} is a folder without weights; expected one of {', '.join(IN_A_FOLDER)} in it, "
        f"found {_some(held) or 'nothing'}"
    )


def _unreadable(path: Path, kind: str, error: Exception) -> WeightsError:
    """Why a file cannot be read: what it is instead, where its first bytes tell, and else what its reader said."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
            size = os.fstat(file.fileno()).st_size
    except OSError as denied:
        return WeightsError(f"{path} cannot be read: {denied.strerror}; check its permissions")
    if size == 0:
        reason = "it is empty; fetch or copy it again"
    elif head.startswith(b"version https://git-lfs"):
        reason = "this is a Git LFS pointer, not the file itself; fetch the real file with `git lfs pull`"
    elif head.startswith(b"<") and b"\0" not in head:
        reason = "this is a web page, a login or error page; fetch the file again, from its direct address"
    else:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = f"{said}; fetch or copy it again"
    return WeightsError(f"{path} ({size:,} bytes) cannot be read as {kind} file: {reason}")
