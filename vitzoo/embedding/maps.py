"""A map of a store: its vectors in two dimensions, on a page whose points show their pictures."""

import html
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitzoo.data.progress import tracked
from vitzoo.embedding.filters import Filter
from vitzoo.embedding.nearest import Vectors, unit
from vitzoo.embedding.pages import place_of, thumbnail, write_page
from vitzoo.embedding.store import Row, Store
from vitzoo.errors import DataError, SpecError
from vitzoo.extras import MissingExtra, needs

MOST = 3000
"""Points of a page: each of them brings its picture along."""
SIDE = 72  # pixels of a picture's longer side
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c6bb1", "#a0522d")
OTHER = "#888888"
METHODS = ("umap", "pca")
FEWEST = 10
"""Points that UMAP needs to have neighbours to look at."""

STYLE = """
main { align-items: start; display: grid; gap: 1rem; grid-template-columns: minmax(0, 1fr) 16rem; }
svg { border: 1px solid #8888; display: block; touch-action: pan-y; width: min(100%, 85vh); }
svg:focus { outline: 3px solid Highlight; outline-offset: 2px; }
circle { opacity: .75; } #at { fill: none; opacity: 1; stroke: CanvasText; stroke-width: 4; }
aside { position: sticky; top: 1rem; } #picture { image-rendering: auto; }
.colors { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
.colors span { min-width: 0; overflow-wrap: anywhere; }
.colors svg { border: 0; display: inline; width: .8em; }
@media (max-width: 45rem) { main { grid-template-columns: minmax(0, 1fr); } aside { bottom: 0; top: auto; }
  aside figure { align-items: center; background: Canvas; display: flex; gap: 1rem; }
  aside img { height: 6rem; width: 6rem; } }
"""
SCRIPT = """
"use strict";
const points = JSON.parse(document.getElementById("points").textContent);
const plot = document.getElementById("plot"), at = document.getElementById("at");
const picture = document.getElementById("picture"), name_ = document.getElementById("name");
let current = -1;
function show(i) {
  if (i < 0 || i === current) return;
  current = i;
  const [x, y, key, said, src] = points[i];
  at.setAttribute("cx", x); at.setAttribute("cy", y); at.style.display = "";
  picture.hidden = !src;
  if (src) { picture.src = src; picture.alt = key; }
  name_.textContent = (src ? "" : "The picture is no longer there. ") + key + (said ? " (" + said + ")" : "");
}
function nearest(x, y, most, fits) {
  let best = -1, least = most;
  points.forEach(([px, py], i) => {
    const far = Math.hypot(px - x, py - y);
    if (far < least && fits(px - x, py - y, i)) { least = far; best = i; }
  });
  return best;
}
function pointed(event) {
  const box = plot.getBoundingClientRect(), scale = 1000 / box.width;
  show(nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, 20 * scale, () => true));
}
plot.addEventListener("pointermove", pointed);
plot.addEventListener("pointerdown", pointed);
plot.addEventListener("focus", () => { if (current < 0) show(nearest(500, 500, Infinity, () => true)); });
const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
plot.addEventListener("keydown", (event) => {
  const way = ways[event.key];
  if (way) {
    const [x, y] = points[current];
    show(nearest(x, y, Infinity, (dx, dy) => {
      const along = dx * way[0] + dy * way[1];
      return along > 0 && along >= Math.abs(dx * way[1] + dy * way[0]);
    }));
  } else if (event.key === "Home" || event.key === "End") {
    show(event.key === "Home" ? 0 : points.length - 1);
  } else if (event.key === "PageDown" || event.key === "PageUp") {
    show((current + (event.key === "PageDown" ? 1 : points.length - 1)) % points.length);
  } else return;
  event.preventDefault();
});
"""


class Map(NamedTuple):
    """What a page shows."""

    shown: int
    """Points on it."""
    pictures: int
    """Those of them whose pictures were there."""
    vectors: int
    """Of the store, as far as they were meant."""
    method: str


