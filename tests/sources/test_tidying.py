"""`vitzoo cache prune`, and whoever else tidies the cache, in the middle of a create: the model is the right one.

Before the k-th time that this process touches a file while it creates, all that may go goes. A few k here, every one
with `VITZOO_KILLS=1`.
"""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probe import FILE, NAME, REPO, Bench, bench, checkpoint, is_probe

from vitzoo.errors import WeightsError
from vitzoo.layouts.beside import read_beside
from vitzoo.sources import storage

EVERY = 1 if "VITZOO_KILLS" in os.environ else 9


class Hook:
    """Does something before a process touches a file for the `at`-th time."""

    def __init__(self) -> None:
        self.armed, self.count, self.at, self.act = False, 0, -1, lambda: None
        sys.addaudithook(self)  # for good: there is no way to take one away

    def __call__(self, event: str, _: Any) -> None:
        if not self.armed or not event.startswith(("open", "os.", "shutil.")):
            return
        self.count += 1
        if self.count == self.at:
            self.armed = False
            self.act()
            self.armed = True

    def run(self, call: Callable[[], Any], at: int, act: Callable[[], None]) -> Any:
        self.armed, self.count, self.at, self.act = True, 0, at, act
        try:
            return call()
        finally:
            self.armed = False


@pytest.fixture(scope="module")
def hook() -> Hook:
    return Hook()


@pytest.fixture
def b(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    with bench(monkeypatch, tmp_path / "home") as found:
        yield found


def prune() -> None:
    """What `vitzoo cache prune` does."""
    storage.remove(storage.old_commits(), storage.leftovers())


def prune_by_name() -> None:
    """What it does where all that is there is named."""
    commits, paths = storage.holders(storage.cached())
    storage.remove([*commits, *storage.old_commits()], [*paths, *storage.leftovers()])


def remove_all() -> None:
    """What another program may do."""
    for folder in ("hub", "vitzoo/urls"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.proves(guarantee="Threads and processes do not meet", against="a prune before each step of a create")
@pytest.mark.parametrize("tidy", [prune, prune_by_name, remove_all])
@pytest.mark.parametrize("kind", ["entry", "commit", "repository", "address"])
def test_create_while_the_cache_is_tidied(b: Bench, hook: Hook, kind: str, tidy: Callable[[], None]) -> None:
    b.hub.add("org/folder", {FILE: checkpoint(), "config.json": b"{}"})
    name = {
        "entry": NAME,
        "commit": f"hf://{REPO}/{FILE}@{b.commit}",
        "repository": "hf-hub:org/folder",
        "address": b.hub.url("/files/x.safetensors", checkpoint()),
    }[kind]

    def created(at: int) -> bool:
        for folder in ("hub", "vitzoo"):
            shutil.rmtree(folder, ignore_errors=True)
        Path("hub").mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nobody is told that a file was damaged
            return is_probe(hook.run(lambda: b.create(name), at, tidy))

    assert created(-1)
    steps = hook.count
    assert steps > 20
    assert all(created(at) for at in range(1 + len(kind) % EVERY, steps + 1, EVERY))


def test_what_is_removed_each_time_that_it_comes(b: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitzoo.sources import hub

    real = hub._download

    def download(remote: hub.Remote, force: bool) -> Path:
        path = real(remote, force)
        path.unlink()
        return path

    monkeypatch.setattr(hub, "_download", download)
    with pytest.raises(WeightsError, match="was removed each time that it came; see who tidies the cache"):
        b.create()


def test_a_configuration_that_is_gone_is_not_passed_over(b: Bench) -> None:
    """Without it a file could be read as something else."""
    b.hub.add("org/folder", {FILE: checkpoint(), "config.json": b"{}"})
    path = Path(b.create("hf-hub:org/folder").load_report.source)  # type: ignore[union-attr]
    listed = frozenset({FILE, "config.json"})
    read_beside(path, listed)
    path.with_name("config.json").unlink()
    read_beside(path, listed - {"config.json"})
    with pytest.raises(WeightsError, match=r"config.json was removed before it was read; try again"):
        read_beside(path, listed)
