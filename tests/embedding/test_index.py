"""An index says how much it finds, is asked only of the state that it was made of, and is whole or not there."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from embedding.conftest import made_of
from sklearn.neighbors import NearestNeighbors

from vitzoo import Store, build_index, search
from vitzoo.embedding import approximate
from vitzoo.embedding.store import Row
from vitzoo.embedding.writing import alone, writing
from vitzoo.errors import DataError, SpecError
from vitzoo.extras import MissingExtra

Vectors = np.ndarray[Any, Any]


def clouds(count: int, length: int = 16, seed: int = 0) -> Vectors:
    """Vectors around some centres, as pictures of some kinds have."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(12, length))
    return (centres[draw.integers(0, 12, count)] + 0.4 * draw.normal(size=(count, length))).astype(np.float32)


@pytest.fixture(autouse=True)
def fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "QUERIES", 40)


@pytest.fixture
def whole() -> Vectors:
    return clouds(1600)


@pytest.fixture
def store(tmp_path: Path, whole: Vectors) -> Store:
    return made_of(tmp_path / "s", list(np.array_split(whole, 3)))


def keys(hits: list[Any]) -> list[str]:
    return [hit.row.key for hit in hits]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_the_recall_is_what_scikit_learn_counts(store: Store, whole: Vectors, metric: str) -> None:
    made = build_index(store, metric, recall=0.9)
    assert (made.vectors, made.k, made.queries, made.partitions) == (1600, 10, 40, 6)
    assert 0.9 <= made.recall <= 1
    names = [row.key for part in store.parts for row in store.rows(part, range(part.rows))]
    asked = np.linspace(0, 1599, 40).astype(int)
    if metric == "dot":
        order = np.argsort(-(whole[asked] @ whole.T), axis=1)[:, :11]
    else:
        peer = NearestNeighbors(n_neighbors=11, metric="cosine" if metric == "cosine" else "euclidean").fit(whole)
        order = peer.kneighbors(whole[asked])[1]
    found = 0
    for i, near in zip(asked.tolist(), order.tolist(), strict=True):
        truth = {names[j] for j in [j for j in near if j != i][:10]}
        hits = search(store, key=names[i], metric=metric)
        found += len(truth & set(keys(hits)))
        if i < 200:
            scores = {hit.row: hit.score for hit in search(store, key=names[i], metric=metric, exact=True)}
            assert {hit.row: hit.score for hit in hits if hit.row in scores} == pytest.approx(
                {hit.row: scores[hit.row] for hit in hits if hit.row in scores}, abs=1e-4
            )
    assert found / 400 == pytest.approx(made.recall, abs=1e-3)


def test_fewer_partitions_find_less(tmp_path: Path) -> None:
    store = made_of(tmp_path / "s", [np.random.default_rng(0).normal(size=(1600, 16)).astype(np.float32)])
    few, all_ = build_index(store, recall=1e-9), build_index(store, recall=1)
    assert few.nprobes == 1
    assert all_.nprobes > 1
    assert few.recall < all_.recall


def test_an_index_of_an_earlier_state_is_not_asked(store: Store) -> None:
    build_index(store)
    new = np.full((1, 16), 9, np.float32)
    with writing(store.folder, store.recipe) as writer:
        writer.commit([Row("new", "s", None, None, None, "new")], new)
    with pytest.warns(UserWarning, match=r"earlier state of the store; every vector is compared.*vitzoo index"):
        assert keys(search(store.folder, new[0], k=1)) == ["new"]
    assert build_index(store.folder).vectors == 1601
    assert keys(search(store.folder, new[0], k=1)) == ["new"]
    with writing(store.folder, store.recipe) as writer:
        writer.commit(removed={("s", "new")})
    with pytest.warns(UserWarning, match="earlier state"):
        assert keys(search(store.folder, new[0], k=1)) != ["new"]


