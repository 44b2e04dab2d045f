"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vitzoo.errors import WeightsError
from vitzoo.file_locks import abandoned, at_work, locking, opened_to_lock

LONGEST_STEM = 200  # bytes of a temporary name that tell whose it is; most file systems end at 255


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if the block ends well, and is removed if not.

    What stood there gives its permissions on; of a link, the file that it leads to is replaced.
    """
    path = _led_to(path)
    with partial_file(path) as partial:
        yield partial
        settled(partial)
        if path.is_file():
            shutil.copymode(path, partial)
        partial.replace(path)


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """An empty file under a hidden name beside `path` that nobody else has; removed at the end if it is still there.

    Nobody may read it who may not read `path`, if that is there.
    """
    mode = stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR if path.is_file() else 0o666

    def make(partial: Path) -> None:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

    with _claimed(path, make) as partial:
        yield partial


def settled(path: Path) -> None:
    """Wait until a file is on the disk: a crash could leave a new name with an empty file, and a full disk shows."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` if the block ends well, and is removed if not.

    Raises:
        WeightsError: `path` is a file, or a folder that holds something.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WeightsError(f"{path} exists and is {'not empty' if path.is_dir() else 'a file'}; name a new folder")
    path = _led_to(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(path, Path.mkdir) as partial:
        inner = partial / path.name  # the outer one is locked, and who writes into this one may lock it
        inner.mkdir()
        yield inner
        inner.replace(path)


@contextmanager
def replacing_together(path: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder; its files take their places beside `path` if the block ends well.

    The file of that very name comes last: who reads it finds the others. They are not replaced at one stroke, so it
    has to say which others it was written with.
    """
    path = _led_to(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(path, Path.mkdir) as partial:
        inner = partial / "files"
        inner.mkdir()
        yield inner / path.name
        for file in sorted(inner.iterdir(), key=lambda file: file.name == path.name):
            settled(file)
            file.replace(path.parent / file.name)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """One at a time in a folder, of all who ask; false where the system cannot promise that, and all go on at once."""
    with opened_to_lock(folder) as handle:
        if handle is None:
            yield False
            return
        with locking(handle) as held:
            yield held is True


def _led_to(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path


@contextmanager
def _claimed(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """What `make` makes under a hidden name beside `path`, locked while the block lasts and gone after it.

    What processes that have ended left beside it is removed.
    """
    while True:
        partial = _hidden(path)
        try:
            make(partial)
            with at_work(partial) as ours:
                if ours:
                    _tidy(path)
                    yield partial
                    return
        finally:
            _remove(partial)


def _hidden(path: Path) -> Path:
    """A name of its own for each call: processes of two machines may have one number, and threads share theirs."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "no name can hold a null character", str(path))
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(8)}.partial")


def _stem(path: Path) -> str:
    return path.name.encode()[:LONGEST_STEM].decode(errors="ignore")


def _tidy(path: Path) -> None:
    """Remove what was left under temporary names for `path`, as far as it is there and ours to remove."""
    for other in path.parent.glob(f".{glob.escape(_stem(path))}.*.partial"):
        with contextlib.suppress(OSError), abandoned(other) as free:
            if free:
                _remove(other)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)
