"""Holds the marks to what they say: a test marked `proves(layout=...)` has to read or write those layouts.

Each test of a parametrised function uses at least one of the layouts that the mark names. When everything ran, the
tests of a function together have used all of them.
"""

from collections.abc import Iterator
from typing import Any

import pytest

__all__ = ["layouts_are_used", "pytest_runtest_logreport", "pytest_sessionfinish"]

CLAIMED, USED = "proves", "used"
_seen: dict[str, dict[str, set[str]]] = {}
"""Test function -> the layouts that its marks name, and those that its tests used."""


@pytest.fixture(autouse=True)
def layouts_are_used(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note the layouts that a marked test binds to a spec."""
    marks = [mark.kwargs["layout"] for mark in request.node.iter_markers("proves") if "layout" in mark.kwargs]
    claimed = {name for mark in marks for name in ((mark,) if isinstance(mark, str) else mark)}
    if not claimed:
        yield
        return
    from vitzoo.layouts.layout import Layout

    used, bind = set[str](), Layout.bind

    def noted(layout: Layout, *given: Any, **settings: Any) -> Any:
        used.add(layout.name)
        return bind(layout, *given, **settings)

    monkeypatch.setattr(Layout, "bind", noted)
    yield
    assert used & claimed, f"the mark names {', '.join(sorted(claimed))}, and the test used none of them"
    request.node.user_properties += [(CLAIMED, sorted(claimed)), (USED, sorted(used))]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather what all processes noted."""
    if report.when == "teardown":
        function = _seen.setdefault(report.nodeid.partition("[")[0], {CLAIMED: set(), USED: set()})
        for key, names in report.user_properties:
            if key in function:
                function[key].update(names)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a whole run in which a mark named what its tests did not use."""
    options = session.config.option
    selected = options.keyword or options.markexpr or options.deselect or getattr(options, "lf", False)
    if hasattr(session.config, "workerinput") or selected or any("::" in part for part in session.config.args):
        return
    for function, said in _seen.items():
        if idle := said[CLAIMED] - said[USED]:
            print(f"\n{function}: the mark names {', '.join(sorted(idle))}, and no test of it used them")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
