"""What all tests share: one thread a worker, no time limits on busy machines, and never the network."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers are parallel already
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # the client reads it when it is imported

import pytest
from advice import *  # noqa: F403  the fixture that holds the marks `follows` to what they say
from hypothesis import settings
from loopback_hub import LoopbackHub
from loopback_hub.client import use
from proving import *  # noqa: F403  the hooks and the fixture that hold the marks to what they say

settings.register_profile("vitzoo", deadline=None, derandomize=True)
settings.load_profile("vitzoo")


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command line, called in this process."""
    from vitzoo.cli import main

    def call(*arguments: str | Path, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["vitzoo", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A loopback hub that this process takes for the hub, with an empty cache below `tmp_path / "home"`."""
    with LoopbackHub() as server:
        use(server, tmp_path / "home", monkeypatch, HF_HUB_ETAG_TIMEOUT=1, HF_HUB_DOWNLOAD_TIMEOUT=1)
        monkeypatch.chdir(tmp_path)  # a lock in the working directory would be in force
        yield server
