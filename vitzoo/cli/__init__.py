"""The command line: one module a command. Bad input is exit code 2 and one line, never a traceback."""

import sys

import typer

from vitzoo.cli import cache, catalog, classify, convert, evaluate, finetune, pin, push
from vitzoo.errors import VitzooError

app = typer.Typer(help="Vision Transformers by name or by file.", no_args_is_help=True, pretty_exceptions_enable=False)
app.command("list")(catalog.list_)
app.command("info")(catalog.info)
app.command("classify")(classify.classify)
app.command("convert")(convert.convert)
app.command("verify")(convert.verify)
app.command("finetune")(finetune.finetune)
app.command("evaluate")(evaluate.evaluate)
app.command("recipes")(finetune.recipes)
app.command("pin")(pin.pin)
app.add_typer(cache.app, name="cache")
app.command("push")(push.push)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except VitzooError as error:
        print(f"vitzoo: {error}", file=sys.stderr)
        sys.exit(2)
