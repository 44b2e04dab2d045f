"""Zip archives, opened after a look at how much their directory holds; and the words that one may carry.

Words are the comment at the end of an archive, which torch and numpy pass over: `{"vitzoo": {...}}`, from name to text.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

LARGEST_DIRECTORY = 16 << 20  # bytes; Python takes ten times as much memory for it
_END, _END_64 = b"PK\5\6", b"PK\6\6"  # of the directory (PKWARE's APPNOTE.TXT, 4.3.14 and 4.3.16)
_TAIL = 1 << 17  # bytes from the end of a file in which both of them stand


def open_archive(path: Path) -> zipfile.ZipFile:
    """Raises: ValueError, OSError, zipfile.BadZipFile: no archive, or one with a directory too large to be read."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        tail = file.read(_TAIL)
    for mark, start, end in ((_END, 12, 16), (_END_64, 40, 48)):
        place = tail.rfind(mark)
        size = int.from_bytes(tail[place + start : place + end], "little") if place >= 0 else 0
        if size > LARGEST_DIRECTORY and size != 0xFFFFFFFF:  # which says that the other record has it
            raise ValueError(f"its directory has {size:,} bytes, more than {LARGEST_DIRECTORY:,}")
    try:
        return zipfile.ZipFile(path)
    except NotImplementedError as error:  # of a newer version, says the archive
        raise zipfile.BadZipFile(str(error)) from None


OWNER = "vitzoo"
OURS = f'{{"{OWNER}": '.encode()
"""How a comment of ours begins; one of another program is none of our business."""


def words_of(path: Path) -> dict[str, str]:
    """What an archive says of itself; nothing if it has no comment, or one of another program.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: no archive, or words that are damaged.
    """
    with open_archive(path) as archive:
        comment = archive.comment
    if not comment.startswith(OURS):
        return {}
    try:
        (found,) = json.loads(comment).values()
    except RecursionError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ValueError("its comment has other values than texts")
    return found


def add_words(path: Path, words: Mapping[str, str]) -> None:
    """Write words into an archive that has none. Raises: ValueError: they are too long for one."""
    comment = json.dumps({OWNER: words}).encode()
    if len(comment) >= zipfile.ZIP_MAX_COMMENT:
        raise ValueError(f"{len(comment):,} bytes of words, and an archive holds {zipfile.ZIP_MAX_COMMENT:,}")
    if words:
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
