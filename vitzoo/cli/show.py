"""`vitzoo show`: the model browser. It does not import torch."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from vitzoo.errors import RegistryError
from vitzoo.files.atomic import replacing
from vitzoo.registry.browser import browser
from vitzoo.registry.shipped import cache_folder


def show(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="write the page there, and open nothing")
    ] = None,
) -> None:
    """Open a page with all weights: search, compare, plot, and the line that creates each. It needs no network."""
    path = output or cache_folder() / "models.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(browser(), encoding="utf-8")
    except OSError as error:
        raise RegistryError(
            f"the page {path} cannot be written: {error.strerror}; name another with --output"
        ) from None
    print(path)
    if output is None:
        webbrowser.open(path.resolve().as_uri())
