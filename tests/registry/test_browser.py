"""The model browser, in a browser: what it shows is what `vitzoo list` says."""

import json
from pathlib import Path

import pytest
from browsing import Page, page  # noqa: F401  the fixture

from vitzoo import registry
from vitzoo.registry import catalogue
from vitzoo.registry.browser import browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "models.html"
    path.write_text(browser(), encoding="utf-8")
    return path


def names(page: Page) -> list[str]:  # noqa: F811
    return [one.text for one in page.all("#body tr td:first-child")]


def choose(page: Page, selector: str, value: str) -> None:  # noqa: F811
    page.run(
        f"const it = document.querySelector({selector!r}); it.value = {value!r};"
        "it.dispatchEvent(new Event('input', {bubbles: true}));"
    )


def test_the_smallest_good_model_in_three_actions(run, page: Page, file: Path) -> None:  # noqa: F811
    page.open(file)
    choose(page, "#license", "apache-2.0")
    page.one("#conditions").send_keys("in1k>84 img_size=224")
    page.one("th button[data-column=params]").click()
    asked = ["-w", "license=apache-2.0", "-w", "in1k>84", "-w", "img_size=224", "--sort", "params", "--json"]
    rows = json.loads(run("list", *asked).out)
    assert names(page) == [row["name"] for row in rows]
    assert len(page.all("#plot circle")) == len(rows)
    page.check()


def test_conditions_are_those_of_the_command(page: Page, file: Path) -> None:  # noqa: F811
    page.open(file)
    for text in (
        "rope~*",
        "registers>0 commercial=no",
        "params<=30M macs<5g",
        "year!=2021",
        "name~vit_?16.*",
        "in1k>=1e2",
        "commercial=True",
        "name~vit_[!bl]16.*",
    ):
        page.one("#conditions").clear()
        page.one("#conditions").send_keys(text)
        conditions = [catalogue.condition(one) for one in text.split()]
        found = catalogue.select(map(registry.record, registry.list_pretrained()), conditions)
        assert names(page) == [entry.name for entry in found.entries]
        assert page.one("#wrong").text == ""
    page.one("#conditions").clear()
    page.one("#conditions").send_keys("in1k >= 84  params<= 30M")  # as people write it
    assert names(page) == [
        entry.name
        for entry in map(registry.record, registry.list_pretrained())
        if (catalogue.value_of(entry, "in1k") or 0) >= 84 and entry.params <= 30e6
    ]
    for text, message in (
        ("in1kk>3", "no column"),
        ("in1k>x", "is a number"),
        ("commercial=x", "yes or no"),
        ("x", "COLUMN"),
    ):
        page.one("#conditions").clear()
        page.one("#conditions").send_keys(text)
        assert message in page.one("#wrong").text
    page.check()


def test_search_order_columns_and_the_address(page: Page, file: Path) -> None:  # noqa: F811
    page.open(file)
    assert names(page) == registry.list_pretrained()
    page.one("#search").send_keys("vit_base_patch16_224.augreg_in21k")  # an alias
    assert "vit_b16.augreg_in21k" in names(page)
    page.one("#search").clear()
    page.one("#search").send_keys("dinov2")
    choose(page, "#more", "dinov2_linear")
    page.one("th button[data-column=dinov2_linear]").click()
    assert page.one("th[aria-sort=descending]").text.startswith("dinov2_linear")
    assert names(page)[0] == "dinov2_g14_reg4.lvd142m"
    address, first = page.driver.current_url, names(page)
    page.driver.get("about:blank")
    page.driver.get(address)
    assert names(page) == first
    page.check()


def test_keys_dialog_and_links(page: Page, file: Path) -> None:  # noqa: F811
    page.open(file)
    page.one("#search").send_keys("dinov2_s14.lvd142m")
    page.run("document.querySelector('#plot circle, #body button').focus()")
    page.run("document.querySelector('#body button').focus()")
    page.driver.switch_to.active_element.send_keys("\ue007")  # enter
    text = page.one("#dialog").text
    assert 'vitzoo.create("dinov2_s14.lvd142m", pretrained=True)' in text
    assert "81.1 %" in text
    links = [one.get_attribute("href") for one in page.all("#dialog a")]
    assert links == [registry.measures()[one.measure]["source"] for one in registry.figures("dinov2_s14.lvd142m")]
    page.driver.switch_to.active_element.send_keys("\ue00c")  # escape
    assert not page.one("#dialog").is_displayed()
    page.check()


CONTRAST = """
const lum = c => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map(Number).map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
return Math.min(...[...document.querySelectorAll("h1, p, label, input, select, th button, td, td button")].slice(0, 300)
  .map(e => ratio(lum(getComputedStyle(e).color), lum(behind(e)))));
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1300, 500], ids=["wide", "narrow"])
def test_it_can_be_read(page: Page, file: Path, dark: bool, width: int) -> None:  # noqa: F811
    page.open(file, width=width, dark=dark)
    assert page.run(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    page.check()


def test_what_entries_say_stays_text(run, tmp_path: Path) -> None:
    assert "<script>alert" not in browser().partition("application/json")[2].partition("</script>")[0]
    path = tmp_path / "out" / "models.html"
    assert run("show", "-o", path).out.strip() == str(path)
    assert path.read_text() == browser()
    assert run("show", "-o", tmp_path).code == 2
