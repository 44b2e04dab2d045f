"""What a run that goes on has to share with the one before: the model, the classes, each picture and its label."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vitzoo.data.pictures import NO_CLASS, Pictures, reading_errors
from vitzoo.data.progress import tracked

READERS = 8
"""Threads that read files; hashing lets go of the interpreter."""
MOST_NAMES = 4
ORDER = "/order"
"""Which label stands where; no class is called so."""


def contents(pictures: Pictures) -> list[bytes]:
    """The digest of each picture's bytes, in order; each file is read, whatever its time says.

    Of pictures that are not opened it is that of their store.
    """
    if pictures.seen is not None:
        return list(map(bytes.fromhex, pictures.seen.digests))

    def content(number: int) -> bytes:
        with pictures.reader[number] as file:
            return hashlib.sha256(file.read()).digest()

    with reading_errors(pictures.where), ThreadPoolExecutor(READERS) as pool:
        return list(tracked(_Results(pool, content, pictures.numbers.tolist()), "reading pictures"))


def digests(pictures: Pictures, read: Sequence[bytes]) -> dict[str, str]:
    """For each label a digest of its pictures' `contents` in their order.

    Names and places do not count: a folder that is moved holds the same pictures.
    """
    order = hashlib.sha256(pictures.targets.tobytes())
    order.update(repr(None if pictures.labels is None else list(pictures.labels)).encode())
    if pictures.weights is not None:
        order.update(pictures.weights.tobytes())
    found: dict[str, Any] = {}
    for target, digest in zip(_classes(pictures), read, strict=True):
        name = "" if target == NO_CLASS else pictures.classes[target]
        found.setdefault(name, hashlib.sha256()).update(digest)
    return {**{name: digest.hexdigest() for name, digest in found.items()}, ORDER: order.hexdigest()}


def copies(parts: Mapping[str, Pictures], read: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    """What is said of pictures with the same bytes: in two parts, or in two classes of the training pictures."""
    known: dict[bytes, set[int]] = {}
    for digest, target in zip(read["train"], _classes(parts["train"]), strict=True):
        known.setdefault(digest, set()).add(target)
    if twice := sum(len(targets) > 1 for targets in known.values()):
        yield f"{twice:,} training pictures are there under two classes, with the same bytes"
    for part in parts.keys() - {"train"}:
        if count := sum(digest in known for digest in read[part]):
            yield (
                f"{count:,} of {len(read[part]):,} {part} pictures are among the training pictures, with the same "
                "bytes: what is measured on them says little of new ones"
            )


def _classes(pictures: Pictures) -> list[int]:
    """The class of each picture; none where labels are no classes."""
    return pictures.targets.tolist() if pictures.targets.ndim == 1 else [NO_CLASS] * len(pictures)


class _Results:
    """The results of a function, in order, with their number for a bar."""

    def __init__(self, pool: ThreadPoolExecutor, function: Any, arguments: list[int]) -> None:
        self.count, self.results = len(arguments), pool.map(function, arguments)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[bytes]:
        return self.results


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the facts of two runs, in words; both have the same facts."""
    found = []
    for name, new in now.items():
        old = before[name]
        if old == new:
            continue
        if not isinstance(new, Mapping):
            found.append(f"{name} was {old} and is {new}")
            continue
        labels = [label for label in {**old, **new} if label != ORDER and old.get(label) != new.get(label)]
        more = ", ..." if len(labels) > MOST_NAMES else ""
        of = f" of {', '.join(labels[:MOST_NAMES])}{more}" if any(labels) else ""
        found.append(f"the {name}{of} have changed since it began")
    return found
