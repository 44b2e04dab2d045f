"""Names of classes: the sets that are known by a name, how many each has, and what they are.

The names are in `labels/imagenet.tsv` of the registry, which says where they come from.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from vitzoo.errors import RegistryError
from vitzoo.registry.shipped import data_dir

SETS: Mapping[str, int] = {
    "imagenet-1k": 1000,
    "imagenet-12k": 11821,
    "imagenet-21k-goog": 21843,
    "imagenet-21k-miil": 11221,
    "imagenet-22k": 21841,
    "imagenet-22k-ms": 21842,
}
"""The sets with their sizes; a test compares them with timm's."""

LETTERS: Mapping[str, str] = dict(zip(SETS, "kgmtwx", strict=True))
"""How the file marks each set."""
FIRST = {"imagenet-22k-ms": "imagenet-1k"}
"""Sets that have the classes of another one before the rest."""
COMMENT = "#"


class Class(NamedTuple):
    """A class of ImageNet."""

    synset: str
    """Its number in WordNet 3.0, as n01440764."""
    sets: str
    name: str


def count(labels: Any) -> int | None:
    """How many classes `labels` names, as an entry has them; None if it does not say."""
    if isinstance(labels, str):
        return SETS.get(labels)
    return len(labels) if isinstance(labels, Sequence) and labels else None


def class_names(labels: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names of classes, those of a known set among them."""
    return known_set(labels) if isinstance(labels, str) else labels


@cache
def known_set(name: str) -> tuple[str, ...]:
    """The names of the classes of a known set, such as imagenet-1k, in the order of the logits.

    Raises:
        RegistryError: there is no such set.
    """
    return tuple(one.name for one in classes(name))


def synsets(name: str) -> tuple[str, ...]:
    """WordNet's numbers of the same classes, after which ImageNet's folders are named."""
    return tuple(one.synset for one in classes(name))


@cache
def classes(name: str) -> tuple[Class, ...]:
    """The classes of a known set.

    Raises:
        RegistryError: there is no such set.
    """
    if name not in SETS:
        raise RegistryError(
            f"unknown set of labels '{name}'; the sets are {', '.join(SETS)}, or give the list of names instead"
        )
    own = [one for one in _file() if LETTERS[name] in one.sets]
    if name in FIRST:
        own.sort(key=lambda one: LETTERS[FIRST[name]] not in one.sets)
    return tuple(own)


@cache
def _file() -> tuple[Class, ...]:
    path = data_dir() / "labels" / "imagenet.tsv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise RegistryError(f"{path} cannot be read: {error.strerror}; install vitzoo again") from None
    return tuple(Class(*line.split("\t")) for line in lines if not line.startswith(COMMENT))
