"""Which values of a file are black and white. 8 bit is 0..255; of more bits a container says only what would fit."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitzoo.errors import ImageError
from vitzoo.spec import Preprocessing, ViTSpec

Pixels = npt.NDArray[Any]

STRIP = 1 << 20  # pixels that are in memory in another form at a time
DEEP = 65535  # white in 16 bit, where nothing else is said


class Seen(Protocol):
    """A model, as far as it says how pictures are read."""

    spec: ViTSpec
    preprocessing: Preprocessing


class Scaled(np.ndarray[Any, np.dtype[Any]]):
    """Floats in 0..1 that black and white were applied to, so that nobody applies them again."""


class Form(NamedTuple):
    """What is wanted of a picture: its channels, and which values of more than 8 bits are white and black."""

    in_chans: int = 3
    white: float | None = None
    black: float = 0.0

    @classmethod
    def of(cls, model: Seen) -> "Form":
        """As a model takes pictures."""
        how = model.preprocessing
        return cls(model.spec.in_chans, how.white, how.black)


RGB = Form()


class Note(NamedTuple):
    """What was taken for granted of a picture, in words that go on after "3 pictures"; and the largest value."""

    text: str
    largest: float | None = None


def span(values: Pixels, form: Form, name: str, white: float, kind: str = "values") -> tuple[float, float]:
    """(black, white - black) of values that lie between the two.

    Raises:
        ImageError: values that do not; NaN is such a one.
    """
    white = white if form.white is None else form.white
    low, high = values.min(), values.max()
    if not (low >= form.black and high <= white):
        found = f"{name}: expected {kind} in {form.black:g}..{white:g}, found {low:g}..{high:g}"
        if not np.isfinite(values).all():
            raise ImageError(f"{found}; give numbers alone")
        least = f"black={low:g} and " if low < form.black else ""
        lowest = min(low, form.black)
        most = max(high, white if form.white is not None else high if high > lowest else lowest + 1)
        raise ImageError(f"{found}; scale them, or say which value is white: {least}white={most:g}, or more")
    return form.black, white - form.black


def to_floats(values: Pixels, form: Form, name: str) -> tuple[Pixels, tuple[Note, ...]]:
    """float32 in 0..1 of numbers of more than 8 bits: uint16 of 0..65535, floats of 0..1, if the form does not say.

    Raises:
        ImageError: values outside, or integers of which nobody said what is white.
    """
    floating = np.issubdtype(values.dtype, np.floating)
    if form.white is None and not floating and values.dtype != np.uint16:
        raise ImageError(
            f"{name}: expected uint8, uint16 or floats in 0..1, found {values.dtype} in "
            f"{values.min():g}..{values.max():g}; say which value is white: white={max(values.max(), 1):g}"
        )
    black, width = span(values, form, name, *((1.0, "floats") if floating else (DEEP,)))
    notes = () if floating or form.white is not None else (taken(values.max()),)
    if floating and form.white is None:
        return values.astype(np.float32), notes
    return ((values.astype(np.float32) - np.float32(black)) / np.float32(width)), notes


def to_8_bit(picture: Image.Image, form: Form, name: str, white: float) -> tuple[Image.Image, tuple[Note, ...]]:
    """A grey picture of integers (mode I or I;16) scaled to mode L and rounded.

    Raises:
        ImageError: values outside of black and white.
    """
    pixels = np.empty((picture.height, picture.width), dtype=np.uint8)
    largest = 0.0
    for rows, values in _strips(picture):
        black, width = span(values, form, name, white)
        pixels[rows] = (values.astype(np.float64) - black) * (255 / width) + 0.5
        largest = max(largest, float(values.max()))
    return Image.fromarray(pixels), (taken(largest),) if form.white is None and white == DEEP else ()


def taken(largest: float) -> Note:
    """Of a picture of 16 bits of which nobody said what is white."""
    return Note(f"of 16 bits taken as 0..{DEEP}", float(largest))


def _strips(picture: Image.Image) -> Iterator[tuple[slice, Pixels]]:
    height = max(1, STRIP // picture.width)
    for row in range(0, picture.height, height):
        end = min(row + height, picture.height)
        yield slice(row, end), np.asarray(picture.crop((0, row, picture.width, end)))
