"""Any picture file in the form that a model takes: the one reader of every command."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from vitzoo.errors import ImageError
from vitzoo.images.arrays import load_array
from vitzoo.images.contents import ARRAY, EMPTY, HEAD
from vitzoo.images.load import (
    MODES,
    REDUCED,
    SUBFILE_TYPE,
    Read,
    converted,
    opened,
    readable,
    unusual,
)
from vitzoo.images.ranges import DEEP, Form, Note, Scaled, span, taken

LITTLE_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
"""Pillow reads 16-bit colours as their higher byte alone. In the other order of bytes that is the lower one."""


def read_picture(source: str | os.PathLike[str] | IO[bytes], form: Form, name: str | None = None) -> Read:
    """A picture file, by what is in it: a path, or a file open for reading.

    Pictures of 8 bits, and grey ones of more, become a PIL picture of mode RGB or L for a model of three channels or
    one; floats, and all for models of other channels, an array (height, width, in_chans), uint8 or float32 in 0..1.

    Raises:
        ImageError: a file that cannot be read, has other channels, or values beyond their range.
    """
    given = os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "file")
    name = repr(given) if name is None else name
    with readable(name, source), _binary(source, name) as file:
        head = file.read(HEAD)
        file.seek(0)
        if not head:
            raise ImageError(f"{name}: expected a picture, found {EMPTY}; replace it") from None
        if head.startswith(ARRAY):
            return _scaled(load_array(file, form, name))
        with opened(file, name) as picture:
            return _scaled(_read(picture, file, form, name))


def _scaled(read: Read) -> Read:
    if isinstance(read.picture, Image.Image) or read.picture.dtype == np.uint8:
        return read
    return read._replace(picture=read.picture.view(Scaled))


@contextmanager
def _binary(source: str | os.PathLike[str] | IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if not isinstance(source, str | os.PathLike):
        yield source
        return
    path = Path(source)
    if path.exists() and not path.is_file():
        raise ImageError(f"{name}: expected a picture file, found {unusual(path)}") from None
    with path.open("rb") as file:
        yield file


def _read(picture: Image.Image, file: IO[bytes], form: Form, name: str) -> Read:
    tags = getattr(picture, "tag_v2", {})
    if tags.get(SUBFILE_TYPE, 0) & REDUCED:
        raise ImageError(
            f"{name}: its first page is a preview of another picture, as in raw files of cameras; convert it to TIFF"
        )
    if form.in_chans not in MODES and getattr(picture, "n_frames", 1) == form.in_chans != len(picture.getbands()):
        return _pages(picture, form, name)
    if not _is_deep(picture):
        return converted(picture, form, name)
    if form.white is None:  # Pillow has the higher bytes, which is all that 8 bits can hold of 0..65535
        read = converted(picture, form, name)
        largest = int(np.asarray(picture).max()) << 8 | 255
        return read._replace(notes=(*read.notes, taken(largest)))
    return _deep(picture, file, form, name)


def _pages(picture: Image.Image, form: Form, name: str) -> Read:
    """A file that has a grey page for each channel."""
    pages = []
    for number in range(form.in_chans):
        picture.seek(number)
        pages.append(np.asarray(converted(picture, form._replace(in_chans=1), name).picture))
    if len({page.shape for page in pages}) > 1:
        raise ImageError(f"{name}: its pages differ in size, found {[page.shape for page in pages]}")
    pixels = np.dstack(pages)
    return Read(pixels, (Note(f"with {form.in_chans} pages, which are taken as channels"),))


def _is_deep(picture: Any) -> bool:
    """Whether it has colours of 16 bits, of which Pillow keeps the higher 8."""
    return len(picture.getbands()) > 1 and any(";16" in _raw(tile.args) for tile in picture.tile)


def _raw(args: object) -> str:
    """How Pillow's decoder is told to unpack the bytes."""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _deep(picture: Any, file: IO[bytes], form: Form, name: str) -> Read:
    """Colours of 16 bits, scaled from black and white to 8 bit: the higher bytes are read, and then the lower ones."""
    tiles = [tile._replace(args=_swapped(tile.args)) for tile in picture.tile]
    picture.load()
    file.seek(0)
    with opened(file, name) as again:
        lower: Any = again
        lower.tile = tiles
        lower.load()
        values = np.asarray(picture).astype(np.uint16) << 8 | np.asarray(lower)
    black, width = span(values, form, name, DEEP)
    scaled = ((values.astype(np.float64) - black) * (255 / width) + 0.5).astype(np.uint8)
    eight = Image.fromarray(scaled, picture.mode)
    eight.info.update(picture.info)
    return converted(eight, form, name)


def _swapped(args: object) -> object:
    raw = _raw(args)
    order = next(order for order in LITTLE_BYTE if order in raw)
    changed = raw.replace(order, LITTLE_BYTE[order])
    return (changed, *args[1:]) if isinstance(args, tuple) else changed
