"""Checkpoint files written tensor by tensor: each is either whole or not there."""

import json
import math
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.files.archive import add_words
from vitzoo.files.atomic import partial_file, replacing, replacing_folder, settled
from vitzoo.files.sharded import INDEX, join
from vitzoo.files.tensor_file import DTYPES, NUMPY_DTYPES
from vitzoo.spec import Shape

Planned = Mapping[str, tuple[Shape, torch.dtype]]
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive knows: equal tensors give equal files


def write(
    path: Path,
    tensors: Iterator[tuple[str, Tensor]],
    shapes: Planned,
    metadata: Mapping[str, str],
    shard_size: int | None = None,
) -> list[Path]:
    """Write tensors, in whatever order they come, as the kind of file that `path`'s suffix names; returns the files.

    A path without a suffix is a folder, which must be new or empty and gets a `model.safetensors`. `shard_size` is the
    most bytes of tensors for one safetensors file; where one does not hold them all, an index joins several. A tensor
    is held no longer than it takes to write it, but for `.pth`, whose writer wants them all. `metadata` goes into
    a file of whatever kind; see `vitzoo.files.archive`.

    Raises:
        WeightsError: an unknown suffix, a type or metadata that the format cannot hold, tensors that are not those
            planned in `shapes`, a folder that is not empty.
    """
    if not path.suffix:
        with replacing_folder(path) as partial:
            written = write(partial / "model.safetensors", tensors, shapes, metadata, shard_size)
        return [path / file.name for file in written]
    if path.suffix == ".safetensors":
        return write_sharded(path, tensors, shapes, metadata, shard_size)
    if path.suffix not in WRITERS:
        raise WeightsError(f"{path.name} has an unknown suffix; take .safetensors, {', '.join(WRITERS)}, or none")
    if shard_size is not None:
        raise WeightsError(f"{path.name}: a {path.suffix} file has no shards; write safetensors, or do without")
    with replacing(path) as partial:
        WRITERS[path.suffix](partial, tensors, shapes)
        try:
            add_words(partial, metadata)
        except ValueError as error:
            raise WeightsError(f"{path.name} cannot hold its metadata: {error}; write safetensors") from None
    return [path]


def write_sharded(
    path: Path,
    tensors: Iterator[tuple[str, Tensor]],
    shapes: Planned,
    metadata: Mapping[str, str],
    shard_size: int | None = None,
) -> list[Path]:
    """Write safetensors byte for byte as the safetensors package does, and shards and index as transformers does.

    Every place in every file follows from `shapes`, so the tensors may come in any order.
    """
    shards = _shards(path.name, shapes, shard_size)
    if list(shards) == [path.name]:
        with replacing(path) as partial:
            _fill({partial: list(shapes)}, tensors, shapes, metadata)
        return [path]
    if path.exists():
        raise WeightsError(f"{path} exists, and readers would take it before the shards beside it; remove it first")
    with ExitStack() as stack:
        before = path.with_name(f"{path.name}{INDEX}")
        partials = {name: stack.enter_context(partial_file(before)) for name in shards}
        _fill({partials[name]: keys for name, keys in shards.items()}, tensors, shapes, metadata)
        where = {key: name for name, keys in shards.items() for key in keys}
        return join(path, partials, where, sum(_nbytes(*planned) for planned in shapes.values()))


def _fill(
    files: Mapping[Path, list[str]],
    tensors: Iterator[tuple[str, Tensor]],
    shapes: Planned,
    metadata: Mapping[str, str],
) -> None:
    """Write safetensors files, each with its tensors, and see them on the disk: a full one shows before renaming."""
    places: dict[str, tuple[IO[bytes], int]] = {}
    with ExitStack() as stack:
        for path, keys in files.items():
            file: IO[bytes] = stack.enter_context(path.open("wb"))
            header, starts = _header({key: shapes[key] for key in keys}, metadata)
            file.write(header)
            places |= {key: (file, start) for key, start in starts.items()}
        for key, tensor in _as_planned(tensors, shapes):
            file, start = places[key]
            file.seek(start)
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
    for path in files:
        settled(path)


