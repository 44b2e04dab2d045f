"""The files that a user names: on the command line, in folders, or one a line on standard input."""

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vitzoo.data.folders import SUFFIXES, walk
from vitzoo.data.places import Place, Skipped, no_picture, unusual
from vitzoo.errors import ImageError
from vitzoo.images.contents import HEAD, picture_kind, what_is
from vitzoo.small_files import there

STDIN = "-"
CHUNK = 1 << 16
MOMENT = 0.02  # seconds that are waited for more before what there is goes on


class Files:
    """Paths of pictures in the order in which they are named, and what in their folders is none."""

    def __init__(self, arguments: Sequence[str], idle: Callable[[], bool] = lambda: True) -> None:
        self.arguments, self.idle = arguments, idle
        self.left_out: list[Skipped] = []

    def check(self) -> None:
        """An ImageError for an argument that is not there."""
        for argument in self.arguments:
            if argument != STDIN and not os.path.lexists(argument):
                raise ImageError(f"no such file or folder: {argument}; check the path")

    def __iter__(self) -> Iterator[str | None]:
        """Each path; None where standard input has nothing just now and somebody waits for an answer."""
        for argument in self.arguments:
            if argument == STDIN:
                yield from self._from_stdin()
            elif there(argument) and Path(argument).is_dir():
                yield from self._below(Path(argument))
            else:
                yield argument

    def _below(self, folder: Path) -> Iterator[str]:
        """All files of a folder that are pictures or cannot be looked into; the others are left out."""
        found, before = 0, len(self.left_out)
        for path in (place / name for place, _, names in walk(folder) for name in sorted(names)):
            reason = _aside(path, folder)
            if reason is None:
                found += 1
                yield str(path)
            else:
                self.left_out.append(Skipped(str(path), reason))
        if not found:
            others = self.left_out[before:]
            why = f": {others[0].where} is {others[0].reason}" if others else ""
            raise ImageError(f"no pictures in the folder {folder}{why}; name a folder with pictures in it")

    def _from_stdin(self) -> Iterator[str | None]:
        count = 0
        for line in _lines(self.idle):
            if line is None:
                yield None
            elif line.strip():
                count += 1
                yield from Files([line], self.idle) if line != STDIN else [line]
        if not count:
            raise ImageError("standard input is empty; expected paths of pictures, one a line")


def _aside(path: Path, folder: Path) -> str | None:
    """Why a file of a folder is no picture and nobody expects it to be one."""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return "a hidden file"
    if unusual(path) is not None or path.stat().st_size == 0 or path.suffix.lower() in SUFFIXES:
        return None  # reading it says what it is
    return no_picture(str(path), Place(path))


def _lines(idle: Callable[[], bool]) -> Iterator[str | None]:
    """Lines of standard input as they come; also those that end in a zero, as of `find -print0`."""
    try:
        stream = sys.stdin.fileno()
    except (OSError, ValueError):  # in a program that has put a text in its place
        yield from sys.stdin.read().splitlines()
        return
    rest, first = b"", True
    while True:
        if not idle() and not _ready(stream):
            yield None
            continue
        chunk = os.read(stream, CHUNK)
        if first and picture_kind(chunk[:HEAD]) is not None:
            raise ImageError(
                f"standard input is {what_is(chunk[:HEAD])}; expected paths of pictures, one a line: "
                "save it to a file and name that"
            )
        first = False
        *lines, rest = (rest + chunk).replace(b"\0", b"\n").split(b"\n")
        yield from (os.fsdecode(line).rstrip("\r") for line in lines)
        if not chunk:
            yield os.fsdecode(rest).rstrip("\r")
            return


def _ready(stream: int) -> bool:
    """Whether something can be read at once."""
    try:
        return bool(select.select([stream], [], [], MOMENT)[0])
    except OSError:  # systems that wait for sockets alone
        return True
