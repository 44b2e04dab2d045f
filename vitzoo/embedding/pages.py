"""One page of HTML with pictures that were found: it holds the pictures, small, and asks nobody for anything."""

import base64
import html
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from vitzoo.data.places import Place
from vitzoo.embedding.duplicates import Group
from vitzoo.embedding.nearest import Hit
from vitzoo.embedding.store import Row
from vitzoo.errors import DataError, ImageError
from vitzoo.files.atomic import replacing
from vitzoo.images.load import as_picture
from vitzoo.images.ranges import RGB
from vitzoo.images.read import read_picture

SIDE = 192  # pixels of the longer side
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
)
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
ul { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); padding: 0; }
li { list-style: none; }
img { background: #8883; height: 12rem; object-fit: contain; width: 100%; }
figure { margin: 0; } figcaption { overflow-wrap: anywhere; }
b { font-variant-numeric: tabular-nums; }
"""


def write_search(path: Path, asked: str, picture: Place | None, hits: Sequence[Hit], metric: str) -> None:
    """The query, and what is nearest to it."""
    query = "" if picture is None else f"<ul><li>{_figure(picture, asked, 'the query')}</li></ul>"
    found = [(hit.row, f"{metric} {hit.score:.4f}") for hit in hits]
    write_page(path, f"Nearest to {asked}", f"{query}<h2>{len(hits)} nearest</h2>{_listed(found)}")


def write_duplicates(path: Path, groups: Sequence[Group], threshold: float, most: int = 200) -> None:
    """Each group with its pictures."""
    more = f", the {most} largest are shown" if len(groups) > most else ""
    said = f"<p>{len(groups)} groups with a cosine of at least {threshold:g}{more}.</p>"
    for number, group in enumerate(groups[:most], 1):
        kind = "the same bytes" if group.same_bytes else f"cosine from {group.least:.4f}"
        said += f"<h2>{number}. {len(group.rows)} pictures, {kind}</h2>{_listed((row, '') for row in group.rows)}"
    write_page(path, "Duplicates", said)


def write_page(path: Path, title: str, body: str, style: str = "", script: str = "") -> None:
    """A page of its own, which a browser lets ask nobody for anything.

    Raises:
        DataError: it cannot be written.
    """
    named = html.escape(title)
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{POLICY}'
        f'<meta name="viewport" content="width=device-width"><title>{named}</title><style>{STYLE}{style}</style></head>'
        f"<body><h1>{named}</h1>{body}{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )
    try:
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"the page {path} cannot be written: {error.strerror}; name another file") from None


def _listed(rows: Iterable[tuple[Row, str]]) -> str:
    figures = (_figure(place_of(row), row.key, said) for row, said in rows)
    return f"<ul>{''.join(f'<li>{figure}</li>' for figure in figures)}</ul>"


def place_of(row: Row) -> Place | None:
    """Where a picture's bytes are; None if they are in no file."""
    return None if row.path is None else Place(Path(row.path), row.offset or 0, row.size)


def _figure(place: Place | None, name: str, said: str) -> str:
    shown = None if place is None else thumbnail(place, SIDE)
    caption = f"<figcaption><b>{html.escape(said)}</b><br>{html.escape(name)}</figcaption>"
    if shown is None:
        return f"<figure><p>The picture is no longer there.</p>{caption}</figure>"
    return f'<figure><img alt="{html.escape(name, quote=True)}" src="{shown}">{caption}</figure>'


def thumbnail(place: Place, side: int) -> str | None:
    """A small picture as an address of its own; None where it cannot be read."""
    try:
        with place.open() as file:
            read = read_picture(file, RGB, str(place.path)).picture
    except (ImageError, OSError):
        return None
    picture, held = read if isinstance(read, Image.Image) else as_picture(read), BytesIO()
    picture.thumbnail((side, side))
    picture.save(held, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"
