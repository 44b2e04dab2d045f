"""`vitzoo duplicates`: the pictures of a store that are the same, or nearly."""

import json
from typing import Annotated

import typer

from vitzoo.cli.options import AsJson
from vitzoo.cli.search import Html, StoreArgument, Where
from vitzoo.errors import one_line
from vitzoo.extras import extra_for


def duplicates(
    store: StoreArgument,
    threshold: Annotated[float, typer.Option(help="the least cosine of two that are alike")] = 0.95,
    where: Where = None,
    html: Html = None,
    as_json: AsJson = False,
) -> None:
    """Find groups of pictures that are alike: by their vectors, or by their bytes."""
    with extra_for("embedding"):
        from vitzoo.embedding.duplicates import duplicates as run
        from vitzoo.embedding.pages import write_duplicates

    groups = run(store, threshold, where=where or ())
    if html is not None:
        write_duplicates(html, groups, threshold)
    if as_json:
        print(json.dumps([{**g._asdict(), "rows": [row._asdict() for row in g.rows]} for g in groups], indent=2))
        return
    for group in groups:
        print("the same bytes:" if group.same_bytes else f"cosine from {group.least:.4f}:")
        print("\n".join(f"  {one_line(row.key)}" for row in group.rows))
    pictures = sum(len(group.rows) for group in groups)
    print(f"{len(groups)} groups, {pictures} pictures, cosine at least {threshold:g}")
