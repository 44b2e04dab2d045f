"""A bar for work that goes through something once."""

from collections.abc import Iterable, Sized
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T", covariant=True)


class Counted(Sized, Iterable[T], Protocol[T]):
    """What says how many it holds."""


def tracked(items: Counted[T], title: str) -> Iterable[T]:
    """The items; on a terminal with a bar, which goes away at the end, and elsewhere without a word."""
    console = Console(stderr=True)
    return track(items, title, total=len(items), console=console, transient=True, disable=not console.is_terminal)
