"""Texts that a program reads whole: configurations, indexes, lists. They are small, or they are not what they seem."""

import errno
import os
import stat
from pathlib import Path

MOST = 16 << 20  # bytes; the configuration of a model with 21,843 classes and their names has one


def there(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder is there; no name that a file could have is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def read_small(path: Path, most: int = MOST) -> bytes:
    """The bytes of a small file.

    Raises:
        OSError: it cannot be read, or is larger than `most`, or is a device or a pipe, which may have no end.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(handle)
        mode, size = found.st_mode, found.st_size
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; expected a file", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a device or pipe; expected a file", str(path))
        if size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(size + 1)
    finally:
        os.close(handle)
    if len(content) > size:
        raise OSError(errno.EBUSY, "it grew while it was read", str(path))
    return content


def read_small_text(path: Path, most: int = MOST) -> str:
    """The same as text. Raises OSError, UnicodeDecodeError."""
    return read_small(path, most).decode("utf-8")
