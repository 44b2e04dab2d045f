"""`vitzoo search`: the pictures of a store that are most like another."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vitzoo.cli.options import ANY_MODEL, AsJson, Device, models, usable_device
from vitzoo.cli.tables import columns
from vitzoo.errors import SpecError
from vitzoo.extras import extra_for

Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="also one page with the pictures")]
StoresModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help=f"the store's, if it is elsewhere now: {ANY_MODEL}", autocompletion=models),
]
StoreArgument = Annotated[str, typer.Argument(help="a folder of vectors, from `vitzoo embed`")]


def search(
    store: StoreArgument,
    query: Annotated[str | None, typer.Argument(help="a picture file")] = None,
    key: Annotated[str | None, typer.Option(help="of a picture of the store, in the place of a file")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="how many")] = 10,
    metric: Annotated[str, typer.Option(help="cosine, dot or l2")] = "cosine",
    match: Annotated[str, typer.Option(help="only pictures with such keys, e.g. 'cats/*'")] = "*",
    model: StoresModel = None,
    html: Html = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Find the pictures that are nearest to a picture; every vector is compared."""
    with extra_for("embedding"):
        from vitzoo.embedding.pages import place_of, write_search
        from vitzoo.embedding.search import search as run
        from vitzoo.embedding.search import vector_of
        from vitzoo.embedding.store import Store

    if (query is None) == (key is None):
        raise SpecError("give a picture file or --key, one of them")
    opened = Store(store)
    hits = run(opened, query, key=key, k=k, metric=metric, match=match, model=model, device=str(usable_device(device)))
    if html is not None:
        from vitzoo.data.places import Place

        place = Place(Path(query)) if query is not None else place_of(vector_of(opened, str(key))[0])
        write_search(html, str(query or key), place, hits, metric)
    if as_json:
        print(json.dumps([{**hit.row._asdict(), metric: hit.score} for hit in hits], indent=2))
    else:
        print(columns([(f"{hit.score:.4f}", hit.row.key, hit.row.source) for hit in hits]))
