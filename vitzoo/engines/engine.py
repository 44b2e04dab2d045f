"""What every engine can be asked."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from vitzoo.engines.graph import Graph
from vitzoo.engines.record import Precision, Record
from vitzoo.errors import ExportError, VitzooError, WeightsError

LONGEST_REASON = 300
Run = Callable[[Tensor], Sequence[Tensor]]
"""(batch, in_chans, height, width) float32 on the CPU -> the outputs, in the order of the record."""


class Opened(NamedTuple):
    """A file of an engine before it runs."""

    metadata: Mapping[str, str]
    start: Callable[[Record], Run]


class Engine(ABC):
    """One way to write and to run a graph."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    extra: ClassVar[str]
    """What has to be installed, by its name in `vitzoo.extras`; empty if nothing."""
    packages: ClassVar[tuple[str, ...]]
    """Whose versions are kept with a file."""
    lacks: ClassVar[Mapping[Precision, str]] = {}
    """Precisions that it does not have, each with the reason and what to do instead."""

    casts: ClassVar[frozenset[Precision]] = frozenset()
    """Precisions that the model is cast to before it is traced."""

    @abstractmethod
    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether a file that begins with `head` is one of this engine's, whatever its name."""

    @abstractmethod
    def make(self, graph: Graph, precision: Precision, calibration: Sequence[Tensor]) -> Any:
        """The engine's own form of a graph. `calibration` are batches of prepared pictures, for int8."""

    @abstractmethod
    def save(self, made: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write it, with files that belong to it beside it."""

    @abstractmethod
    def open(self, path: Path) -> Opened:
        """Read what the file says of itself."""


@contextmanager
def making(engine: Engine, what: str) -> Iterator[None]:
    """Around an engine's own code that writes: what it fails with is one line, what it prints is no answer."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except VitzooError:
        raise
    except Exception as error:
        raise ExportError(f"{engine.name} cannot make a graph of {what}: {reason(error)}") from error


@contextmanager
def running(engine: Engine, path: Path) -> Iterator[None]:
    """Around an engine's own code that reads or runs a file."""
    try:
        yield
    except VitzooError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{path}: {engine.name} cannot read or run it: {reason(error)}; export the model again"
        ) from error


def reason(error: Exception) -> str:
    """The words of somebody else's error, in a line."""
    said = " ".join(str(error).split())[:LONGEST_REASON]
    return f"{type(error).__name__}: {said}"
