"""Names of classes: the sets that are known by a name, and how many each has."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from vitzoo.errors import RegistryError

SETS: Mapping[str, int] = {
    "imagenet-1k": 1000,
    "imagenet-12k": 11821,
    "imagenet-21k-goog": 21843,
    "imagenet-21k-miil": 11221,
    "imagenet-22k": 21841,
    "imagenet-22k-ms": 21842,
}
"""The sets that timm has the names of, with their sizes; a test compares them."""


def count(labels: Any) -> int | None:
    """How many classes `labels` names, as an entry has them; None if it does not say."""
    if isinstance(labels, str):
        return SETS.get(labels)
    return len(labels) if isinstance(labels, Sequence) and labels else None


def class_names(labels: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names of classes; those of a known set come from timm, whose import brings torch."""
    return known_set(labels) if isinstance(labels, str) else labels


@cache
def known_set(name: str) -> tuple[str, ...]:
    """The names of the classes of a known set, such as imagenet-1k."""
    from timm.data import ImageNetInfo

    try:
        return tuple(ImageNetInfo(name).label_descriptions())
    except AssertionError:  # timm's way to say so
        raise RegistryError(f"unknown set of labels '{name}'; give the list of names instead") from None
