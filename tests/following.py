"""Does what an error says, word for word: as one reads it who calls a function, and as one who runs a command."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vitzoo.errors import Argument, VitzooError

LONGEST = 600
Choice = Mapping[str, Any]
"""Arguments that are given together; without a value where the error leaves it to who knows it."""


def choices(error: VitzooError) -> list[dict[str, Any]]:
    """What an error advises to give; "or" stands between two choices."""
    found: list[dict[str, Any]] = [{}]
    for part in error.parts:
        if isinstance(part, Argument):
            found[-1][part.name] = None if part.value == "..." else part.value
        elif re.search(r"\bor\b", part, re.IGNORECASE) and found[-1]:
            found.append({})
    assert len(str(error)) <= LONGEST, str(error)
    return [choice for choice in found if choice]


def choices_of_a_command(message: str, options: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same, of what a command with these options prints."""
    found: list[dict[str, Any]] = [{}]
    assert len(message) <= LONGEST, message
    names = {option: name for name, option in options.items()}
    between = 0
    for match in re.finditer(r"(--[a-z][a-z-]*) ('[^']*'|\S+?)(?=[,.;:]?(?:\s|$))", message):
        if re.search(r"\bor\b", message[between : match.start()], re.IGNORECASE) and found[-1]:
            found.append({})
        between = match.end()
        name, (value,) = names[match[1]], shlex.split(match[2])
        if name == "settings":
            name, _, value = value.partition("=")
        found[-1][name] = None if value == "..." else value
    return [choice for choice in found if choice]


def true_ones(offered: Sequence[Choice], true: Mapping[str, Any], free: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Those of the choices that may be made by who knows what is true, with the true values.

    A value that the error writes has to be true, unless it is of those that are `free`: suggestions. A prefix is true
    if the model stands behind it, however much further it goes.
    """

    def holds(name: str, value: Any) -> bool:
        if name == "prefix":
            return bool(value) and str(value).startswith(true[name])
        return value is None or name in free or value == true[name]

    return [
        {name: value if name == "prefix" else true[name] for name, value in choice.items()}
        for choice in offered
        if choice.keys() <= true.keys() and all(holds(*item) for item in choice.items())
    ]
