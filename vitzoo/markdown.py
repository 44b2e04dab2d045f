"""Tables and lists of Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[str] = ()) -> list[str]:
    """Lines of a table; the columns named in `numbers` stand to the right."""
    lines = [head, ["--:" if name in numbers else "---" for name in head]]
    cells = [[str(cell).replace("|", r"\|").replace("\n", " ") for cell in row] for row in (*lines, *rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def code(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def page(*blocks: Iterable[str]) -> str:
    """Blocks of lines, with an empty line between each two."""
    return "\n\n".join(text for block in blocks if (text := "\n".join(block))) + "\n"


def size(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
