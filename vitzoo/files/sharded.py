"""Several files that an index joins: they change together, and a reader sees those of one model or none."""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vitzoo.errors import MissingFile, WeightsError, shown
from vitzoo.files.atomic import alone, replacing
from vitzoo.files.digest import hash_file
from vitzoo.files.tensor_file import TensorFile, some, unreadable
from vitzoo.small_files import read_small
from vitzoo.spec import Shape

INDEX = ".index.json"
LONGEST_NAME = 200  # characters
MOST_SHARDS = 10_000  # a hundred terabytes in pieces of the usual size
TRIES = 3  # in a row with the same outcome: then nobody is writing
MOST_TRIES = 100
DIGITS = 16  # of a shard's digest that its name has


class Index(NamedTuple):
    """What an index states."""

    where: Mapping[str, str]
    """The shard of each tensor."""
    total: float | None = None
    """The bytes of all tensors."""
    sha256: Mapping[str, str] = {}
    """Digests of shards: of all that vitzoo wrote, and of none that transformers did."""


class ShardedFile:
    """Several files that an index joins, as transformers writes them.

    The index and the files beside it must agree: every shard there, each tensor where the index says and nowhere else,
    the digests and the total of bytes that it states.
    """

    left: Mapping[str, str] = {}

    def __init__(self, path: Path, open_shard: Callable[[Path], TensorFile]) -> None:
        self.path = path
        index, self._shards = _settled(path, open_shard)
        shards = self._shards.values()
        self._where = index.where
        self.metadata: Mapping[str, str] = {key: text for shard in shards for key, text in shard.metadata.items()}
        self.shapes: dict[str, Shape] = {key: self._shards[name].shapes[key] for key, name in self._where.items()}
        self.dtypes: dict[str, torch.dtype] = {key: self._shards[name].dtypes[key] for key, name in self._where.items()}
        self.notes: tuple[str, ...] = (f"{len(shards)} shards", *(note for shard in shards for note in shard.notes))
        held = sum(math.prod(self.shapes[key]) * self.dtypes[key].itemsize for key in self._where)
        if index.total is not None and index.total != held:
            raise WeightsError(
                f"{path} states {index.total:,} bytes of tensors, and its shards hold {held:,}; fetch them again"
            )

    def __len__(self) -> int:
        return sum(map(len, self._shards.values()))

    def read(self, key: str) -> Tensor:
        return self._shards[self._where[key]].read(key)


def _settled(path: Path, open_shard: Callable[[Path], TensorFile]) -> tuple[Index, dict[str, TensorFile]]:
    """An index and its shards, open. What is wrong again and again is wrong; else another model was saved meanwhile."""
    wrong: list[str] = []
    while True:
        index = read_index(path)
        try:
            return index, _opened(path, index, open_shard)
        except WeightsError as error:
            wrong.append(str(error))
            if wrong[-TRIES:] == [str(error)] * TRIES or len(wrong) > MOST_TRIES:
                raise


def _opened(path: Path, index: Index, open_shard: Callable[[Path], TensorFile]) -> dict[str, TensorFile]:
    """The shards, open: what is written under their names from now on is not seen."""
    files = sorted(set(index.where.values()))
    missing = [name for name in files if not (path.parent / name).is_file()]
    if missing:
        raise MissingFile(f"{path}: {len(missing)} of {len(files)} shards are missing: {some(missing)}; fetch them")
    shards = {name: open_shard(path.parent / name) for name in files}
    held = {(key, name) for name, shard in shards.items() for key in shard.shapes}
    for wrong, verb in ((index.where.items() - held, "lacks"), (held - index.where.items(), "also holds")):
        if wrong:
            key, name = min(wrong)
            raise WeightsError(
                f"{path} and its shards do not agree: {name} {verb} '{key}', unlike the index says"
                f"{f', and so for {len(wrong) - 1} more' if len(wrong) > 1 else ''}; fetch index and shards again"
            )
    for name in shards.keys() & index.sha256.keys():
        _check_digest(path, path.parent / name, index.sha256[name])
    return shards


def _check_digest(path: Path, shard: Path, expected: str) -> None:
    try:
        found = hash_file(shard)
    except OSError as error:
        raise unreadable(shard, "a shard", error) from None
    if found != expected:
        raise WeightsError(
            f"{shard} is not the shard of {path.name}: sha256 {expected} was expected, {found} found; "
            "fetch or save index and shards again"
        )


def read_index(path: Path) -> Index:
    """Raises: WeightsError: no index, or one that names files elsewhere."""
    try:
        index = json.loads(read_small(path))
        where, about = index["weight_map"], index.get("metadata") or {}
        total, digests = about.get("total_size"), about.get("sha256") or {}
        if not where or not all(isinstance(name, str) for name in where.values()):
            raise ValueError("its weight_map names no files")
        if not (total is None or isinstance(total, int | float)):
            raise ValueError(f"its total_size is {some([repr(total)])}")
        if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests.values()):
            raise ValueError("its sha256 has other values than digests")
        if len(names := set(where.values())) > MOST_SHARDS:
            raise ValueError(f"it names {len(names):,} shards; expected at most {MOST_SHARDS:,}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(path, "an index", error) from None
    suffix = Path(path.name.removesuffix(INDEX)).suffix
    for name in names:
        # A path in an index from elsewhere could name any file of this machine.
        if (
            name != re.sub(r"[/\\:\0]", "", name)
            or name.startswith(".")
            or len(name) > LONGEST_NAME
            or Path(name).suffix != suffix
        ):
            raise WeightsError(
                f"{path} names the shard {shown(name)}; expected the plain name of a {suffix} file beside it"
            )
    return Index(where, total, digests)


def join(path: Path, partials: Mapping[str, Path], where: Mapping[str, str], total: int) -> list[Path]:
    """Give shards, written under temporary names, those that they keep, then write the index that joins them.

    `partials` has the shards by the names that transformers gives them, `where` the shard of each tensor. A digest in
    each name keeps the shards of two models apart, so the index, which comes last, is never beside another's. Shards
    that it does not name are removed: who reads an older index then finds that it was replaced.
    """
    digests = {name: hash_file(partial) for name, partial in partials.items()}
    kept = {name: f"{Path(name).stem}-{digest[:DIGITS]}{path.suffix}" for name, digest in digests.items()}
    index = {
        "metadata": {"total_size": total, "sha256": {kept[name]: digest for name, digest in digests.items()}},
        "weight_map": {key: kept[name] for key, name in where.items()},
    }
    place = path.with_name(f"{path.name}{INDEX}")
    with alone(path.parent) as only:
        with replacing(place) as partial:
            partial.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            for name, shard in partials.items():
                shard.replace(path.with_name(kept[name]))
        for other in _shards_of(path) if only else ():
            if other.name not in kept.values():
                other.unlink()
    return [*(path.with_name(name) for name in kept.values()), place]


def _shards_of(path: Path) -> list[Path]:
    """Files that are named as shards of `path`, by transformers or here."""
    name = re.compile(rf"{re.escape(path.stem)}-\d{{5}}-of-\d{{5}}(-[0-9a-f]{{{DIGITS}}})?{re.escape(path.suffix)}")
    return [other for other in path.parent.iterdir() if name.fullmatch(other.name)]
