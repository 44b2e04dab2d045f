"""Tables and numbers as commands print them."""

from collections.abc import Sequence


def columns(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> str:
    """Aligned columns; those whose numbers are in `right` are flush right."""
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
