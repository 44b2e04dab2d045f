"""Pages in a real browser: they show their pictures, ask nobody for anything, and work without a mouse."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Result
from embedding.conftest import COUNT, FEW, picture

from vitzoo import ViT, embed, write_map
from vitzoo.embedding.maps import _placed
from vitzoo.errors import DataError, SpecError

ODD = "</script><b>&'.png"
NEEDED = os.environ.get("VITZOO_BROWSER")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, which logs what pages say and ask for."""
    programs = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in programs and not NEEDED:
        pytest.skip("no chromium and chromedriver here; VITZOO_BROWSER=1 makes that a failure")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1200,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, vit: ViT) -> Path:
    """Pictures and their vectors; one is there twice, one was lost since, and one has a name for trouble."""
    folder = tmp_path_factory.mktemp("pages")
    for i in range(COUNT):
        picture(folder / "pictures" / "ab"[i % 2] / f"{i}.png", i)
    shutil.copy(folder / "pictures" / "a" / "0.png", folder / "pictures" / "b" / "again.png")
    picture(folder / "pictures" / "a" / ODD.replace("/", "\u2215"), 99)
    embed(vit, folder / "pictures", folder / "vectors", **FEW)
    (folder / "pictures" / "a" / "2.png").unlink()
    return folder / "vectors"


class Page:
    """A page as a browser sees it."""

    def __init__(self, browser: Any, path: Path, scheme: str = "light", width: int = 1200) -> None:
        self.browser = browser
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(path.as_uri())

    def __call__(self, script: str) -> Any:
        return self.browser.execute_script(f"return {script}")

    def quiet(self) -> bool:
        """It has said nothing, and asked for nothing but itself."""
        said = self.browser.get_log("browser")
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        outside = [url for url in asked if not url.startswith(("data:", "file:"))]
        files = [url for url in asked if url.startswith("file:")]
        assert (said, outside, len(files)) == ([], [], 1)
        return True

    def pictures_shown(self) -> bool:
        """Each has a text and came through; there are some."""
        return bool(
            self(
                "(all => all.length > 0 && all.every(one => one.naturalWidth > 0 && one.alt))"
                "([...document.images].filter(one => !one.hidden))"
            )
        )

    def fits(self) -> bool:
        return bool(self("document.documentElement.scrollWidth <= innerWidth"))

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()


def test_search_and_duplicates(browser: Any, store: Path, vit: ViT, tmp_path: Path, run: Callable[..., Result]) -> None:
    pages = tmp_path / "search.html", tmp_path / "duplicates.html"
    assert run("search", store, "--key", "a/0.png", "-k", 12, "--html", pages[0]).code == 0
    assert run("duplicates", store, "--threshold", "0.9999", "--html", pages[1]).code == 0
    for path, count in zip(pages, (12, 2), strict=True):
        colors = set()
        for scheme, width in (("light", 1200), ("dark", 360)):
            page = Page(browser, path, scheme, width)
            assert page.pictures_shown()
            assert page("document.images.length") == count
            assert page.fits()
            colors.add(page("getComputedStyle(document.body).color"))
            assert page.quiet()
        assert len(colors) == 2
    text = Page(browser, pages[0])("document.body.innerText")
    assert "The picture is no longer there." in text
    assert ODD.replace("/", "\u2215") in text


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_the_map(browser: Any, store: Path, tmp_path: Path, scheme: str, width: int) -> None:
    from selenium.webdriver import ActionChains, Keys

    made = write_map(store, tmp_path / "map.html", method="pca", color="source")
    assert made == (COUNT + 2, COUNT + 1, COUNT + 2, "pca")
    page = Page(browser, tmp_path / "map.html", scheme, width)
    assert page("document.querySelectorAll('#plot > circle').length") == COUNT + 3
    assert page("document.getElementById('picture').hidden")
    page.press(Keys.TAB)
    assert page("document.activeElement.id") == "plot"
    assert page("document.getElementById('name').textContent")
    seen = set()
    page.press(Keys.HOME)
    for _ in range(COUNT + 2):
        seen.add(page("document.getElementById('name').textContent"))
        hidden = page("document.getElementById('picture').hidden")
        assert hidden or page.pictures_shown()
        page.press(Keys.PAGE_DOWN)
    assert len(seen) == COUNT + 2
    assert sum("no longer there" in one for one in seen) == 1
    assert any(ODD.replace("/", "\u2215") in one for one in seen)
    for key, axis, sign in ((Keys.ARROW_LEFT, "cx", -1), (Keys.ARROW_UP, "cy", -1), (Keys.ARROW_RIGHT, "cx", 1)):
        for _ in range(COUNT):
            before = float(page(f"document.getElementById('at').getAttribute('{axis}')"))
            page.press(key)
            assert sign * (float(page(f"document.getElementById('at').getAttribute('{axis}')")) - before) >= 0
    by_x = "(a, b) => +a.getAttribute('cx') < +b.getAttribute('cx') ? a : b"
    leftmost = page(f"[...document.querySelectorAll('#plot > circle')].reduce({by_x})")
    ActionChains(browser).move_to_element(leftmost).perform()
    assert float(page("document.getElementById('at').getAttribute('cx')")) == float(leftmost.get_attribute("cx"))
    assert page("getComputedStyle(document.getElementById('plot')).outlineStyle") == "solid"
    assert page.fits()
    assert page.quiet()


def test_a_page_may_ask_for_nothing(browser: Any, store: Path, tmp_path: Path) -> None:
    """What the tests above look for is seen where it is: a picture from elsewhere is stopped, and said."""
    write_map(store, tmp_path / "map.html", method="pca")
    assert Page(browser, tmp_path / "map.html").quiet()
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    (tmp_path / "other.html").write_text(text.replace("<main>", '<img src="http://127.0.0.1:9/x.png"><main>'))
    with pytest.raises(AssertionError):
        Page(browser, tmp_path / "other.html").quiet()


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

    page = tmp_path / "map.html"
    done = run("map", store, page, "--most", 5, "--method", "pca", "--where", "key~a/*")
    assert done.code == 0
    assert "5 of 7 pictures by pca" in done.out
    assert "2 pictures are not on it; --most shows more" in done.out
    done = run("map", store, page, "--most", 7, "--method", "pca", "--where", "key~a/*")
    assert "are not on it" not in done.out
    assert "1 pictures are no longer there" in done.out
    assert "5 of them are shown" not in page.read_text()
    monkeypatch.setitem(sys.modules, "umap", None)
    assert "by pca" in run("map", store, page).out
    wrong = run("map", store, page, "--method", "umap")
    assert (wrong.code, 'pip install "umap-learn' in wrong.err) == (2, True)
    wrong = run("map", store, page, "--color", "label")
    assert (wrong.code, "no column 'label'; there are key, source" in wrong.err) == (2, True)
    wrong = run("map", store, page, "--method", "tsne")
    assert (wrong.code, "there are umap, pca" in wrong.err) == (2, True)
    wrong = run("map", store, tmp_path / "none" / "x.html")
    assert (wrong.code, "cannot be written" in wrong.err) == (2, True)
    with pytest.raises(DataError, match="no picture with key=x to show"):
        write_map(store, page, where=["key=x"])
    with pytest.raises(SpecError, match="1 point at least"):
        write_map(store, page, most=0)
