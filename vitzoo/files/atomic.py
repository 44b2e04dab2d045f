"""Files and folders that appear whole or not at all."""

import contextlib
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitzoo.errors import WeightsError

ABANDONED = 3600  # seconds that nothing was written to a temporary name
LONGEST_STEM = 200  # bytes of a temporary name that tell whose it is; most file systems end at 255


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if the block ends well, and is removed if not.

    What stood there gives its permissions on; of a link, the file that it leads to is replaced.
    """
    path = _led_to(path)
    with partial_file(path, path) as partial:
        yield partial
        settled(partial)
        if path.is_file():
            shutil.copymode(path, partial)
        partial.replace(path)


@contextmanager
def partial_file(path: Path, like: Path) -> Iterator[Path]:
    """An empty file under a hidden name beside `path` that nobody else has; removed at the end if it is still there.

    Nobody may read it who may not read the file `like`, if there is one. What processes that were killed left beside it
    an hour ago is removed.
    """
    mode = stat.S_IMODE(like.stat().st_mode) | stat.S_IWUSR if like.is_file() else 0o666
    partial = _hidden(path)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        _tidy(path, partial)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def settled(path: Path) -> None:
    """Wait until a file is on the disk: a crash could leave a new name with an empty file, and a full disk shows."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place if the block ends well, and is removed if not.

    Raises:
        WeightsError: `path` is a file, or a folder that holds something.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WeightsError(f"{path} exists and is {'not empty' if path.is_dir() else 'a file'}; name a new folder")
    path = _led_to(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _hidden(path)
    partial.mkdir()
    try:
        _tidy(path, partial)
        yield partial
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """One at a time in a folder, of all who ask; false where the system cannot promise that, and all go on at once."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # some network disks have no locks
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _led_to(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path


def _hidden(path: Path) -> Path:
    """A name of its own for each call: processes of two machines may have one number, and threads share theirs."""
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(8)}.partial")


def _stem(path: Path) -> str:
    return path.name.encode()[:LONGEST_STEM].decode(errors="ignore")


def _tidy(path: Path, partial: Path) -> None:
    """Remove what nothing was written to for an hour, by the clock of the disk: that of another machine may differ."""
    now = partial.stat().st_mtime
    for other in path.parent.glob(f".{glob.escape(_stem(path))}.*.partial"):
        with contextlib.suppress(FileNotFoundError):  # another process may be at the same work
            last = max(one.stat().st_mtime for one in (other, *other.glob("*")))
            if now - last > ABANDONED:
                shutil.rmtree(other) if other.is_dir() else other.unlink()
