"""The command line: one module a command. Bad input is exit code 2 and one line, never a traceback."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from vitzoo.cli.options import options_of, prepared
from vitzoo.cli.plain import PlainCommand, PlainGroup
from vitzoo.errors import Argument, VitzooError, printable, public
from vitzoo.version import __version__

COMMANDS = {
    "list": "list:list_",
    "info": "info:info",
    "choose": "choose:choose",
    "show": "show:show",
    "classify": "classify:classify",
    "convert": "convert:convert",
    "verify": "verify:verify",
    "finetune": "finetune:finetune",
    "evaluate": "evaluate:evaluate",
    "probe": "probe:probe",
    "embed": "embed:embed",
    "index": "index:index",
    "search": "search:search",
    "duplicates": "duplicates:duplicates",
    "map": "map:map_",
    "recipes": "recipes:recipes",
    "pin": "pin:pin",
    "cache": "cache:app",
    "push": "push:push",
    "registry": "registry:app",
}
"""Each command and where it is: a function, or an app with commands of its own. In the order of `vitzoo --help`."""
OF_A_FILE = frozenset({"layout", "like", "wrapper", "prefix", "source_img_size", "resample"})
"""What is said of a checkpoint besides the fields of its spec, by the names of `create`'s arguments."""
QUICK = frozenset({"list"})
"""Commands that need so little that what typer imports to convert their arguments would be most of the time."""


def _version(asked: bool) -> None:
    if asked:
        print(f"vitzoo {__version__}")
        raise typer.Exit


def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Vision Transformers by name or by file."""


def command_line(arguments: Sequence[str] | None = None) -> Any:
    """The command line; with the one command alone that `arguments` begin with, so that no other is imported."""
    first = next(iter(arguments or ()), "")
    found = typer.Typer(cls=PlainGroup, no_args_is_help=True, pretty_exceptions_enable=False)
    found.callback()(_start)
    for name in [first] if first in COMMANDS else COMMANDS:
        module, _, attribute = COMMANDS[name].partition(":")
        command = getattr(import_module(f"vitzoo.cli.{module}"), attribute)
        if isinstance(command, typer.Typer):
            found.add_typer(command, name=name)
        else:
            found.command(name, cls=PlainCommand if name in QUICK else None)(command)
    return prepared(typer.main.get_command(found))


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning in one line, without the place in the code that gave it."""
    print(f"vitzoo: {printable(public(str(message)))}", file=sys.stderr)


def _in_words(error: VitzooError, options: Mapping[str, str]) -> str:
    """An error to who runs a command with these options.

    Where it asks what a checkpoint is, and the command has no options for that, `convert` writes a file that says it.
    """
    if "prefix" in options or not any(isinstance(part, Argument) and _of_a_file(part.name) for part in error.parts):
        return error.spelled(options)
    known = options_of(command_line(["convert"]), ["convert"])
    return (
        f"{error.renamed({'layout': 'source_layout'}).spelled(known)}. Those are options of `vitzoo convert FILE "
        "NEW.safetensors --layout vitzoo`: give this command the new file, which says all of it"
    )


def _of_a_file(argument: str) -> bool:
    from vitzoo.spec import ViTSpec

    return argument in {*OF_A_FILE, *ViTSpec.model_fields} - {"img_size", "in_chans"}


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _say
    command = command_line(sys.argv[1:])
    try:
        command(prog_name="vitzoo")
    except VitzooError as error:
        print(f"vitzoo: {_in_words(error, options_of(command, sys.argv[1:]))}", file=sys.stderr)
        sys.exit(2)