def write_map(
    store: Store | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    where: Sequence[str] = (),
    color: str | None = None,
    method: str | None = None,
    most: int = MOST,
) -> Map:
    """Write one page of HTML with the vectors of a store in two dimensions; it asks nobody for anything.

    Vectors count by their directions. Points show their pictures under the mouse and from the keyboard.

    Args:
        where: conditions that all have to hold; see `Filter`.
        color: a column whose most frequent values have a color each.
        method: "umap" or "pca", the first two principal components; by default UMAP if it is installed.
        most: points of the page; of more vectors, those at even distances in the store.

    Raises:
        SpecError: an unknown method or column, or no points.
        DataError: no vectors, or a page that cannot be written.
        MissingExtra: UMAP was asked for, and is not installed.
    """
    found = store if isinstance(store, Store) else Store(store)
    if method is not None and method not in METHODS:
        raise SpecError(f"unknown method '{method}'; there are {', '.join(METHODS)}")
    if most < 1:
        raise SpecError(f"a map has 1 point at least, found {most}")
    if color is not None and color not in found.columns.names:
        raise SpecError(f"the store has no column '{color}'; there are {', '.join(found.columns.names)}")
    rows, values, vectors, count = _taken(found, Filter.read(where, found.columns), color, most)
    method, places = _placed(unit(vectors), method)
    shown = [None if (place := place_of(row)) is None else thumbnail(place, SIDE) for row in tracked(rows, "pictures")]
    made = Map(len(rows), sum(one is not None for one in shown), count, method)
    write_page(Path(path), f"Map of {found.folder.name}", _body(made, rows, values, places, shown), STYLE, SCRIPT)
    return made


def _taken(store: Store, where: Filter, color: str | None, most: int) -> tuple[list[Row], list[str], Vectors, int]:
    """Pictures at even distances, what they are colored by, their vectors, and how many there are of all."""
    masks = (store.read(part, ["removed", *store.columns.names]) for part in store.parts)
    count = sum(where.kept(table).size for table in masks)
    if not count:
        raise DataError(f"{store.folder}: no picture{f' with {where.text}' if where.text else ''} to show")
    wanted = np.linspace(0, count - 1, min(most, count)).astype(np.int64)
    rows, values, vectors, first = list[Row](), list[str](), list[npt.NDArray[Any]](), 0
    for block in store.blocks(where):
        some = (wanted[(wanted >= first) & (wanted < first + len(block.vectors))] - first).tolist()
        rows += [block.row(i) for i in some]
        values += [str(block.table[color][i].as_py()) if color else "" for i in some]
        vectors += [block.vectors[some].astype(np.float32)] if some else []
        first += len(block.vectors)
    return rows, values, np.concatenate(vectors), count


def _placed(vectors: Vectors, method: str | None) -> tuple[str, Vectors]:
    """The method, and (points, 2) in 20..980."""
    if len(vectors) < FEWEST and method is None:
        method = "pca"
    if method != "pca":
        try:
            with needs("map"):
                import umap
            reducer = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=0, n_jobs=1)
            return "umap", _scaled(np.asarray(reducer.fit_transform(vectors)))
        except MissingExtra:
            if method is not None:
                raise
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred.T @ centred)
    axes = axes[:2]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]  # either direction is as right
    return "pca", _scaled(centred @ axes.T)


def _scaled(places: Vectors) -> Vectors:
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 1)))
    low, wide = places.min(0), max(float(np.ptp(places, axis=0).max()), 1e-12)
    middle = (1 - np.ptp(places, axis=0) / wide) / 2
    found: Vectors = 20 + 960 * ((places - low) / wide + middle)
    return found


def _body(made: Map, rows: list[Row], values: list[str], places: Vectors, shown: list[str | None]) -> str:
    often = [value for value, _ in Counter(values).most_common(len(COLORS))] if any(values) else []
    colors = dict(zip(often, COLORS, strict=False))
    legend = [*colors.items(), *([("others", OTHER)] if set(values) - set(often) and often else [])]
    circles = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colors.get(value, OTHER if often else COLORS[0])}"/>'
        for (x, y), value in zip(places.tolist(), values, strict=True)
    )
    points = [
        [round(x, 1), round(y, 1), row.key, value, src]
        for (x, y), row, value, src in zip(places.tolist(), rows, values, shown, strict=True)
    ]
    some = "" if made.shown == made.vectors else f", {made.shown:,} of them are shown"
    gone = "" if made.pictures == made.shown else f" {made.shown - made.pictures:,} pictures are no longer there."
    how = {"umap": "UMAP", "pca": "the first two principal components"}[made.method]
    named = "".join(
        f'<span><svg viewBox="0 0 2 2" aria-hidden="true"><circle cx="1" cy="1" r="1" fill="{color}"/></svg> '
        f"{html.escape(value)}</span>"
        for value, color in legend
    )
    data = json.dumps(points).replace("<", r"\u003c")
    return (
        f"<p>{made.vectors:,} pictures{some}, by {how}.{gone} Point at one, or move from one to the next with the "
        f"arrow keys, Page Up and Page Down.</p>{f'<p class=colors>{named}</p>' if named else ''}<main>"
        f'<svg id="plot" viewBox="0 0 1000 1000" tabindex="0" role="application" aria-label="map of the pictures">'
        f'{circles}<circle id="at" r="12" style="display:none"/></svg><aside aria-live="polite"><figure>'
        '<img id="picture" alt="" hidden><figcaption id="name"></figcaption></figure></aside></main>'
        f'<script type="application/json" id="points">{data}</script>'
    )
