"""How much a server may send, and how slowly."""

import time
from typing import Any

from vitzoo.sources.failures import Mismatch, Unreachable

LARGEST = 200 << 30  # bytes where nobody says how many; the largest published ViT has 24 GB
SLOWEST = 1000  # bytes a second
WINDOW = 60.0  # seconds over which that is measured


class Flow:
    """Counts what comes: not more than `most`, and not so slowly that it would never end."""

    def __init__(self, place: str, most: int | None) -> None:
        self._place, self._most = place, LARGEST if most is None else most
        self._got, self._before, self._since = 0, 0, time.monotonic()

    def add(self, count: int) -> None:
        """Raises: Mismatch: more than was promised. Unreachable: hardly anything comes."""
        self._got += count
        if self._got > self._most:
            raise Mismatch(f"{self._place}: {self._most:,} bytes were expected, and the server sends more")
        now = time.monotonic()
        if now - self._since > WINDOW:
            if self._got - self._before < SLOWEST * WINDOW:
                raise Unreachable(
                    f"{self._place}: only {self._got - self._before:,} bytes came in {WINDOW:.0f} seconds; "
                    "try again later, or take another source"
                )
            self._before, self._since = self._got, now


def bar(flow: Flow) -> type[Any]:
    """A progress bar for the hub's client that counts, too: the client itself writes whatever comes."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Counting(tqdm):  # type: ignore[misc,unused-ignore]
        def update(self, n: float | None = 1) -> Any:
            flow.add(int(n or 0))
            return super().update(n)

    return Counting
