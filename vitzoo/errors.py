"""Every error that vitzoo raises on purpose; all of them are a :class:`VitzooError`.

Each message says what was expected, what was found and what to do next.
"""

import re
import reprlib
import shlex
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

LONGEST_VALUE = 200
_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = _shortener.maxlong = 80
_shortener.maxlevel, _shortener.maxlist, _shortener.maxtuple, _shortener.maxdict = 3, 8, 8, 8


def shown(value: object) -> str:
    """A value as a message has it: cut, since who made the file chose its length."""
    text = _shortener.repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


_ADDRESS = re.compile(
    r"""(https?://)(?:[^\s/?#'"]*@)?([^\s?#'"]*)(?:\?[^\s#'"]*?(?=[:;,.)]*(?:[\s#'"]|$)))?""", re.IGNORECASE
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def public(text: str) -> str:
    """What may be written down of a text: its web addresses without passwords, and without queries, which may sign."""
    return _ADDRESS.sub(r"\1\2", text)


def printable(text: str) -> str:
    """A text for a terminal, which control characters from a file could order about, and half letters stop."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(value: object) -> str:
    """The same on one line, for a cell or a name among others, which could pass for more than one."""
    return re.sub("[\t\n]", " ", printable(str(value)))


class Argument(NamedTuple):
    """An argument in a message: `drop=['act']` to who calls a function, `--drop act` to who runs a command."""

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"

    def option(self, options: Mapping[str, str]) -> str:
        """As a command with these options writes it, for a shell; a field of a spec may be one of its `settings`."""
        values = self.value if isinstance(self.value, list | tuple) else [self.value]
        if self.name in options:
            option = options[self.name]
            return option if self.value is None else " ".join(f"{option} {shlex.quote(str(one))}" for one in values)
        text = "..." if self.value is None else self.value
        text = str(text).replace(" ", "") if isinstance(text, list | tuple) else text
        return f"{options['settings']} {shlex.quote(f'{self.name}={text}')}" if "settings" in options else str(self)


Part = str | Argument


def joined(arguments: Iterable[Argument], between: str = ", ") -> list[Part]:
    """Arguments in one sentence."""
    return [part for one in arguments for part in (between, one)][1:]


class VitzooError(Exception):
    """Base of all errors that vitzoo raises on purpose; its message may have parts that are an :class:`Argument`."""

    def __init__(self, *parts: Part) -> None:
        self.parts = tuple(part if isinstance(part, Argument) else printable(public(part)) for part in parts)
        super().__init__("".join(map(str, self.parts)))

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same error to who knows an argument by another name."""
        found = (
            one._replace(name=names.get(one.name, one.name)) if isinstance(one, Argument) else one for one in self.parts
        )
        return type(self)(*found)

    def spelled(self, options: Mapping[str, str]) -> str:
        """The message to who runs a command: `options` has the option of each argument."""
        return "".join(part.option(options) if isinstance(part, Argument) else part for part in self.parts)


class SpecError(VitzooError, ValueError):
    """An architecture that cannot be built, or a value that a spec field does not take."""


class RegistryError(VitzooError, LookupError):
    """An unknown model, or a registry file that cannot be used."""


class LayoutError(VitzooError):
    """A checkpoint whose tensors do not match the layout that it should have."""


class WeightsError(VitzooError):
    """Weights that cannot be found, read, verified or loaded."""


class MissingFile(WeightsError):
    """A file that is not there; or not any more, where somebody tidies up."""


class ResampleError(VitzooError, ValueError):
    """A table or a kernel that cannot be put on the requested grid."""


class LicenseError(VitzooError):
    """Weights whose licence is not among those that the caller allows."""


class ExportError(VitzooError):
    """A model that cannot be written as a graph, or a graph that does not give the model's numbers."""


class PublishError(VitzooError):
    """A model that cannot be put on the hub."""


class ImageError(VitzooError):
    """A picture that cannot be read."""


class DataError(VitzooError):
    """Pictures that a model cannot be trained or evaluated on: none there, unreadable, or classes that do not fit."""


class TrainingError(VitzooError):
    """A run that cannot start, or that stopped before its end."""


class Diverged(TrainingError):
    """A run whose loss is no number any more: its settings do not suit, and all else is well."""
