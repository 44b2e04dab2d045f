"""A folder of vectors: Parquet files that anything reads, and a manifest that says which of them count.

    vectors/
      part-00000-<digest>.parquet     a row for each picture: where it is, its class, its bytes' digest, its vector
      _unread-<digest>.parquet        a row for each picture that has no vector, with the reason
      _vitzoo.json                    the manifest: how the vectors were made, and the files that count

Names that begin with `_` are passed over by what reads a folder of Parquet. A file is written whole before the manifest
names it, and both are on the disk before the next is begun: whoever is killed leaves a store that is whole.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, PositiveInt

from vitzoo.embedding.filters import EVERY, Filter
from vitzoo.embedding.recipe import MANIFEST, Recipe
from vitzoo.errors import DataError, SpecError
from vitzoo.files.digest import hash_file
from vitzoo.small_files import read_small
from vitzoo.spec.base import Frozen

FORMAT: Literal[1] = 1
LARGEST_MANIFEST = 1 << 28
RECIPE = b"vitzoo"
"""Where a file's footer has the recipe."""

PLACE = (
    pa.field("key", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("path", pa.string()),
    pa.field("offset", pa.int64()),
    pa.field("size", pa.int64()),
    pa.field("sha256", pa.string()),
    pa.field("label", pa.string()),
    pa.field("split", pa.string()),
)
"""Name in its source; the source; the file with its bytes, which of them; their digest. Nulls: it is in no file.
The name of its class and the part that it is in, train, val or test. Nulls: nobody knows."""
UNREAD = pa.schema([*PLACE, pa.field("reason", pa.string(), nullable=False)])


Said = tuple[str | None, str | None]
"""(label, split) of a picture."""


class Row(NamedTuple):
    """A picture of a store."""

    key: str
    source: str
    path: str | None
    offset: int | None
    size: int | None
    sha256: str | None
    label: str | None = None
    split: str | None = None


class Part(Frozen):
    """A file that counts."""

    file: Annotated[str, Field(pattern=r"^[\w-]+\.parquet$")]
    rows: PositiveInt
    sha256: str


class Manifest(Frozen):
    """How the vectors were made, and the files that count."""

    format: Literal[1] = FORMAT
    recipe: Recipe
    parts: tuple[Part, ...] = ()
    unread: Part | None = None


class Block(NamedTuple):
    """Vectors of some pictures, none of which was removed."""

    table: pa.Table
    """Their rows without the vectors."""
    vectors: npt.NDArray[Any]
    """(rows, length), as they are kept."""
    numbers: npt.NDArray[np.int64]
    """Of the rows in their file."""

    def row(self, i: int) -> Row:
        """The i-th picture."""
        return Row(*(self.table[name][i].as_py() for name in Row._fields))


def schema_of(recipe: Recipe) -> pa.Schema:
    """The columns of a store's files, with the recipe in their footer."""
    kind = pa.list_(pa.from_numpy_dtype(recipe.dtype), recipe.length)
    removed, vector = pa.field("removed", pa.bool_(), nullable=False), pa.field("vector", kind, nullable=False)
    return pa.schema([*PLACE, removed, vector], metadata={RECIPE: recipe.model_dump_json().encode()})


class Store:
    """A folder of vectors, as it was when it was opened.

    Raises:
        DataError: there is no store, or its manifest cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        found = manifest_of(self.folder)
        self.recipe, self.parts, self.unread = found.recipe, found.parts, found.unread

    def __len__(self) -> int:
        """Pictures that have a vector and were not removed."""
        return sum(len(table) - sum(table["removed"].to_pylist()) for table in self._tables(["removed"]))

    @cached_property
    def columns(self) -> pa.Schema:
        """What is known of a picture beside its vector."""
        schema = schema_of(self.recipe)
        return pa.schema([field for field in schema if field.name not in ("removed", "vector")])

    def blocks(self, where: Filter = EVERY) -> Iterator[Block]:
        """All vectors of the pictures that a filter takes, some thousands at a time.

        Raises:
            DataError: a file is missing or damaged.
        """
        for part in self.parts:
            yield from self.blocks_of(part, where)

    def blocks_of(self, part: Part, where: Filter = EVERY, columns: Sequence[str] | None = None) -> Iterator[Block]:
        """Those of one file; tables with some columns alone are read the quicker."""
        wanted = self.columns.names if columns is None else columns
        names, first = list(dict.fromkeys(["removed", *(one.column for one in where.conditions), *wanted])), 0
        with self._opened(part) as file:
            for group in range(file.num_row_groups):
                known = file.read_row_group(group, names)
                kept = where.kept(known)
                if len(kept):
                    vectors = flat(file.read_row_group(group, ["vector"])["vector"], self.recipe.length)
                    whole = len(kept) == len(known)
                    table = known.select(wanted)
                    yield Block(table if whole else table.take(kept), vectors if whole else vectors[kept], first + kept)
                first += len(known)

    def rows(self, part: Part, numbers: Sequence[int]) -> list[Row]:
        """Pictures of one file, by their numbers in it."""
        found, first = dict[int, Row](), 0
        with self._opened(part) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if some := [number for number in numbers if first <= number < first + count]:
                    rows = file.read_row_group(group, Row._fields).take([number - first for number in some])
                    found |= {number: Row(**row) for number, row in zip(some, rows.to_pylist(), strict=True)}
                first += count
        return [found[number] for number in numbers]

    def unread_rows(self) -> list[tuple[Row, str]]:
        """The pictures that have no vector, each with the reason."""
        if self.unread is None:
            return []
        found = self.read(self.unread).to_pylist()
        return [(Row(**{name: one[name] for name in Row._fields}), one["reason"]) for one in found]

    def verify(self) -> None:
        """Read every file whole.

        Raises:
            DataError: one is missing, or its bytes are others than those that were written.
        """
        for part in filter(None, (*self.parts, self.unread)):
            path = self.folder / part.file
            if not path.is_file():
                raise DataError(self._missing(path))
            if (found := hash_file(path)) != part.sha256:
                raise DataError(f"{path}: expected sha256 {part.sha256}, found {found}; {self._again}")

    def read(self, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
        """One file.

        Raises:
            DataError: it is missing or damaged.
        """
        with self._opened(part) as file:
            return file.read(columns=None if columns is None else list(columns))

    @contextmanager
    def _opened(self, part: Part) -> Iterator[pq.ParquetFile]:
        path = self.folder / part.file
        try:
            with pq.ParquetFile(path) as file:
                if file.metadata.num_rows != part.rows:
                    found = file.metadata.num_rows
                    raise DataError(f"{path}: expected {part.rows} rows, found {found}; {self._again}")
                schema = file.schema_arrow
                for field in UNREAD if part == self.unread else schema_of(self.recipe):
                    kind = schema.field(field.name).type if field.name in schema.names else "none"
                    if kind != field.type:
                        raise DataError(
                            f"{path}: expected the column {field.name} of {field.type}, found {kind}; {self._again}"
                        )
                yield file
        except FileNotFoundError:
            raise DataError(self._missing(path)) from None
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{path}: cannot be read: {reason}; {self._again}") from None

    def _tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        for part in self.parts:
            yield self.read(part, columns)

    def _missing(self, path: Path) -> str:
        return f"{path}: a file of the store is missing; put it back, or {self._again}"

    @cached_property
    def _again(self) -> str:
        return f"remove the folder {self.folder} and embed the pictures anew"


def flat(column: pa.ChunkedArray, length: int) -> npt.NDArray[Any]:
    """A column of vectors -> (rows, length)."""
    found = column.combine_chunks()
    whole = found.chunk(0) if isinstance(found, pa.ChunkedArray) else found
    return np.asarray(whole.flatten()).reshape(-1, length)


def manifest_of(folder: Path) -> Manifest:
    """The manifest of a store.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = folder / MANIFEST
    try:
        return Manifest.parse(json.loads(read_small(path, LARGEST_MANIFEST)), "manifest")
    except FileNotFoundError:
        raise DataError(
            f"{folder}: there is no store of vectors; make one: vitzoo embed MODEL PICTURES {folder}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {str(error)[:300]}; put back a copy") from None


def check_same(store: Store, recipe: Recipe) -> None:
    """Refuse to put vectors of two kinds into one store.

    Raises:
        SpecError: what differs.
    """
    if wrong := recipe.differences(store.recipe):
        more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise SpecError(
            f"{store.folder} holds vectors of another kind (there from {store.recipe.model}, here from {recipe.model}"
            f"): {'; '.join(wrong[:4])}{more}. Name another folder, or make them as they were made"
        )
