"""What an extra of the package installs, asked for where it is used."""

from collections.abc import Iterator
from contextlib import contextmanager

from vitzoo.errors import VitzooError

ROOMS = {"evaluation": "train", "train": "train"}
"""The extra that a room needs."""


class MissingExtra(VitzooError):
    """A package that belongs to an extra is not installed."""


@contextmanager
def extra_for(room: str) -> Iterator[None]:
    """Around the import of a room; a :class:`MissingExtra` says what to install if a package of others is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if room not in ROOMS or str(error.name).startswith("vitzoo"):
            raise
        raise MissingExtra(
            f'{error.name} is not installed, which this needs; in a checkout of vitzoo: pip install ".[{ROOMS[room]}]"'
        ) from error
