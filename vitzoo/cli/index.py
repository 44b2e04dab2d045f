"""`vitzoo index`: an index over a store of vectors, and what it finds."""

from typing import Annotated

import typer

from vitzoo.cli.options import AsJson
from vitzoo.cli.search import StoreArgument
from vitzoo.extras import extra_for


def index(
    store: StoreArgument,
    metric: Annotated[str, typer.Option(help="cosine, dot or l2")] = "cosine",
    recall: Annotated[float, typer.Option(help="the share of the 10 nearest that it is to find")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Make an index for `vitzoo search` in the place of comparing every vector, and measure what it finds."""
    with extra_for("embedding"):
        from vitzoo.embedding.approximate import build_index

    made = build_index(store, metric, recall=recall)
    if as_json:
        print(made.model_dump_json(indent=2))
        return
    print(f"{store}: {made.vectors} vectors in {made.partitions} partitions, {made.nprobes} of which are looked into")
    print(f"recall@{made.k} {made.recall:.4f} ({made.queries} vectors of the store, each without itself)")
    if made.recall < recall:
        print(f"vitzoo: that is less than {recall:g}; `vitzoo search --exact` finds all")
