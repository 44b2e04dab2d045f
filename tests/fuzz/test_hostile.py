"""Files that an enemy makes on purpose: a right result or an error of vitzoo's own, in seconds, in bounded memory."""

import os
import pickle
import resource
import signal
import time
import warnings
from pathlib import Path

import pytest
from fuzz.hostile import HOSTILE, Hostile

from vitzoo.errors import VitzooError

LONGEST = 10  # seconds of the processor
LARGEST = 1500 << 20  # bytes that the process may grow by


def outcome(hostile: Hostile, path: Path) -> str:
    """What becomes of a file in a process of its own, which is ended where it takes too long or too much."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + LONGEST,) * 2)
        space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + LARGEST
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        signal.alarm(10 * LONGEST)  # for who waits and does nothing
        os.write(write, pickle.dumps(read_it(hostile, path)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        said = file.read()
    status = os.waitpid(child, 0)[1]
    return str(pickle.loads(said)) if said else f"killed by {signal.Signals(os.WTERMSIG(status)).name}"


def read_it(hostile: Hostile, path: Path) -> str:
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hostile.read(path)
        said = "read"
    except VitzooError as error:
        said = f"refused: {error}" if len(str(error)) < 1500 else f"too long an error: {len(str(error))}"
    except BaseException as error:
        said = f"foreign: {type(error).__name__}: {str(error)[:300]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return f"{said} [{time.process_time() - start:.1f} s, {grown} MB]"


@pytest.mark.proves(guarantee="A file is right or an error", against="files that were made to break their readers")
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.what)
def test_hostile(hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    hostile.make(tmp_path / hostile.name)
    said = outcome(hostile, tmp_path / hostile.name)
    print(f"{hostile.what}: {said[:300]}")
    assert said.startswith(("read", "refused")), said
    assert not (tmp_path / "fired").exists()