def test_when_it_is_not_asked(store: Store, whole: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(store)
    asked = []
    monkeypatch.setattr(approximate.Index, "nearest", lambda *_: asked.append(1))
    search(store, whole[0], exact=True)
    search(store, whole[0], where=["key~1/*"])
    with pytest.warns(UserWarning, match="is one for --metric cosine.*vitzoo index .* --metric l2"):
        search(store, whole[0], metric="l2")
    assert not asked
    assert len(search(store, whole[0])) == 10  # it found fewer, and every vector was compared
    assert asked
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.warns(UserWarning, match=r"cannot be asked: lancedb is not installed.*pip install"):
        search(store, whole[0])
    with pytest.raises(MissingExtra, match='pip install "lancedb'):
        build_index(store)


def test_more_than_it_finds_is_found_exactly(store: Store, whole: Vectors) -> None:
    build_index(store, recall=0.5)
    assert len(search(store, whole[0], k=1600)) == 1600
    assert len(search(store, np.zeros(16), k=3)) == 3


@pytest.mark.parametrize(("count", "length"), [(3, 4), (300, 7), (700, 24)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_odd_stores(tmp_path: Path, count: int, length: int, dtype: str) -> None:
    vectors = clouds(count, length)
    vectors[-1] = 0 if count > 3 else 1  # it has no direction: LanceDB never finds it by the cosine
    store = made_of(tmp_path / "s", [vectors], dtype)
    made = build_index(store)
    assert made.recall > 0.8
    assert keys(search(store, key="0/0", k=2)) == keys(search(store, key="0/0", k=2, exact=True))


def test_lancedb_reads_all_of_it(store: Store) -> None:
    import lancedb

    made = build_index(store)
    table = lancedb.connect(store.folder / made.folder).open_table("pictures").to_arrow()
    blocks = list(store.blocks())
    assert table.column_names == [*store.columns.names, "vector"]
    assert table["key"].to_pylist() == [key for block in blocks for key in block.table["key"].to_pylist()]
    kept = np.array(table["vector"].to_pylist(), np.float32)
    assert np.array_equal(kept, np.concatenate([block.vectors for block in blocks]))


def test_a_build_that_stops_leaves_what_was_there(
    store: Store, whole: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_index(store)
    killed = store.folder / "_index-00"
    shutil.copytree(store.folder / first.folder, killed)  # as one that was killed leaves it

    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(approximate, "_measured", stops)
        with pytest.raises(KeyboardInterrupt):
            build_index(store)
    assert [path.name for path in store.folder.glob("_index-*")] == [first.folder]
    assert len(search(store, whole[0])) == 10
    second = build_index(store)
    assert [path.name for path in store.folder.glob("_index-*")] == [second.folder] != [first.folder]
    assert Store(store.folder).parts == store.parts


def test_wrong_indexes(store: Store, whole: Vectors, tmp_path: Path) -> None:
    made = build_index(store)
    shutil.rmtree(store.folder / made.folder)
    with pytest.raises(DataError, match="the index cannot be read") as wrong:
        search(store, whole[0])
    assert f"make it anew: vitzoo index {store.folder}" in str(wrong.value)
    assert len(search(store, whole[0], exact=True)) == 10
    build_index(store)
    assert len(search(store, whole[0])) == 10
    (store.folder / "_index.json").write_text("{")
    with pytest.raises(DataError, match="remove it, and make one: vitzoo index"):
        search(store, whole[0])
    (store.folder / "_index.json").unlink()
    with alone(store.folder), pytest.raises(DataError, match="another process writes"):
        build_index(store)
    with pytest.raises(SpecError, match="above 0 and 1 at most, found 95"):
        build_index(store, recall=95)
    with pytest.raises(SpecError, match="there are cosine, dot, l2"):
        build_index(store, "angle")
    with pytest.raises(DataError, match="there is no store"):
        build_index(tmp_path)
    assert not list(tmp_path.glob("_*"))
    with pytest.raises(DataError, match="has 1 vectors; expected two"):
        build_index(made_of(tmp_path / "one", [whole[:1]]))


def test_the_command(
    store: Store, whole: Vectors, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "query.npy", whole[7])
    done = run("index", store.folder, "--recall", 1)
    assert (done.code, "1600 vectors in 6 partitions" in done.out, "recall@10 " in done.out) == (0, True, True)
    assert json.loads(run("index", store.folder, "--json").out)["queries"] == 40
    done = run("search", store.folder, tmp_path / "query.npy", "-k", 1)
    assert done.out.split()[:2] == ["1.0000", "0/7"]
    assert "by the index, which finds" in done.out
    done = run("search", store.folder, tmp_path / "query.npy", "-k", 1, "--exact")
    assert (done.out.split()[1], "by the index" in done.out) == ("0/7", False)
    with (
        monkeypatch.context() as few
    ):  # an index that finds too few: every vector is compared, and nothing else is said
        few.setattr(approximate.Index, "nearest", lambda *_: None)
        done = run("search", store.folder, tmp_path / "query.npy", "-k", 1)
    assert (done.out.split()[1], "by the index" in done.out) == ("0/7", False)
    wrong = run("index", store.folder, "--recall", 2)
    assert (wrong.code, "--recall" in wrong.err) == (2, True)
