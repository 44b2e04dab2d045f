"""What is written takes a place at once, and keeps what that place had of permissions and links."""

import errno
import os
import resource
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from vitzoo import file_locks
from vitzoo.files import atomic
from vitzoo.files.atomic import replacing, replacing_folder
from vitzoo.files.write import write

Writer = Callable[[Path], AbstractContextManager[Path]]


def test_threads_do_not_meet(tmp_path: Path) -> None:
    failed, start = list[BaseException](), threading.Barrier(64)

    def save(number: int) -> None:
        try:
            start.wait()
            with replacing(tmp_path / "file") as partial:
                partial.write_text(f"{number:04}" * 1000)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    text = (tmp_path / "file").read_text()
    assert text == text[:4] * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_processes_of_one_number_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers may each have a process 7 on one disk; what one of them left behind blocks nobody."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    for kind, name in ((replacing, "file"), (replacing_folder, "folder")):
        with kind(tmp_path / name) as first, kind(tmp_path / name) as second:
            assert first != second
            for partial in (first, second):
                (partial / "x" if partial.is_dir() else partial).write_text("whole")
            if kind is replacing_folder:
                (second / "x").unlink()  # the folder that comes second must be empty
    assert (tmp_path / "file").read_text() == "whole"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_permissions_stay(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    with replacing(path) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) & ~mode & 0o177 == 0  # nor are they wider for a while
        partial.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for name, there in (("file", True), ("dangling", False)):
        real, link = tmp_path / "far" / name, tmp_path / name
        if there:
            real.write_text("old")
        link.symlink_to(real)
        with replacing(link) as partial:
            partial.write_text("new")
        assert link.is_symlink()
        assert real.read_text() == "new"
    (tmp_path / "folder").symlink_to(tmp_path / "other", target_is_directory=True)
    with replacing_folder(tmp_path / "folder") as partial:
        (partial / "x").write_text("new")
    assert (tmp_path / "folder").is_symlink()
    assert (tmp_path / "other" / "x").read_text() == "new"


def test_a_name_as_long_as_a_file_may_have(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127):
        with replacing(tmp_path / name) as partial:
            partial.write_text("new")
        assert (tmp_path / name).read_text() == "new"


@contextmanager
def small_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_a_disk_that_fills_while_a_file_is_written(tmp_path: Path, suffix: str) -> None:
    tensors = {"a": torch.ones(100_000), "b": torch.ones(100_000)}
    shapes = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    with small_files(300_000), pytest.raises(OSError, match="File too large") as error:
        write(tmp_path / f"x{suffix}", iter(tensors.items()), shapes, {})
    assert error.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("held", [True, False])
def test_alone(tmp_path: Path, held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not held:

        def refused(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("fcntl.flock", refused)
    with atomic.alone(tmp_path) as only:
        assert only is held


@pytest.mark.proves(guarantee="Threads and processes do not meet", against="a writer that rests, and one that is dead")
@pytest.mark.parametrize("kind", [replacing, replacing_folder])
def test_what_is_left_is_told_by_locks_and_not_by_times(kind: Writer, tmp_path: Path) -> None:
    path = tmp_path / "it"
    left = died_while_writing(kind, path)
    with kind(path) as partial:
        assert not left.exists()  # at once: nobody holds it
        resting = next(iter(tmp_path.iterdir()))
        for one in (partial, resting):
            os.utime(one, (0, 0))  # long ago, by any clock
        with kind(path):
            assert resting.exists()
        if path.is_dir():
            path.rmdir()
    assert [one.name for one in tmp_path.iterdir()] == ["it"]


def died_while_writing(kind: Writer, path: Path) -> Path:
    """What a process leaves that is killed in the middle."""
    child = os.fork()
    if child == 0:
        with kind(path):
            os._exit(9)
    os.waitpid(child, 0)
    (left,) = path.parent.iterdir()
    return left


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a day without a change must do."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    young, old = (tmp_path / f".file.{name}.partial" for name in ("young", "old"))
    for one, age in ((young, 23), (old, 25)):
        one.touch()
        os.utime(one, (time.time() - age * 3600,) * 2)
    with replacing(tmp_path / "file"):
        pass
    assert sorted(one.name for one in tmp_path.iterdir()) == [young.name, "file"]


def test_what_another_takes_away_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = file_locks.locking, list[str]()

    @contextmanager
    def locking(handle: int, wait: bool = True) -> Iterator[bool | None]:
        if not taken:
            (one,) = tmp_path.iterdir()
            taken.append(one.name)
            one.unlink()
        with real(handle, wait) as held:
            yield held

    monkeypatch.setattr(file_locks, "locking", locking)
    with replacing(tmp_path / "file") as partial:
        assert partial.name not in taken
        partial.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"


def test_a_child_does_not_keep_a_lock(tmp_path: Path) -> None:
    """A data loader's worker begins while a thread saves, and lives on."""
    with atomic.alone(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with file_locks.abandoned(tmp_path) as free:
            assert free
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_what_has_its_name_is_on_the_disk(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut could leave the new name with an empty file."""
    done = list[str]()
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("fsync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (done.append("rename"), replace(self, to))[1])
    write(tmp_path / f"x{suffix}", iter([("a", torch.ones(2))]), {"a": ((2,), torch.float32)}, {})
    assert done[-2:] == ["fsync", "rename"]
