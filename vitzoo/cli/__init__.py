"""The command line: one module a command. Bad input is exit code 2 and one line, never a traceback."""

import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from vitzoo.cli.plain import PlainCommand, PlainGroup
from vitzoo.errors import VitzooError

COMMANDS = {
    "list": "catalog:list_",
    "info": "catalog:info",
    "classify": "classify:classify",
    "convert": "convert:convert",
    "verify": "convert:verify",
    "finetune": "finetune:finetune",
    "evaluate": "evaluate:evaluate",
    "recipes": "finetune:recipes",
    "pin": "pin:pin",
    "cache": "cache:app",
    "push": "push:push",
    "registry": "registry:app",
}
"""Each command and where it is: a function, or an app with commands of its own. In the order of `vitzoo --help`."""
QUICK = frozenset({"list"})
"""Commands that need so little that what typer imports to convert their arguments would be most of the time."""


def command_line(arguments: Sequence[str] | None = None) -> typer.Typer:
    """The command line; with the one command alone that `arguments` begin with, so that no other is imported."""
    first = next(iter(arguments or ()), "")
    help = "Vision Transformers by name or by file."
    found = typer.Typer(cls=PlainGroup, help=help, no_args_is_help=True, pretty_exceptions_enable=False)
    found.callback()(lambda: None)  # one command alone keeps its name
    for name in [first] if first in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(f"vitzoo.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            found.add_typer(command, name=name)
        else:
            found.command(name, cls=PlainCommand if name in QUICK else None)(command)
    return found


def main() -> None:
    """Run the command line."""
    try:
        command_line(sys.argv[1:])()
    except VitzooError as error:
        print(f"vitzoo: {error}", file=sys.stderr)
        sys.exit(2)
