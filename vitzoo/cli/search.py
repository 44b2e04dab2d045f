"""`vitzoo search`: the pictures of a store that are most like another."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitzoo.cli.options import ANY_MODEL, AsJson, Device, models, usable_device
from vitzoo.cli.tables import columns
from vitzoo.errors import SpecError
from vitzoo.extras import extra_for

if TYPE_CHECKING:
    from vitzoo.data.places import Place
    from vitzoo.embedding.store import Store

Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="also one page with the pictures")]
StoresModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help=f"the store's, if it is elsewhere now: {ANY_MODEL}", autocompletion=models),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="only such pictures: COLUMN=VALUE, !=, <, >, or key~cats/* for a pattern; may be repeated",
    ),
]
StoreArgument = Annotated[str, typer.Argument(help="a folder of vectors, from `vitzoo embed`")]


def search(
    store: StoreArgument,
    query: Annotated[str | None, typer.Argument(help="a picture file, or a vector in a .npy file")] = None,
    key: Annotated[str | None, typer.Option(help="of a picture of the store, in the place of a file")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="how many")] = 10,
    metric: Annotated[str, typer.Option(help="cosine, dot or l2")] = "cosine",
    where: Where = None,
    exact: Annotated[bool, typer.Option("--exact", help="compare every vector, also if there is an index")] = False,
    model: StoresModel = None,
    html: Html = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Find the pictures that are nearest to a picture: by the store's index, or else every vector is compared."""
    with extra_for("embedding"):
        from vitzoo.embedding.pages import write_search
        from vitzoo.embedding.search import searched
        from vitzoo.embedding.store import Store

    if (query is None) == (key is None):
        raise SpecError("give a picture file or --key, one of them")
    opened = Store(store)
    hits, index = searched(opened, query, key, k, metric, where or (), exact, model, str(usable_device(device)))
    if html is not None:
        write_search(html, str(query or key), _place(opened, query, key), hits, metric)
    if as_json:
        print(json.dumps([{**hit.row._asdict(), metric: hit.score} for hit in hits], indent=2))
        return
    print(columns([(f"{hit.score:.4f}", hit.row.key, hit.row.source) for hit in hits]))
    if index is not None:
        print(f"by the index, which finds {index.recall:.1%} of the {index.k} nearest (--exact finds all)")


def _place(store: "Store", query: str | None, key: str | None) -> "Place | None":
    """Where the picture is that was searched for; None for a vector."""
    from vitzoo.data.places import Place
    from vitzoo.embedding.pages import place_of
    from vitzoo.embedding.search import vector_of

    if query is None:
        return place_of(vector_of(store, str(key))[0])
    return None if query.lower().endswith(".npy") else Place(Path(query))
