"""A real browser for pages: Debian's chromium, without a window. It may ask nobody for anything."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Page:
    """A page in the browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, *, width: int = 1300, dark: bool = False) -> None:
        self.driver.set_window_size(width, 1000)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        self.driver.get("about:blank")  # else another fragment of the same file is no new page
        self.driver.get_log("performance")
        self.driver.get(path.resolve().as_uri())

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def check(self) -> None:
        """No error on the console, and nothing was asked for but the page and what it holds."""
        errors = [one["message"] for one in self.driver.get_log("browser")]
        assert errors == []
        asked = [one["message"] for one in self.driver.get_log("performance") if "requestWillBeSent" in one["message"]]
        assert not [one for one in asked if '"url":"http' in one]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A browser. Where there is none the test is skipped, but in the continuous check (VITZOO_BROWSER)."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        if "VITZOO_BROWSER" in os.environ:
            pytest.fail("chromium and chromedriver are missing: apt-get install chromium chromium-driver")
        pytest.skip("no chromium and chromedriver here")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Page(found)
    finally:
        found.quit()
