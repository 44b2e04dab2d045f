"""What a data set was taken for, what is left out and what was taken for granted, in a line each on the console."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vitzoo.data.pictures import NO_CLASS, Pictures
from vitzoo.data.places import Skipped
from vitzoo.errors import printable, public
from vitzoo.images.ranges import DEEP, Note

MOST_CLASSES, MOST_REASONS = 6, 4
LONGEST = 60  # characters of a name or of a reason


class Remark(NamedTuple):
    """A note that pictures have in common."""

    text: str
    pictures: int
    first: str
    largest: float | None

    def __str__(self) -> str:
        found = f"{self.pictures:,} picture{'s' if self.pictures > 1 else ''} {self.text} ({_end(self.first)}"
        if self.largest is None:
            return f"{found})"
        dark = f"; if that is white, give white={self.largest:g}" if self.largest <= DEEP // 2 else ""
        return f"{found}; the largest value is {self.largest:g}{dark})"


def summed(notes: Iterable[tuple[str, Note]]) -> tuple[Remark, ...]:
    """From (name of a picture, note) to what they say together."""
    found: dict[str, Remark] = {}
    for name, note in notes:
        before = found.get(note.text, Remark(note.text, 0, name, note.largest))
        largest = None if note.largest is None else max(note.largest, before.largest or note.largest)
        found[note.text] = before._replace(pictures=before.pictures + 1, largest=largest)
    return tuple(found.values())


def say(line: str) -> None:
    """A line on the console, beside what the command writes."""
    print(printable(public(line)), file=sys.stderr, flush=True)


def say_reading(where: str, skipped: Sequence[Skipped], remarks: Sequence[Remark]) -> None:
    """What was left out, and what was taken for granted."""
    if skipped:
        say(f"reading {where}: {left_out(skipped)}")
    for remark in remarks:
        say(f"reading {where}: {remark}")


def left_out(skipped: Sequence[Skipped]) -> str:
    """How many, and why."""
    reasons: dict[str, list[str]] = {}
    for where, reason in skipped:
        reasons.setdefault(_reason(where, reason), []).append(where)
    listed = [
        f"{len(names):,} {reason} ({_end(names[0])}{', ...' if len(names) > 1 else ''})"
        for reason, names in sorted(reasons.items(), key=lambda one: -len(one[1]))
    ]
    more = "" if len(listed) <= MOST_REASONS else f", and {len(listed) - MOST_REASONS} more reasons"
    return f"{len(skipped):,} file{'s' if len(skipped) > 1 else ''} left out: {', '.join(listed[:MOST_REASONS])}{more}"


def taken_for(parts: Mapping[str, Pictures]) -> str:
    """What the pictures of each part were taken for."""
    first = next(iter(parts.values()))
    wheres = dict.fromkeys(pictures.where for pictures in parts.values())
    counted = [f"{part} {len(pictures):,}{_classes(pictures)}" for part, pictures in parts.items()]
    kind = f"{len(first.classes)} classes"
    if first.label_columns and (first.targets == NO_CLASS).all():
        kind = f"{len(first.classes)} labels, several a picture," if first.classes else "numbers"
    return f"reading {', '.join(wheres)}: {kind} {first.understood}: {', '.join(counted)}"


def _classes(pictures: Pictures) -> str:
    """The pictures of each class, or of the first ones."""
    if not sum(pictures.counts):
        return ""
    pairs = list(zip(pictures.classes, pictures.counts, strict=True))
    more = f" and {len(pairs) - MOST_CLASSES} more" if len(pairs) > MOST_CLASSES else ""
    return f" ({', '.join(f'{_short(name)} {count:,}' for name, count in pairs[:MOST_CLASSES])}{more})"


def _reason(where: str, reason: str) -> str:
    """The part of a reason that files have in common."""
    text = reason.replace(f"{where!r}: ", "").replace(f"{where}: ", "")
    text = text.rpartition("expected a picture, found ")[2].partition("; ")[0]
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _end(path: str) -> str:
    """The end of a path says more than its beginning."""
    return path if len(path) <= LONGEST else f"...{path[3 - LONGEST :]}"
