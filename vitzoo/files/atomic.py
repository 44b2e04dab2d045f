"""Files and folders that appear whole or not at all."""

import contextlib
import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitzoo.errors import WeightsError

ABANDONED = 3600  # seconds that nothing was written to a temporary name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place if the block ends well, and is removed if not."""
    partial = partial_name(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # or a crash could leave the new name with an empty file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """A hidden name beside `path`, of this process. Those that killed processes left there an hour ago are removed."""
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(FileNotFoundError):  # another process may be at the same work
            last = max(one.stat().st_mtime for one in (other, *other.glob("*")))
            if time.time() - last > ABANDONED:
                shutil.rmtree(other) if other.is_dir() else other.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place if the block ends well, and is removed if not.

    Raises:
        WeightsError: `path` is a file, or a folder that holds something.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise WeightsError(f"{path} exists and is {'not empty' if path.is_dir() else 'a file'}; name a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    partial.mkdir()
    try:
        yield partial
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
