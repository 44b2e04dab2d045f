"""`vitzoo map`: a page with all pictures of a store where their vectors are."""

from pathlib import Path
from typing import Annotated

import typer

from vitzoo.cli.search import StoreArgument, Where
from vitzoo.extras import extra_for


def map_(
    store: StoreArgument,
    page: Annotated[Path, typer.Argument(help="the page of HTML that is written")],
    where: Where = None,
    color: Annotated[str | None, typer.Option(metavar="COLUMN", help="color points by what this column says")] = None,
    method: Annotated[str | None, typer.Option(help="umap or pca; umap if it is installed")] = None,
    most: Annotated[int, typer.Option(min=1, help="points; each brings its picture along, small")] = 3000,
) -> None:
    """Draw a map of the pictures on a page: what is alike is near, and each point shows its picture."""
    with extra_for("embedding"):
        from vitzoo.embedding.maps import write_map

    made = write_map(store, page, where=where or (), color=color, method=method, most=most)
    size = page.stat().st_size / 1e6
    print(f"{page}: {made.shown} of {made.vectors} pictures by {made.method}, {size:.1f} MB")
    if made.shown < made.vectors:
        print(f"vitzoo: {made.vectors - made.shown} pictures are not on it; --most shows more")
    if made.pictures < made.shown:
        print(f"vitzoo: {made.shown - made.pictures} pictures are no longer there, their points show their keys alone")
