"""Locks on open files: the system takes them off when the process that holds them ends, however it ends."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNLOCKED = 24 * 3600  # seconds without a change, after which a file is nobody's where there are no locks


@contextmanager
def locking(handle: int, wait: bool = True) -> Iterator[bool | None]:
    """Hold an open file or folder. False: another has it, and `wait` is not set. None: the disk has no locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    except OSError:
        yield None
        return
    try:
        yield True
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough: a child of this process may have the same handle


@contextmanager
def at_work(path: Path) -> Iterator[bool]:
    """Hold a file or a folder that was made just now; false if another took it for abandoned before."""
    with opened_to_lock(path) as handle:
        if handle is None:
            yield path.exists()
            return
        with locking(handle):
            yield path.exists()


@contextmanager
def abandoned(path: Path, lock: Path | None = None) -> Iterator[bool]:
    """Whether nobody is at work on a file or a folder; if so, nobody begins while the block lasts.

    Who is holds `lock`; if not given, `path` itself. Where there are no locks, what was not changed for a day is
    abandoned.
    """
    lock = path if lock is None else lock
    if not lock.exists():
        yield True
        return
    with opened_to_lock(lock) as handle:
        if handle is None:
            yield _old(path)
            return
        with locking(handle, wait=False) as free:
            yield _old(path) if free is None else free


@contextmanager
def opened_to_lock(path: Path) -> Iterator[int | None]:
    """A handle that may be locked: network disks lock only what may be written. None where that cannot be."""
    handle = None
    if os.name != "nt":
        with suppress(OSError):  # it is another user's, or gone
            handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _old(path: Path) -> bool:
    """By the clock of this machine, which may differ from that of the disk by less than a day."""
    changed = [one.stat().st_mtime for one in (path, *path.rglob("*")) if one.exists()]
    return time.time() - max(changed, default=0) > UNLOCKED
