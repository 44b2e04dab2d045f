"""Pages in a real browser: they show their pictures, ask nobody for anything, and work without a mouse."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Page, page  # noqa: F401  the fixture
from conftest import Result
from embedding.conftest import COUNT, FEW, picture

from vitzoo import ViT, embed, write_map
from vitzoo.embedding.maps import _placed
from vitzoo.errors import DataError, SpecError

ODD = "<\u2215script><b>&'.png"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, vit: ViT) -> Path:
    """Pictures and their vectors; one is there twice, one was lost since, and one has a name for trouble."""
    folder = tmp_path_factory.mktemp("pages")
    for i in range(COUNT):
        picture(folder / "pictures" / "ab"[i % 2] / f"{i}.png", i)
    shutil.copy(folder / "pictures" / "a" / "0.png", folder / "pictures" / "b" / "again.png")
    picture(folder / "pictures" / "a" / ODD, 99)
    embed(vit, folder / "pictures", folder / "vectors", **FEW)
    (folder / "pictures" / "a" / "2.png").unlink()
    return folder / "vectors"


def pictures_shown(page: Page) -> int:  # noqa: F811
    """How many; each has a text and came through."""
    shown = page.run("return [...document.images].filter(one => !one.hidden).map(one => [one.naturalWidth, one.alt])")
    assert all(width > 0 and text for width, text in shown)
    return len(shown)


def fits(page: Page) -> bool:  # noqa: F811
    return bool(page.run("return document.documentElement.scrollWidth <= innerWidth"))


def press(page: Page, *keys: str) -> None:  # noqa: F811
    from selenium.webdriver import ActionChains

    ActionChains(page.driver).send_keys(*keys).perform()


def test_search_and_duplicates(page: Page, store: Path, tmp_path: Path, run: Callable[..., Result]) -> None:  # noqa: F811
    pages = tmp_path / "search.html", tmp_path / "duplicates.html"
    assert run("search", store, "--key", "a/0.png", "-k", 12, "--html", pages[0]).code == 0
    assert run("duplicates", store, "--threshold", "0.9999", "--html", pages[1]).code == 0
    for path, count in zip(pages, (12, 2), strict=True):
        colors = set()
        for width, dark in ((1300, False), (400, True)):
            page.open(path, width=width, dark=dark)
            assert pictures_shown(page) == count
            assert fits(page)
            colors.add(page.run("return getComputedStyle(document.body).color"))
            page.check()
        assert len(colors) == 2
    page.open(pages[0])
    text = page.one("body").text
    assert "The picture is no longer there." in text
    assert ODD in text


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (400, True)])
def test_the_map(page: Page, store: Path, tmp_path: Path, width: int, dark: bool) -> None:  # noqa: F811
    from selenium.webdriver import ActionChains, Keys

    made = write_map(store, tmp_path / "map.html", method="pca", color="source")
    assert made == (COUNT + 2, COUNT + 1, COUNT + 2, "pca")
    page.open(tmp_path / "map.html", width=width, dark=dark)
    points = page.all("#plot > circle:not(#at)")
    assert len(points) == COUNT + 2
    assert pictures_shown(page) == 0
    press(page, Keys.TAB)
    assert page.run("return document.activeElement.id") == "plot"
    assert page.one("#name").text
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    seen = []
    press(page, Keys.HOME)
    for _ in range(COUNT + 2):
        seen.append((page.one("#name").text, pictures_shown(page)))
        press(page, Keys.PAGE_DOWN)
    assert len(set(seen)) == COUNT + 2
    assert [shown for text, shown in seen if "no longer there" in text] == [0]
    assert sum(shown for _, shown in seen) == COUNT + 1
    assert any(ODD in text for text, _ in seen)
    at = page.one("#at")
    for axis, onward, back in (("cx", Keys.ARROW_RIGHT, Keys.ARROW_LEFT), ("cy", Keys.ARROW_DOWN, Keys.ARROW_UP)):
        first = min(points, key=lambda point, axis=axis: float(point.get_attribute(axis)))
        ActionChains(page.driver).move_to_element(first).perform()
        places = [float(at.get_attribute(axis))]
        assert places[0] == float(first.get_attribute(axis))
        for key in (onward, onward, back):
            press(page, key)
            places.append(float(at.get_attribute(axis)))
        assert places[0] < places[1] < places[2] > places[3]
    assert fits(page)
    page.check()


def test_a_page_may_ask_for_nothing(page: Page, store: Path, tmp_path: Path) -> None:  # noqa: F811
    """What the check looks for it sees where it is; the page itself stops the picture."""
    write_map(store, tmp_path / "map.html", method="pca")
    page.open(tmp_path / "map.html")
    page.check()
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    (tmp_path / "other.html").write_text(text.replace("<main>", '<img src="http://127.0.0.1:9/x.png"><main>'))
    page.open(tmp_path / "other.html")
    with pytest.raises(AssertionError):
        page.check()


def test_places_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    draw = np.random.default_rng(0)
    vectors = (draw.normal(size=(60, 5)) * [1, 5, 2, 0.1, 3]).astype(np.float32)
    _, places = _placed(vectors, "pca")
    peer = PCA(2).fit(vectors)
    expected = peer.transform(vectors) * np.sign([axis[np.abs(axis).argmax()] for axis in peer.components_])
    wide = np.ptp(expected, axis=0).max()
    np.testing.assert_allclose(np.diff(places, axis=0), np.diff(expected, axis=0) * 960 / wide, atol=0.05)
    assert places.min() >= 20 - 1e-3
    assert places.max() <= 980 + 1e-3
    assert np.array_equal(_placed(vectors, "pca")[1], places)


@pytest.mark.parametrize("vectors", [np.ones((1, 3)), np.ones((4, 3)), np.ones((4, 1)), np.eye(2)])
def test_places_of_few(vectors: np.ndarray[Any, Any]) -> None:
    method, places = _placed(vectors.astype(np.float32), None)
    assert (method, places.shape) == ("pca", (len(vectors), 2))
    assert np.isfinite(places).all()


def test_by_umap(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("umap")
    first, again = (write_map(store, tmp_path / f"{i}.html") for i in range(2))
    assert first.method == again.method == "umap"
    assert (tmp_path / "0.html").read_text() == (tmp_path / "1.html").read_text()


def test_the_command(store: Path, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = tmp_path / "map.html"
    done = run("map", store, path, "--most", 5, "--method", "pca", "--where", "key~a/*")
    assert done.code == 0
    assert "5 of 7 pictures by pca" in done.out
    assert "2 pictures are not on it; --most shows more" in done.out
    done = run("map", store, path, "--most", 7, "--method", "pca", "--where", "key~a/*")
    assert "are not on it" not in done.out
    assert "1 pictures are no longer there" in done.out
    assert "5 of them are shown" not in path.read_text()
    monkeypatch.setitem(sys.modules, "umap", None)
    assert "by pca" in run("map", store, path).out
    wrong = run("map", store, path, "--method", "umap")
    assert (wrong.code, 'pip install "umap-learn' in wrong.err) == (2, True)
    wrong = run("map", store, path, "--color", "kind")
    assert (wrong.code, "no column 'kind'; there are key, source" in wrong.err) == (2, True)
    wrong = run("map", store, path, "--method", "tsne")
    assert (wrong.code, "there are umap, pca" in wrong.err) == (2, True)
    wrong = run("map", store, tmp_path / "none" / "x.html")
    assert (wrong.code, "cannot be written" in wrong.err) == (2, True)
    with pytest.raises(DataError, match="no picture with key=x to show"):
        write_map(store, path, where=["key=x"])
    with pytest.raises(SpecError, match="1 point at least"):
        write_map(store, path, most=0)
