"""The order of names with numbers in them."""

import re


def natural(text: str) -> tuple[list[tuple[bool, int, str]], str]:
    """A key that sorts class9 before class10, as timm does; names that differ in case alone have an order, too."""
    parts = re.split(r"(\d+)", text.lower())
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts], text