def _header(shapes: Planned, metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The beginning of a safetensors file, and where in it each tensor starts."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    starts, end = {}, 0
    for key in sorted(shapes, key=lambda key: (RANKS[shapes[key][1]], key)):
        shape, dtype = shapes[key]
        starts[key], end = end, end + _nbytes(shape, dtype)
        header[key] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [starts[key], end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, {key: 8 + len(text) + start for key, start in starts.items()}


def _shards(name: str, shapes: Planned, shard_size: int | None) -> Mapping[str, list[str]]:
    """The names of the files to write, each with its tensors."""
    unknown = [f"'{key}' ({dtype})" for key, (_, dtype) in shapes.items() if dtype not in DTYPE_NAMES]
    if unknown:
        raise WeightsError(f"{name}: safetensors has no type for {', '.join(unknown[:8])}; convert them first")
    if shard_size is None:
        return {name: list(shapes)}
    if not isinstance(shard_size, int) or shard_size <= 0:
        raise WeightsError(f"{name}: a shard of {shard_size!r} bytes holds nothing; give a positive number of bytes")
    from huggingface_hub import split_state_dict_into_shards_factory

    split = split_state_dict_into_shards_factory(
        {key: _nbytes(*planned) for key, planned in shapes.items()},
        get_storage_size=lambda size: size,
        filename_pattern=f"{Path(name).stem.replace('{', '{{').replace('}', '}}')}{{suffix}}.safetensors",
        max_shard_size=shard_size,
    )
    return split.filename_to_tensors


def write_npz(path: Path, tensors: Iterator[tuple[str, Tensor]], shapes: Planned) -> None:
    """Write a numpy archive member by member; bfloat16 becomes a void type of two bytes, as big_vision stores it."""
    unknown = [f"'{key}' ({dtype})" for key, (_, dtype) in shapes.items() if dtype not in NUMPY_DTYPES.values()]
    if unknown:
        raise WeightsError(f"numpy has no type for {', '.join(unknown[:8])}; convert them first")
    with zipfile.ZipFile(path, "w") as archive:
        for key, tensor in _as_planned(tensors, shapes):
            half = tensor.dtype is torch.bfloat16
            array = tensor.view(torch.int16).numpy().view(np.dtype("V2")) if half else tensor.numpy()
            with archive.open(zipfile.ZipInfo(f"{key}.npy", EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def write_pth(path: Path, tensors: Iterator[tuple[str, Tensor]], shapes: Planned) -> None:
    """Write a state dict with torch.save. Not streamed: torch pickles all names before it writes the first tensor."""
    # Cloned, since a view would take all of the storage that it looks into along with it.
    state = OrderedDict((key, tensor.clone()) for key, tensor in _as_planned(tensors, shapes))
    with path.open("wb") as file:  # of a path, torch writes the name into the archive
        try:
            torch.save(OrderedDict((key, state[key]) for key in shapes), file)
        except RuntimeError as error:  # torch's writer meets a full disk while it cleans up after a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


WRITERS: dict[str, Callable[[Path, Iterator[tuple[str, Tensor]], Planned], None]] = {
    ".npz": write_npz,
    ".pth": write_pth,
    ".pt": write_pth,
    ".bin": write_pth,
}


def _as_planned(tensors: Iterator[tuple[str, Tensor]], shapes: Planned) -> Iterator[tuple[str, Tensor]]:
    """The tensors as they come, contiguous and on the CPU; a WeightsError if they are not exactly those of the plan."""
    left = dict.fromkeys(shapes)
    for key, tensor in tensors:
        if key not in left:
            raise WeightsError(f"'{key}' was {'given twice' if key in shapes else 'not planned'}; nothing was written")
        del left[key]
        shape, dtype = shapes[key]
        if (tuple(tensor.shape), tensor.dtype) != (tuple(shape), dtype):
            raise WeightsError(
                f"'{key}' was planned as {list(shape)} of {dtype} and came as {list(tensor.shape)} of {tensor.dtype}; "
                "nothing was written"
            )
        yield key, tensor.detach().cpu().contiguous()
        del tensor  # before the next one is made
    if left:
        raise WeightsError(
            f"{len(left)} planned tensors were never written: {', '.join(list(left)[:8])}; nothing was written"
        )


def _nbytes(shape: Shape, dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize
