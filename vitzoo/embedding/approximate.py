"""An index over a store: LanceDB's IVF-PQ, which compares a few of the vectors, and how many of the nearest it finds.

    vectors/
      _index.json            the record: which state of the store it is of, how it is asked, what it finds
      _index-<letters>/      LanceDB's own database, with a copy of the store's columns and vectors in `pictures`

The folder is written before the record names it.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveInt

from vitzoo.embedding.nearest import Hit, Metric, Vectors, check_queries, nearest
from vitzoo.embedding.store import Row, Store
from vitzoo.embedding.writing import alone
from vitzoo.errors import Argument, DataError, SpecError
from vitzoo.extras import MissingExtra, needs
from vitzoo.files.atomic import replacing
from vitzoo.small_files import read_small
from vitzoo.spec.base import Frozen

RECORD = "_index.json"
TABLE = "pictures"
LARGEST_RECORD = 1 << 20
K, QUERIES = 10, 200
"""The recall is measured with so many neighbours of so many vectors."""
TRAINED = 256
"""Vectors that a partition and a code book need at least to be trained."""
NUMBERS = 8
"""Of a vector, that one byte of the code stands for."""
REFINED = 10
"""Of the candidates, so many times what is wanted are compared by their whole vectors."""

SCORES: dict[Metric, Callable[[float], float]] = {
    Metric.COSINE: lambda distance: 1 - distance,
    Metric.DOT: lambda distance: 1 - distance,
    Metric.L2: lambda distance: max(distance, 0) ** 0.5,
}
"""From LanceDB's distances to what the metric says."""
Id = tuple[str, str]
"""(key, source) of a picture."""


class Index(Frozen):
    """An index of a store, and what was measured of it."""

    format: Literal[1] = 1
    store: str
    """The digest of the state that it is of."""
    folder: Annotated[str, Field(pattern=r"^_index-[0-9a-f]+$")]
    metric: Metric
    vectors: PositiveInt
    partitions: PositiveInt
    nprobes: PositiveInt
    """Partitions that are looked into."""
    k: PositiveInt
    queries: PositiveInt
    recall: float
    """The share of the `k` nearest that it finds, on so many of the store's own vectors, each without itself."""
    lancedb: str

    def nearest(self, store: Store, query: Vectors, k: int) -> list[Hit] | None:
        """The `k` nearest to a vector (length,) as far as the index finds them; None if it finds fewer.

        Raises:
            DataError: the index cannot be read.
        """
        check_queries(store, query[None], k)
        try:
            found = _asked(_table(store.folder / self.folder), self.metric, query, k, self.nprobes)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{store.folder / self.folder}: the index cannot be read: {reason}; make it anew: vitzoo index "
                f"{store.folder}; or compare every vector with ",
                Argument("exact"),
            ) from None
        if len(found) < min(k, self.vectors):
            return None
        return [Hit(Row(**{name: one[name] for name in Row._fields}), one["_score"]) for one in found]


def build_index(store: Store | str | os.PathLike[str], metric: str = "cosine", *, recall: float = 0.95) -> Index:
    """Make an index in the store's folder, in the place of one that is there, and measure what it finds.

    It looks into as few partitions as find the `recall` that is wanted of the 10 nearest; if not even all of them do,
    that is what the record says. It holds a copy of the vectors.

    Raises:
        SpecError: an unknown metric, or a recall outside of 0..1.
        DataError: fewer than two vectors, another process that writes, or a folder that cannot be written.
        MissingExtra: LanceDB is not installed.
    """
    how = Metric.named(metric)
    if not 0 < recall <= 1:
        raise SpecError(f"a recall is above 0 and 1 at most, found {recall:g}; give another ", Argument("recall"))
    version = _lancedb()
    folder = Path(store.folder if isinstance(store, Store) else store)
    Store(folder)  # no lock is left where no store is
    with alone(folder):
        found = Store(folder)
        count = len(found)
        if count < 2:
            raise DataError(f"{folder}: has {count} vectors; expected two at least to search among")
        home = folder / f"_index-{secrets.token_hex(8)}"
        try:
            partitions = _build(found, home, how, count)
            nprobes, k, queries, share = _measured(found, _table(home), how, partitions, recall)
            index = Index(
                store=digest_of(found), folder=home.name, metric=how, vectors=count, partitions=partitions,
                nprobes=nprobes, k=k, queries=queries, recall=share, lancedb=version,
            )  # fmt: skip
            with replacing(folder / RECORD) as partial:
                partial.write_text(index.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"{folder}: the index cannot be written: {error.strerror or error}") from None
        finally:
            kept = _record(folder)
            for path in folder.glob("_index-*"):
                if kept is None or path.name != kept.folder:
                    shutil.rmtree(path, ignore_errors=True)
    return index


def usable_index(store: Store, metric: str) -> Index | None:
    """The index of a store that answers for this metric; None if there is none. One that cannot be used is said."""
    how, index = Metric.named(metric), _record(store.folder)
    if index is None:
        return None
    if index.store != digest_of(store):
        unfit = "is of an earlier state of the store"
    elif index.metric is not how:
        unfit = f"is one for --metric {index.metric}"
    else:
        try:
            _lancedb()
            return index
        except MissingExtra as error:
            unfit = f"cannot be asked: {error}"
    again = f"vitzoo index {store.folder}{'' if how is Metric.COSINE else f' --metric {how}'}"
    warnings.warn(f"the index {unfit}; every vector is compared. Make one: {again}", stacklevel=3)
    return None


def _lancedb() -> str:
    """LanceDB's version.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of what is meant, such as a new table
    with needs("index"):
        import lancedb

        return str(lancedb.__version__)


def digest_of(store: Store) -> str:
    """What state a store is in: changes with every vector and every picture that is removed."""
    said = [store.recipe.model_dump_json(), *(f"{part.file} {part.sha256}" for part in store.parts)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _record(folder: Path) -> Index | None:
    path = folder / RECORD
    try:
        return Index.parse(json.loads(read_small(path, LARGEST_RECORD)), "index")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read: {str(error)[:300]}; remove it, and make one: vitzoo index {folder}"
        ) from None


def _build(store: Store, home: Path, metric: Metric, count: int) -> int:
    """LanceDB's database in a new folder; gives the number of partitions."""
    from lancedb.index import IvfPq

    length = store.recipe.length
    vector = pa.field("vector", pa.list_(pa.from_numpy_dtype(store.recipe.dtype), length))
    schema = pa.schema([*store.columns, vector])

    def batches() -> Iterator[pa.RecordBatch]:
        for block in store.blocks():
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.vectors.reshape(-1)), length)
            yield from block.table.append_column(vector, vectors).cast(schema).to_batches()

    table = _connected(home).create_table(TABLE, data=pa.RecordBatchReader.from_batches(schema, batches()))
    partitions = max(1, min(math.isqrt(count), count // TRAINED))
    if count >= TRAINED:  # of fewer nothing can be learned, and LanceDB compares them all
        codes = max(n for n in range(1, max(length // NUMBERS, 1) + 1) if length % n == 0)
        how = IvfPq(distance_type=metric.value, num_partitions=partitions, num_sub_vectors=codes)
        table.create_index("vector", config=how)
    return partitions


def _measured(store: Store, table: Any, metric: Metric, partitions: int, wanted: float) -> tuple[int, int, int, float]:
    """(nprobes, k, queries, recall): the fewest partitions, doubled again and again, that find what is wanted."""
    queries, own = _sample(store, QUERIES)
    k = min(K, len(store) - 1)
    exact = nearest(store, queries, k + 1, metric)
    truth = [_others((hit.row[:2] for hit in hits), one, k) for hits, one in zip(exact, own, strict=True)]
    nprobes = 1
    while True:
        found = 0
        for query, one, expected in zip(queries, own, truth, strict=True):
            rows = _asked(table, metric, query, k + 1, nprobes)
            found += len(expected & _others(((row["key"], row["source"]) for row in rows), one, k))
        share = found / (k * len(own))
        if share >= wanted or nprobes == partitions:
            return nprobes, k, len(own), share
        nprobes = min(2 * nprobes, partitions)


def _others(found: Iterable[Id], own: Id, k: int) -> set[Id]:
    return set([one for one in found if one != own][:k])


def _sample(store: Store, most: int) -> tuple[Vectors, list[Id]]:
    """Vectors of a store at even distances, and whose they are."""
    count = len(store)
    wanted = set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist())
    vectors, own, first = [], [], 0
    for block in store.blocks():
        some = [i for i in range(len(block.vectors)) if first + i in wanted]
        vectors += [block.vectors[i].astype(np.float32) for i in some]
        own += [block.row(i)[:2] for i in some]
        first += len(block.vectors)
    return np.stack(vectors), own


def _connected(home: Path) -> Any:
    import lancedb

    return lancedb.connect(home)


def _table(home: Path) -> Any:
    return _connected(home).open_table(TABLE)


def _asked(table: Any, metric: Metric, query: Vectors, k: int, nprobes: int) -> list[dict[str, Any]]:
    """The rows that are found, nearest first, each with its `_score` in the words of the metric."""
    search = table.search(query, vector_column_name="vector").distance_type(metric.value)
    search = search.nprobes(nprobes).refine_factor(REFINED).limit(k).select([*Row._fields, "_distance"])
    rows: list[dict[str, Any]] = search.to_arrow().to_pylist()
    return [{**row, "_score": SCORES[metric](row["_distance"])} for row in rows]
