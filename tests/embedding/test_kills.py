"""Runs that are killed at random moments, one alone and two on one store: no row is lost, and none is there twice.

pytest tests/embedding/test_kills.py                          a few kills, at moments that are always the same
VITZOO_KILLS=200 pytest tests/embedding/test_kills.py -s      as many
"""

import errno
import os
import random
import resource
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from embedding.conftest import COUNT, FEW, contents

from vitzoo import Store, ViT, embed
from vitzoo.embedding.recipe import MANIFEST
from vitzoo.errors import DataError

KILLS = int(os.environ.get("VITZOO_KILLS", "6"))
OPTIONS: dict[str, Any] = {**FEW, "num_workers": 1, "deterministic": True}
"""With a process that reads, so that a kill is one of a group."""


def forked(work: Callable[[], object]) -> int:
    """A process of its own group that does some work, in silence."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1), os.dup2(silence, 2)
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def killed(child: int) -> bool:
    """End a process with all of its group; false if it had ended before."""
    ended, status = 0, 0
    while not ended:
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet, or has ended
            ended, status = os.waitpid(child, os.WNOHANG)
        else:
            ended, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def once_free(work: Callable[[], Any]) -> Any:
    """What is done when the last process of a group that was killed is gone: until then it holds the store's lock."""
    until = time.monotonic() + 20
    while True:
        try:
            return work()
        except DataError as error:
            if "another process writes" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


@pytest.mark.parametrize("writers", [1, 2])
def test_killed_at_random_moments(tmp_path: Path, vit: ViT, pictures: Path, writers: int) -> None:
    """Each store is killed again and again until a run ends; then it has the bytes of an unbroken one."""
    (pictures / "a" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    whole = contents(embed(vit, pictures, tmp_path / "whole", **OPTIONS).store.folder)
    dice, kills, stores, start = random.Random(writers), 0, 0, time.monotonic()
    os.waitpid(forked(lambda: embed(vit, pictures, tmp_path / "timed", **OPTIONS)), 0)
    longest = time.monotonic() - start
    while kills < KILLS:
        stores += 1
        folder = tmp_path / str(stores)
        work = partial(embed, vit, pictures, folder, **OPTIONS)
        for _ in range(3):
            running = [forked(work) for _ in range(writers)]
            select.select([], [], [], dice.uniform(0, longest))
            kills += sum([killed(child) for child in running])
            if (folder / MANIFEST).exists():
                store = Store(folder)
                store.verify()
                keys = [key for block in store.blocks() for key in block.table["key"].to_pylist()]
                assert len(keys) == len(set(keys))
        done = once_free(work)
        assert done.computed + done.kept == COUNT + 1
        assert contents(folder) == whole
    print(f"{kills} kills within {longest:.2f} s, {writers} at a time, {stores} stores: all whole")


def test_a_disk_that_takes_no_more(tmp_path: Path, vit: ViT, pictures: Path) -> None:
    """The system itself refuses to write; what is there goes on."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        with pytest.raises(DataError, match=r"out cannot be written: File too large") as error:
            embed(vit, pictures, tmp_path / "out", **{**OPTIONS, "num_workers": 0, "rows_per_file": COUNT})
        assert "\n" not in str(error.value)

    assert os.waitstatus_to_exitcode(os.waitpid(forked(limited), 0)[1]) == 0
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert not list((tmp_path / "out").glob(".*"))
    assert embed(vit, pictures, tmp_path / "out", **OPTIONS).computed == COUNT


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, vit: ViT, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = embed(vit, pictures / "a", tmp_path / "out", **OPTIONS).store
    before = contents(store.folder)
    opened = Path.open

    def refused(self: Path, mode: str = "r", *given: Any, **options: Any) -> Any:
        if self.parent == store.folder and set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        return opened(self, mode, *given, **options)

    with monkeypatch.context() as patch:  # who runs the tests may be allowed to write everywhere
        patch.setattr(Path, "open", refused)
        patch.setattr("os.open", lambda path, *given, **options: refused(Path(path), "w"))
        with pytest.raises(DataError, match="out cannot be written: Read-only file system"):
            embed(vit, pictures, store.folder, **{**OPTIONS, "num_workers": 0})
    assert contents(store.folder) == before
    assert embed(vit, pictures, store.folder, **OPTIONS).computed == COUNT
