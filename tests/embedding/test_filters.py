"""Conditions on what a store says of its pictures take the rows that they say."""

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import Result
from embedding.conftest import FEW, made_of
from hypothesis import given
from hypothesis import strategies as st

from vitzoo import Store, ViT, duplicates, embed, search
from vitzoo.embedding.filters import Filter
from vitzoo.embedding.store import Row
from vitzoo.embedding.writing import writing
from vitzoo.errors import DataError, SpecError

TABLE = pa.table({"key": ["a/1", "a/2", "b%1", "b_1", "A/1", ""], "size": [1, 20, None, 3, -4, 20]})


def taken(*conditions: str) -> list[int]:
    mask = Filter.read(conditions, TABLE.schema).mask(TABLE)
    return [i for i, meant in enumerate(mask.to_pylist()) if meant]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["key=a/1"], [0]),
        (["key="], [5]),
        (["key!=a/1"], [1, 2, 3, 4, 5]),
        (["key~a/*"], [0, 1]),
        (["key~?/1"], [0, 4]),
        (["key~b%1"], [2]),
        (["key~b_1"], [3]),
        (["size=20"], [1, 5]),
        (["size!=20"], [0, 3, 4]),
        (["size<3"], [0, 4]),
        (["size <=3"], [0, 3, 4]),
        (["size>=3"], [1, 3, 5]),
        (["size>3", "key~a*"], [1]),
        (["size>-5", "size<0"], [4]),
    ],
)
def test_what_is_taken(conditions: list[str], expected: list[int]) -> None:
    assert taken(*conditions) == expected


@given(st.text("ab*?%_\\/", max_size=6), st.lists(st.text("ab%_\\/\n", max_size=6), min_size=1, max_size=8))
def test_patterns_are_those_of_file_names(pattern: str, names: list[str]) -> None:
    table = pa.table({"key": names})
    mask = Filter.read([f"key~{pattern}"], table.schema).mask(table)
    assert mask.to_pylist() == [fnmatch.fnmatchcase(name, pattern) for name in names]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("cat", r"expected where COLUMN=VALUE.*found 'cat'"),
        ("=cat", "found '=cat'"),
        ("label=cat", "no column 'label'; there are key, size$"),
        ("size=big", "values of the kind int64; 'big' is none"),
        ("size=1.5", "'1.5' is none"),
        ("size~1*", "no text but int64.*compare with = or <"),
    ],
)
def test_what_is_no_condition(condition: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        taken(condition)


def test_search_and_duplicates(tmp_path: Path, vit: ViT, pictures: Path, run: Callable[..., Result]) -> None:
    store = embed(vit, pictures, tmp_path / "out", **FEW).store
    keys = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")}
    found = {hit.row.key for hit in search(store, key="a/4.png", k=99, where=["key>=a/2", "key!=b/1.png"])}
    assert found == {key for key in keys if key >= "a/2"} - {"a/4.png", "b/1.png"}
    (group,) = duplicates(store, -1, where=["key~a/*"])
    assert {row.key for row in group.rows} == {key for key in keys if key.startswith("a/")}
    done = run("search", store.folder, "--key", "a/4.png", "--where", "key~b/*", "-k", 99)
    assert len(done.out.splitlines()) == 5
    wrong = run("search", store.folder, "--key", "a/4.png", "--where", "b/*")
    assert (wrong.code, "--where" in wrong.err) == (2, True)
    wrong = run("duplicates", store.folder, "--where", "kind=cat")
    assert (wrong.code, "there are key, source, path" in wrong.err) == (2, True)
    wrong = run("duplicates", store.folder, "--where", "key=a/4.png")
    assert (wrong.code, "1 pictures with key=a/4.png; expected two" in wrong.err) == (2, True)


def test_rows_are_those_of_their_file(tmp_path: Path) -> None:
    """Numbers hold across row groups, files, and pictures that are gone or not meant."""
    draw = np.random.default_rng(0)
    parts = [draw.normal(size=(count, 3)).astype(np.float32) for count in (8192 * 2 + 5, 7)]
    store = made_of(tmp_path / "s", parts)
    assert len(list(store.blocks())) == 4
    with writing(store.folder, store.recipe) as writer:
        writer.commit(removed={("s", f"0/{i}") for i in range(0, 9000, 7)})
    opened = Store(store.folder)
    for i in (1, 8192, 8193, 16384, 16388):
        assert search(opened, parts[0][i], k=1, metric="l2")[0].row.key == f"0/{i}"
        assert search(opened, parts[0][i], k=1, metric="l2", where=["key~0/*"])[0].row.key == f"0/{i}"
    assert search(opened, parts[1][3], k=1, metric="l2")[0].row == Row("1/3", "s", None, None, None, "1 3")
    assert search(opened, parts[0][7], k=1, metric="l2")[0].row.key != "0/7"


def test_vectors_of_files(tmp_path: Path) -> None:
    vectors: Any = np.eye(4, 3, dtype=np.float32)
    store = made_of(tmp_path / "s", [vectors[:3]])
    for name, value in {"a.npy": vectors[1], "b.npy": vectors[1].astype(np.float64)}.items():
        np.save(tmp_path / name, value)
        assert search(store, tmp_path / name, k=1)[0].row.key == "0/1"
    np.save(tmp_path / "two.npy", vectors[:2])
    with pytest.raises(SpecError, match=r"expected vectors of 3 numbers"):
        search(store, tmp_path / "two.npy")
    np.save(tmp_path / "text.npy", np.array(["a", "b", "c"]))
    (tmp_path / "other.npy").write_text("no vector")
    for name in ("text.npy", "other.npy", "missing.npy"):
        with pytest.raises(DataError, match=r"expected a vector that numpy\.save wrote"):
            search(store, tmp_path / name)
