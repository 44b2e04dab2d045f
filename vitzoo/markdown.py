"""Tables and lists of Markdown."""

import re
from collections.abc import Iterable, Sequence

from vitzoo.errors import one_line, printable


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> list[str]:
    """Lines of a table; the columns named in `numbers` stand to the right."""
    lines = [head, ["--:" if name in numbers else "---" for name in head]]
    cells = [[one_line(cell).replace("|", r"\|") for cell in row] for row in (*lines, *rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def code(names: Iterable[object]) -> str:
    return ", ".join(f"`{one_line(name).replace('`', chr(39))}`" for name in names)


def said(text: object) -> str:
    """What somebody else wrote, as it is: no tag, no link, no picture."""
    return re.sub(r"([\\`*\[\]<>&])", r"\\\1", one_line(text))


def page(*blocks: Iterable[str]) -> str:
    """Blocks of lines, with an empty line between each two."""
    return printable("\n\n".join(text for block in blocks if (text := "\n".join(block))) + "\n")


def size(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
