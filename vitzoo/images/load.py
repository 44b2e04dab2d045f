"""One picture from a file, an array or a tensor, upright and in 8 bit or as floats."""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from vitzoo.errors import ImageError

Pixels = npt.NDArray[Any]


Picture = Image.Image | str | os.PathLike[str] | Pixels | Tensor


MODES = {1: "L", 3: "RGB"}


BITS_PER_SAMPLE = 258  # a TIFF tag


# What turns a picture upright, by its EXIF orientation. ImageOps.exif_transpose also writes the EXIF block again,
# and fails on blocks that are only good enough to be read.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# What Pillow's decoders raise on damaged bytes: found by flipping bytes of 14 formats, besides what is documented.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # raised where warnings are made errors
)


# The formats of photographs, and of no other. Pillow would hand EPS to a program, and reads two dozen formats besides
# whose decoders hardly anybody looks at; what a file is called makes no difference to it.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")


MOST_PIXELS = 160_000_000  # the largest sensors of cameras have 150 million
STRIP = 1 << 20  # pixels of a 16-bit picture that are in memory in another form at a time


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def opened(source: str | os.PathLike[str] | IO[bytes], name: str) -> Iterator[Image.Image]:
    """A picture file of one of `FORMATS`, whose pixels are not read yet.

    Raises:
        ImageError: more pixels than `MOST_PIXELS`, or a device or pipe.
        OSError, and the rest of `DAMAGED`: what Pillow raises.
    """
    path = Path(source) if isinstance(source, str | os.PathLike) else None
    if path is not None and path.exists() and not path.is_file():
        what = "folder; give the files in it" if path.is_dir() else "device or pipe; copy what it gives to a file"
        raise ImageError(f"{name}: expected a picture file, found a {what}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is `MOST_PIXELS`
        picture = Image.open(source, formats=_formats())
    with picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ImageError(
                f"{name}: {picture.width} x {picture.height} pixels; expected at most {MOST_PIXELS:,}: scale it down"
            )
        yield picture


def load_image(source: Image.Image | str | os.PathLike[str] | IO[bytes], in_chans: int = 3) -> Image.Image:
    """A picture or a picture file, upright, in 8 bit, without metadata: mode RGB, or L (luminance) if `in_chans` is 1.

    The file is a path, or open for reading.

    Equal to `Image.open(source).convert(mode)`, but for the EXIF orientation, which is applied, and for 16-bit
    pictures, which are scaled (`convert` clips them: all above 255 turns white). Alpha is dropped, as `convert` does.
    Anything that cannot be read is an :class:`ImageError`.
    """
    if in_chans not in MODES:
        raise ImageError(
            f"a picture has 3 channels or 1, but the model takes {in_chans}; "
            f"give an array (height, width, {in_chans}) or a tensor ({in_chans}, height, width)"
        )
    if isinstance(source, Image.Image):
        name = repr(getattr(source, "filename", "") or f"{source.mode} picture")
    else:
        name = repr(os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "file"))
    try:
        if isinstance(source, Image.Image):
            return _convert(source, MODES[in_chans], name)
        with opened(source, name) as picture:
            return _convert(picture, MODES[in_chans], name)
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file; check the path") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name}: expected JPEG, PNG, WebP or another format of photographs, found something else; "
            "check that the file is whole and is a picture"
        ) from None
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: expected a whole picture, found: {reason}; replace or re-encode it") from None


def _convert(picture: Image.Image, mode: str, name: str) -> Image.Image:
    if 0 in picture.size:
        raise ImageError(f"{name}: expected at least one pixel, found {picture.height}x{picture.width}")
    picture.load()
    turn = UPRIGHT.get(_orientation(picture, name))
    if picture.mode == "F":
        raise ImageError(f"{name}: float pictures (mode F) have no agreed range; give a float array in 0..1")
    if picture.mode.startswith("I"):
        picture = _to_8_bit(picture, name)
    if "transparency" in picture.info:
        picture = picture.copy()  # the caller's picture keeps its own; without it `convert` has nothing to warn about
        del picture.info["transparency"]
    picture = picture.convert(mode)
    picture.info.clear()  # an orientation that stayed in it would be applied again
    return picture if turn is None else picture.transpose(turn)


def _orientation(picture: Image.Image, name: str) -> int:
    if picture.format == "TIFF":  # Pillow turns TIFF as it loads, and some versions keep the tag
        return 1
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED as error:
        # The pixels are sound, so the picture is used, but not in silence.
        warnings.warn(f"{name}: its EXIF block cannot be read ({error}); taken as upright", stacklevel=4)
        return 1


def _to_8_bit(picture: Image.Image, name: str) -> Image.Image:
    """A grey picture of mode I or I;16 scaled to mode L; 12-bit TIFF, which Pillow leaves in 0..4095, included."""
    bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    top = 2 ** min(bits, 16) - 1
    scaled = ((np.arange(top + 1, dtype=np.int64) * 255 + top // 2) // top).astype(np.uint8)
    pixels, rows = np.empty((picture.height, picture.width), dtype=np.uint8), max(1, STRIP // picture.width)
    for row in range(0, picture.height, rows):
        values = np.asarray(picture.crop((0, row, picture.width, min(row + rows, picture.height))))
        if values.min() < 0 or values.max() > top:
            raise ImageError(
                f"{name}: expected grey values in 0..{top}, found {values.min()}..{values.max()}; give floats in 0..1"
            )
        pixels[row : row + rows] = scaled[values]
    return Image.fromarray(pixels)


def _describe(image: object) -> str:
    return f"{type(image).__name__} of shape {tuple(getattr(image, 'shape', ()))}"


def to_pixels(image: Pixels | Tensor) -> Pixels:
    """An array or a tensor as (height, width, channels), uint8 or float32 in 0..1."""
    if isinstance(image, Tensor):
        if image.ndim != 3:
            raise ImageError(f"{_describe(image)}: expected (channels, height, width); add or remove a dimension")
        tensor = image.detach().cpu()
        pixels: Pixels = (tensor.float() if tensor.is_floating_point() else tensor).permute(1, 2, 0).numpy()
    elif isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise ImageError(f"{_describe(image)}: expected (height, width) or (height, width, channels)")
        pixels = image if image.ndim == 3 else image[..., None]
    else:
        raise ImageError(f"expected a PIL picture, a path, an array or a tensor, found {type(image).__name__}")
    if 0 in pixels.shape:
        raise ImageError(f"{_describe(image)}: expected at least one pixel, found none")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return pixels.astype(np.float32) / np.float32(65535)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ImageError(f"{_describe(image)}: expected uint8, uint16 or float in 0..1, found {pixels.dtype}")
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # so that NaN fails too
        raise ImageError(
            f"{_describe(image)}: expected floats in 0..1, found {pixels.min():g}..{pixels.max():g}; scale them"
        )
    return pixels.astype(np.float32)
