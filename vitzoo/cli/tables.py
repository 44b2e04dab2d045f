"""Tables and numbers as commands print them."""

from collections.abc import Sequence
from typing import Any, TextIO

from vitzoo.errors import one_line, printable


class Printed:
    """A stream for results: names of classes, tensors and files come from files, and could order a terminal about."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def columns(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> str:
    """Aligned columns; those whose numbers are in `right` are flush right."""
    rows = [tuple(map(one_line, row)) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def millions(number: float) -> str:
    return f"{number / 1e6:,.2f}M"


def size(img_size: tuple[int, int]) -> str:
    return str(img_size[0]) if img_size[0] == img_size[1] else f"{img_size[0]}x{img_size[1]}"
