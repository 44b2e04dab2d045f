"""What is written takes a place at once, and keeps what that place had of permissions and links."""

import errno
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from vitzoo.files import atomic
from vitzoo.files.atomic import replacing, replacing_folder
from vitzoo.files.write import write


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


def test_the_clock_that_counts_is_that_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replacing(tmp_path / "file") as partial:
        partial.write_text("of a process that is at work")
        monkeypatch.setattr("time.time", lambda: 4e9)  # another machine, on whose clock an hour has passed
        with replacing(tmp_path / "file") as other:
            other.write_text("quick")
        assert partial.exists()


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
