"""Putting vectors into a store: one writer at a time, and each step whole or not at all."""

import errno
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vitzoo.embedding.recipe import MANIFEST, Recipe
from vitzoo.embedding.store import UNREAD, Manifest, Part, Row, Said, Store, check_same, schema_of
from vitzoo.errors import DataError
from vitzoo.file_locks import locking
from vitzoo.files.atomic import partial_file, replacing, settled
from vitzoo.files.digest import hash_file

LOCK = "_lock"
COLUMNS = ("source", "key", "sha256", "label", "split", "removed")
Id = tuple[str, str]
"""(source, key) of a picture."""
ROW_GROUP = 8192


class Known(NamedTuple):
    """What a store says of a picture, without its vector."""

    stem: str | None
    """How the file with its vector begins; None: it has no vector."""
    sha256: str | None
    label: str | None = None
    split: str | None = None
    removed: bool = False


class Writer:
    """A store that is being written to; see :func:`writing`."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        if not (folder / MANIFEST).exists():
            self._publish(Manifest(recipe=recipe))
        self.store = Store(folder)
        check_same(self.store, recipe)
        self._clean()
        self._unread = {_id(row): (row, reason) for row, reason in self.store.unread_rows()}
        self._known: dict[Id, Known] = {one: _known(row) for one, (row, _) in self._unread.items()}
        for part in self.store.parts:
            columns = (column.to_pylist() for column in self.store.read(part, COLUMNS).columns)
            stem = _stem(part)
            for source, key, sha256, label, split, removed in zip(*columns, strict=True):
                said = (label and sys.intern(label), split and sys.intern(split))
                self._known[sys.intern(source), key] = Known(stem, sha256, *said, removed)

    def known(self, source: str) -> dict[str, Known]:
        """The pictures of one source that the store knows, by their keys."""
        return {key: known for (home, key), known in self._known.items() if home == source}

    def commit(
        self,
        rows: Sequence[Row] = (),
        vectors: npt.NDArray[Any] | None = None,
        unread: Mapping[Row, str] | None = None,
        removed: Set[Id] = frozenset(),
        said: Mapping[Id, Said] = MappingProxyType({}),
    ) -> None:
        """One step: pictures with their vectors, those without one, those that are gone, and what is said of others.

        What the store knew of the same pictures goes with it. The bytes depend on what is given alone.

        Raises:
            DataError: the folder cannot be written; the store is as it was.
        """
        reasons = {_id(row): (row, reason) for row, reason in (unread or {}).items()}
        anew = {_id(row) for row in rows} | reasons.keys()
        kept = {one: said for one, said in self._unread.items() if one not in anew and one not in removed} | reasons
        touched = {self._known[one].stem for one in (*anew, *removed, *said) if one in self._known}
        with _one_line(self.folder):
            old = self.store.parts
            whole = [self._rewritten(part, anew, removed, said) if _stem(part) in touched else part for part in old]
            parts = [part for part in whole if part is not None]
            if rows:
                assert vectors is not None, "rows come with their vectors"
                parts.append(self._write(self._next(), self._table(rows, vectors)))
            self._publish(Manifest(recipe=self.recipe, parts=tuple(parts), unread=self._write_unread(kept)))
            self.store, self._unread = Store(self.folder), kept
            self._clean()
        self._known |= {_id(row): _known(row, _stem(parts[-1])) for row in rows}
        self._known |= {one: _known(row) for one, (row, _) in reasons.items()}
        self._known |= {
            one: self._known[one]._replace(label=label, split=split) for one, (label, split) in said.items()
        }
        for one in removed:
            before = self._known.pop(one)
            if before.stem is not None:
                self._known[one] = before._replace(removed=True)

    def _rewritten(self, part: Part, anew: Set[Id], removed: Set[Id], said: Mapping[Id, Said]) -> Part | None:
        """A file without the pictures that came anew, with what is new of the others; None if nothing is left."""
        table = self.store.read(part)
        ids = list(zip(table["source"].to_pylist(), table["key"].to_pylist(), strict=True))
        known = [self._known[one] for one in ids]
        now = [said.get(one, (was.label, was.split)) for one, was in zip(ids, known, strict=True)]
        news: dict[str, list[Any]] = {name: [one[i] for one in now] for i, name in enumerate(("label", "split"))}
        news["removed"] = [was.removed or one in removed for one, was in zip(ids, known, strict=True)]
        for name, values in news.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
        table = table.filter(pa.array([one not in anew for one in ids]))
        return (
            self._write(_stem(part), table) if len(table) else Part.model_construct(file=part.file, rows=0, sha256="")
        )

    def _table(self, rows: Sequence[Row], vectors: npt.NDArray[Any]) -> pa.Table:
        schema = schema_of(self.recipe)
        columns: list[pa.Array] = [
            pa.array(values, schema.field(name).type)
            for name, values in zip(Row._fields, zip(*rows, strict=True), strict=True)
        ]
        whole = np.ascontiguousarray(vectors, dtype=self.recipe.dtype)
        columns.append(pa.array([False] * len(rows)))
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(whole.reshape(-1)), type=schema.field("vector").type))
        return pa.Table.from_arrays(columns, schema=schema)

    def _write_unread(self, kept: Mapping[Id, tuple[Row, str]]) -> Part | None:
        if kept == self._unread:
            return self.store.unread
        said = [{**row._asdict(), "reason": reason} for _, (row, reason) in sorted(kept.items())]
        return self._write("_unread", pa.Table.from_pylist(said, schema=UNREAD)) if kept else None

    def _write(self, stem: str, table: pa.Table) -> Part:
        """A file that bears its own digest in its name."""
        plain = [name for name in table.column_names if name != "vector"]
        with partial_file(self.folder / stem) as partial:
            # The numbers of vectors hardly ever repeat: neither a dictionary nor compression makes them smaller.
            options = {"use_dictionary": plain, "write_statistics": plain, "compression": "none"}
            pq.write_table(table, partial, row_group_size=ROW_GROUP, **options)
            settled(partial)
            digest = hash_file(partial)
            part = Part(file=f"{stem}-{digest[:16]}.parquet", rows=len(table), sha256=digest)
            partial.replace(self.folder / part.file)
        return part

    def _next(self) -> str:
        """The name of the next file: numbers are in order."""
        return f"part-{max((int(_stem(part)[5:]) for part in self.store.parts), default=-1) + 1:05d}"

    def _publish(self, manifest: Manifest) -> None:
        """What was written is on the disk first, and then what names it."""
        _synced(self.folder)
        with replacing(self.folder / MANIFEST) as partial:
            partial.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _synced(self.folder)

    def _clean(self) -> None:
        """Remove what no manifest names: what a process that was killed has left, and what was written anew."""
        named = {part.file for part in (*self.store.parts, self.store.unread) if part is not None}
        for pattern in ("part-*.parquet", "_unread-*.parquet", ".*.partial"):
            for path in self.folder.glob(pattern):
                if path.name not in named:
                    path.unlink()


@contextmanager
def writing(folder: Path, recipe: Recipe) -> Iterator[Writer]:
    """A store for one writer; it is made if there is none.

    Raises:
        SpecError: its vectors are of another kind.
        DataError: another process writes to it, or the folder cannot be written.
    """
    with _one_line(folder):
        there = [one.name for one in folder.iterdir() if not one.match(".*.partial")] if folder.is_dir() else []
        if MANIFEST not in there and (others := [name for name in there if name != LOCK]):
            raise DataError(f"{folder} holds other files, such as {others[0]}; name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        with _one_line(folder):
            writer = Writer(folder, recipe)
        yield writer


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time changes what is in the folder of a store.

    Raises:
        DataError: another does, or the folder cannot be written.
    """
    with _one_line(folder):
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with locking(handle, wait=False) as free:
            if free is False:
                raise DataError(f"{folder}: another process writes vectors into it; wait for its end")
            if free is None:
                warnings.warn(f"the disk of {folder} has no locks: let no other process write into it", stacklevel=3)
            yield
    finally:
        os.close(handle)


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = "; make room and run it again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataError(f"{folder} cannot be written: {reason}{full}") from None


def _synced(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _known(row: Row, stem: str | None = None) -> Known:
    return Known(stem, row.sha256, row.label, row.split)


def _id(row: Row) -> Id:
    return row.source, row.key


def _stem(part: Part) -> str:
    """A file's name without the digest: it stays when the file is written anew."""
    return part.file.rpartition("-")[0]
