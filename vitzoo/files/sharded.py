"""Several files that an index joins."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.files.tensor_file import TensorFile, some, unreadable
from vitzoo.spec import Shape

INDEX = ".index.json"
LARGEST_INDEX = 100 << 20  # bytes, the limit that safetensors puts on its own header


class ShardedFile:
    """Several files that an index joins, as transformers writes them.

    The index and the files beside it must agree: every shard there, each tensor where the index says and nowhere else,
    and the total of bytes that it states.
    """

    left: Mapping[str, str] = {}

    def __init__(self, path: Path, open_shard: Callable[[Path], TensorFile]) -> None:
        self.path = path
        where, total = read_index(path)
        files = sorted(set(where.values()))
        missing = [name for name in files if not (path.parent / name).is_file()]
        if missing:
            raise WeightsError(
                f"{path}: {len(missing)} of {len(files)} shards are missing: {some(missing)}; fetch them"
            )
        self._shards = {name: open_shard(path.parent / name) for name in files}
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
        self.metadata: Mapping[str, str] = {key: text for shard in shards for key, text in shard.metadata.items()}
        self.shapes: dict[str, Shape] = {key: self._shards[name].shapes[key] for key, name in where.items()}
        self.dtypes: dict[str, torch.dtype] = {key: self._shards[name].dtypes[key] for key, name in where.items()}
        self.notes: tuple[str, ...] = (f"{len(files)} shards", *(note for shard in shards for note in shard.notes))
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
        raise unreadable(path, "an index", error) from None
    suffix = Path(path.name.removesuffix(INDEX)).suffix
    for name in set(where.values()):
        # A path in an index from elsewhere could name any file of this machine.
        if name != re.sub(r"[/\\:\0]", "", name) or name.startswith(".") or Path(name).suffix != suffix:
            raise WeightsError(f"{path} names the shard {name!r}; expected the plain name of a {suffix} file beside it")
    return where, total
