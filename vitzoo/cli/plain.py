"""Commands that start quickly: typer converts every argument with pydantic, whose import takes a tenth of a second."""

import inspect
from collections.abc import Iterable
from functools import partial
from typing import Any, get_type_hints

from typer.core import TyperCommand, TyperGroup

TEXT = (str, str | None, list[str], list[str] | None, bool)
"""Types of arguments that are what the command line has; all else is converted."""


class PlainGroup(TyperGroup):
    """Hands on as it is what was not given."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_unconverted(param) for param in super().get_params(ctx)]


class PlainCommand(TyperCommand):
    """Hands on text and flags as they are, and what was not given."""

    def get_params(self, ctx: Any) -> list[Any]:
        hints = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        text = [name for name, hint in hints.items() if hint in TEXT]
        return [_unconverted(param, text) for param in super().get_params(ctx)]


def _unconverted(param: Any, text: Iterable[str] = ()) -> Any:
    if not param.required and not isinstance(param.process_value, partial):
        param.process_value = partial(_as_it_is, param, param.name in text, param.process_value)
    return param


def _as_it_is(param: Any, is_text: bool, convert: Any, context: Any, value: Any) -> Any:
    if value is not None and not is_text:
        return convert(context, value)
    if param.multiple or param.nargs == -1:
        value = list(value) if value else None
    return value if param.callback is None else param.callback(context, param, value)
