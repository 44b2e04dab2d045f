"""What is found is what a look at every vector finds; copies are found; pages hold all that they show."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from conftest import Result
from embedding.conftest import COUNT, made_of, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from vitzoo import Store, ViT, create, duplicates, embed, search
from vitzoo.embedding.nearest import nearest
from vitzoo.errors import DataError, SpecError

FEW: dict[str, Any] = {"batch_size": 4, "rows_per_file": 4, "num_workers": 0}


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12), st.sampled_from(["cosine", "l2", "dot"]))
def test_search_finds_what_scikit_learn_finds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, k: int, metric: str
) -> None:
    draw = np.random.default_rng(seed)
    whole = draw.normal(size=(count, 6)).astype(np.float32)
    parts = [part for part in np.array_split(whole, 3) if len(part)]
    store = made_of(tmp_path_factory.mktemp("s"), parts)
    keys = [f"{number}/{i}" for number, part in enumerate(parts) for i in range(len(part))]
    queries = draw.normal(size=(2, 6)).astype(np.float32)
    found = nearest(store, queries, k, metric)
    if metric == "dot":
        order = np.argsort(-(queries @ whole.T), axis=1)[:, :k]
        scores = np.take_along_axis(queries @ whole.T, order, 1)
    else:
        peer = NearestNeighbors(n_neighbors=min(k, count), metric="cosine" if metric == "cosine" else "euclidean")
        distances, order = peer.fit(whole).kneighbors(queries)
        scores = 1 - distances if metric == "cosine" else distances
    for hits, places, expected in zip(found, order, scores, strict=True):
        assert [hit.row.key for hit in hits] == [keys[i] for i in places]
        np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-4)


def test_by_picture_by_key_and_by_vector(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    embed(vit, pictures, tmp_path / "out", **FEW)
    hits = search(tmp_path / "out", pictures / "a" / "4.png", model=vit, k=3)
    assert hits[0].row.key == "a/4.png"
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    by_key = search(tmp_path / "out", key="a/4.png", k=2)
    assert [hit.row.key for hit in by_key] == [hit.row.key for hit in hits[1:]]
    block = next(Store(tmp_path / "out").blocks())
    assert search(tmp_path / "out", block.vectors[1], k=1)[0].row == block.row(1)
    assert {hit.row.key[0] for hit in search(tmp_path / "out", key="a/4.png", where=["key~b/*"], k=99)} == {"b"}
    assert len(search(tmp_path / "out", key="a/4.png", k=99)) == COUNT - 1


def test_wrong_searches(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    store = embed(vit, pictures, tmp_path / "out", **FEW).store
    with pytest.raises(SpecError, match="other weights than those"):
        search(store, pictures / "a" / "4.png", model=tiny.randomise(create(tiny.spec()), seed=9))
    with pytest.raises(SpecError, match="expected vectors of 24 numbers"):
        search(store, np.zeros(3))
    with pytest.raises(SpecError, match="not finite"):
        search(store, np.full(24, np.nan))
    with pytest.raises(SpecError, match="there are cosine, dot, l2"):
        search(store, key="a/4.png", metric="angle")
    with pytest.raises(SpecError, match="ask for 1 picture at least"):
        search(store, key="a/4.png", k=-1)
    with pytest.raises(SpecError, match="key of one of the store's own"):
        search(store)
    with pytest.raises(DataError, match="no picture has the key"):
        search(store, key="4.png")
    with pytest.raises(DataError, match="no picture with key~c/"):
        search(store, key="a/4.png", where=["key~c/*"])


def test_removed_pictures_are_not_found(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    embed(vit, pictures, tmp_path / "out", **FEW)
    (pictures / "a" / "4.png").unlink()
    embed(vit, pictures, tmp_path / "out", **FEW)
    assert "a/4.png" not in {hit.row.key for hit in search(tmp_path / "out", key="a/0.png", k=99)}


def test_copies_are_found(tmp_path: Path, pictures: Path) -> None:
    original = pictures / "a" / "0.png"
    shutil.copy(original, pictures / "b" / "copied.png")
    opened = Image.open(original)
    opened.save(pictures / "b" / "encoded.jpg", quality=90)
    opened.resize((64, 64), Image.Resampling.BICUBIC).save(pictures / "b" / "larger.png")
    shutil.copy(pictures / "b" / "5.png", pictures / "a" / "five.png")
    embed("vit_nano4.cifar10", pictures, tmp_path / "out", features="mean", **FEW)
    found = {tuple(sorted(row.key for row in group.rows)): group for group in duplicates(tmp_path / "out", 0.98)}
    assert ("a/0.png", "b/copied.png", "b/encoded.jpg", "b/larger.png") in found
    assert found["a/five.png", "b/5.png"].same_bytes
    assert found["a/five.png", "b/5.png"].least == pytest.approx(1)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(-0.5, 0.99))
def test_groups_are_those_of_scipy(tmp_path_factory: pytest.TempPathFactory, seed: int, threshold: float) -> None:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    whole = np.random.default_rng(seed).normal(size=(24, 4)).astype(np.float32)
    store = made_of(tmp_path_factory.mktemp("s"), [whole[:10], whole[10:]])
    unit = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    cosines = unit @ unit.T
    if np.abs(cosines - threshold).min() < 1e-5:
        return
    _, labels = connected_components(csr_array(cosines >= threshold))
    keys = [f"0/{i}" for i in range(10)] + [f"1/{i}" for i in range(14)]
    expected = {frozenset(np.array(keys)[labels == label]) for label in set(labels) if (labels == label).sum() > 1}
    assert {frozenset(row.key for row in group.rows) for group in duplicates(store, threshold)} == expected


def test_wrong_thresholds(tmp_path: Path) -> None:
    store = made_of(tmp_path, [np.ones((1, 3), np.float32)])
    with pytest.raises(SpecError, match=r"-1\.\.1, found 95; give another threshold"):
        duplicates(store, 95)
    with pytest.raises(DataError, match="two at least"):
        duplicates(store)


def test_the_commands_and_their_pages(tmp_path: Path, pictures: Path, run: Callable[..., Result]) -> None:
    odd = "<b>&.png"
    picture(pictures / "a" / odd, 3)
    shutil.copy(pictures / "a" / "0.png", pictures / "b" / "again.png")
    store, page = tmp_path / "out", tmp_path / "page.html"
    assert run("embed", "vit_nano4.cifar10", pictures, store, "--num-workers", 0).code == 0
    done = run("search", store, pictures / "a" / odd, "-k", 2, "--html", page, "--json")
    hits = json.loads(done.out)
    assert hits[0]["key"] == f"a/{odd}"
    assert hits[0]["cosine"] == pytest.approx(1, abs=1e-5)
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 3
    assert "<b>&.png" not in text
    assert "&lt;b&gt;&amp;.png" in text
    assert "http:" not in text
    assert "https:" not in text
    done = run("search", store, "--key", "a/0.png", "-k", 1)
    assert done.out.split()[:2] == ["1.0000", "b/again.png"]
    done = run("duplicates", store, "--threshold", "0.9999", "--html", page)
    assert "the same bytes:\n  a/0.png\n  b/again.png\n" in done.out
    assert "http:" not in page.read_text()
    wrong = run("search", store, "--key", "a/0.png", "--html", tmp_path / "none" / "x.html")
    assert (wrong.code, "cannot be written" in wrong.err) == (2, True)
    wrong = run("search", store)
    assert (wrong.code, "--key" in wrong.err) == (2, True)
    wrong = run("duplicates", store, "--threshold", "95")
    assert (wrong.code, "--threshold" in wrong.err) == (2, True)


def test_the_page_of_the_docs(
    tmp_path: Path, pictures: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "embedding.md").read_text(encoding="utf-8")
    commands, python = re.findall(r"```(?:sh|python)\n(.*?)```", text, re.DOTALL)[:2]
    shutil.copytree(root / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines()[1:]:
        done = run(*shlex.split(line, comments=True)[1:])
        assert (done.code, bool(done.out)) == (0, True), done
    exec(compile(python, "embedding.md", "exec"), {})
