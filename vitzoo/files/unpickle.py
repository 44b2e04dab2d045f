"""A pickle read by hand: it gets what `HARMLESS` has for its names, and can change nothing of that.

torch's own restricted reader keeps its list of names for the whole process, where threads meet, and makes objects of
whatever size the file asks for. Here a file gets no more memory than it has bytes.
"""

import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar

from torch import Tensor

from vitzoo.files.harmless import HARMLESS, Unread, checked_key

LONGEST = 64 << 20  # bytes of all that is no tensor
MOST_MADE = 1_000_000  # things that a file may have made, of which a tensor counts for several
TENSOR_COST = 10


class Refused(Exception):
    """A name that stands for code."""


class Bounded:
    """What of an open file may be read: a pickle could announce a text as long as it likes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, LONGEST

    def read(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise ValueError(f"more than {LONGEST:,} bytes of it are no tensors")
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError("it breaks off in the middle of a name")
        return line


_Plain: Any = pickle._Unpickler  # in Python, since the one in C takes memory for whatever a file says


class Unpickler(_Plain):  # type: ignore[misc]
    """Reads one pickle; `stored` gives what a persistent id stands for."""

    def __init__(self, file: Bounded, stored: Callable[[Any], object] | None = None) -> None:
        super().__init__(file, encoding="utf-8")
        self._stored, self._cost = stored, 0

    def find_class(self, module: str, name: str) -> Any:
        try:
            return HARMLESS[f"{module}.{name}"]
        except KeyError:
            raise Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> object:
        if self._stored is None:
            raise ValueError("it has a tensor where none belongs")
        return self._stored(pid)

    def _reduce(self) -> None:
        """Call what the file names; a few bytes that say so again and again would fill the memory."""
        arguments = self.stack.pop()
        made = self.stack[-1] = self.stack[-1](*arguments)
        inside = sum(len(one) for one in arguments if isinstance(one, dict | list | tuple))
        self._cost += TENSOR_COST if isinstance(made, Tensor) else 1 + inside
        if self._cost > MOST_MADE:
            raise ValueError(f"it has more than {MOST_MADE // TENSOR_COST:,} tensors, or as much of other things")

    def _build(self) -> None:
        """The state of an object: none of those that are made here has one."""
        self.stack.pop()

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def _set_items(self) -> None:
        self._put(self.pop_mark())

    def _put(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_entries(items))
        elif not isinstance(self.stack[-1], Unread):
            raise ValueError("it puts entries into what is no mapping")

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Unread):
            raise ValueError("it appends to what is no list")

    def _add_items(self) -> None:
        items = self.pop_mark()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(map(checked_key, items))

    def _frozen_set(self) -> None:
        self.append(frozenset(map(checked_key, self.pop_mark())))

    def _dict(self) -> None:
        self.append(_entries(self.pop_mark()))

    def _byte_array(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **_Plain.dispatch,
        pickle.REDUCE[0]: _reduce,
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.APPEND[0]: _append,
        pickle.APPENDS[0]: _appends,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _frozen_set,
        pickle.DICT[0]: _dict,
        pickle.BYTEARRAY8[0]: _byte_array,
    }
    for _way in (pickle.OBJ, pickle.INST, pickle.EXT1, pickle.EXT2, pickle.EXT4):  # other ways to a class
        del dispatch[_way[0]]


def _entries(items: list[Any]) -> dict[Any, Any]:
    return {checked_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
