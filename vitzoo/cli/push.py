"""`vitzoo push`: a model and its card on the Hugging Face hub."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vitzoo.cli.options import ModelArgument, WrittenLayout
from vitzoo.errors import SpecError
from vitzoo.small_files import read_small


def push(
    model: ModelArgument,
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="the repository; made if it is not there")],
    layout: WrittenLayout = "vitzoo",
    license: Annotated[str | None, typer.Option(help="as the hub spells it; the weights' own if not given")] = None,
    private: Annotated[bool, typer.Option("--private", help="only you and your organisation see it")] = False,
    revision: Annotated[str | None, typer.Option(help="a branch; main if not given")] = None,
    message: Annotated[str | None, typer.Option(help="of the commit")] = None,
    results: Annotated[Path | None, typer.Option(help="JSON with what was measured, for the card")] = None,
    dry_run: Annotated[
        Path | None, typer.Option(metavar="OUT", help="write the folder OUT, print the card and send nothing")
    ] = None,
) -> None:
    """Publish a model with a card made of what is known of it; a licence is required. Prints the commit's address."""
    from vitzoo.publish import push as publishing

    measured = None if results is None else _read(results)
    if dry_run is not None:
        folder = publishing.prepare(
            model, dry_run, repo, layout=layout, license=license, revision=revision, results=measured
        )
        print((folder / "README.md").read_text(encoding="utf-8"), end="")
        return
    print(
        publishing.push(
            model,
            repo,
            layout=layout,
            license=license,
            private=private or None,
            revision=revision,
            commit_message=message,
            results=measured,
        )
    )


def _read(path: Path) -> Any:
    try:
        found = json.loads(read_small(path))
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"the results in {path} cannot be read: {error}") from None
    if not isinstance(found, dict) and not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise SpecError(f"{path}: expected an object, or a list of objects, with 'dataset' and 'metrics'")
    return found
