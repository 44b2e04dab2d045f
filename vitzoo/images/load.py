"""One picture from a file of pixels: upright, and in 8 bit or, where its values are floats, as floats."""

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vitzoo.errors import ImageError
from vitzoo.images.channels import with_channels
from vitzoo.images.contents import HEAD, what_is
from vitzoo.images.ranges import Form, Note, Pixels, to_8_bit, to_floats

MODES = {1: "L", 3: "RGB"}
LONGEST_REASON = 200


BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, SUBFILE_TYPE = 258, 277, 254  # tags of TIFF
REDUCED = 1  # the bit of SUBFILE_TYPE of a preview, which is what the first page of a camera's raw file is


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


class Read(NamedTuple):
    """A picture as it was read (mode RGB or L, or an array of a model's channels), and what was taken for granted."""

    picture: Image.Image | Pixels
    notes: tuple[Note, ...] = ()


@cache
def formats() -> tuple[str, ...]:
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
        raise ImageError(f"{name}: expected a picture file, found {unusual(path)}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is `MOST_PIXELS`
        picture = Image.open(source, formats=formats())
    with picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise ImageError(
                f"{name}: {picture.width} x {picture.height} pixels; expected at most {MOST_PIXELS:,}: scale it down"
            )
        yield picture


def unusual(path: Path) -> str:
    """What is no file of its own, and what to do with it."""
    if path.is_dir():
        return "a folder; give the files in it"
    return f"a {'pipe' if path.is_fifo() else 'device'}; copy what it gives to a file"


def load_image(source: Image.Image | str | os.PathLike[str] | IO[bytes], in_chans: int = 3) -> Image.Image:
    """A picture or a picture file, upright, in 8 bit, without metadata: mode RGB, or L (luminance) if `in_chans` is 1.

    The file is a path, or open for reading.

    Equal to `Image.open(source).convert(mode)`, but for the EXIF orientation, which is applied, and for pictures of 16
    bits (grey) or floats in 0..1, which are scaled (`convert` clips them: all above 255 turns white). Alpha is dropped
    and the first of several frames is taken, as `convert` does. Anything that cannot be read is an :class:`ImageError`.
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
    with readable(name, source):
        if isinstance(source, Image.Image):
            found = converted(source, Form(in_chans), name).picture
        else:
            with opened(source, name) as picture:
                found = converted(picture, Form(in_chans), name).picture
    return found if isinstance(found, Image.Image) else as_picture(found)


def as_picture(pixels: Pixels) -> Image.Image:
    """(height, width, 1 or 3), floats in 0..1 -> a picture of 8 bit."""
    eight = np.rint(pixels * 255).astype(np.uint8)
    return Image.fromarray(eight[..., 0] if pixels.shape[2] == 1 else eight)


@contextmanager
def readable(name: str, source: object) -> Iterator[None]:
    """What Pillow and numpy raise becomes an ImageError that says what the file is."""
    try:
        yield
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file; check the path") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name}: expected a picture (JPEG, PNG, WebP, TIFF, AVIF, ...) or an .npy array, found {_found(source)}"
        ) from None
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise ImageError(f"{name}: expected a whole picture, found: {reason}; replace or re-encode it") from None


def _found(source: Any) -> str:
    """What a file is that Pillow does not take for a picture, and the way on."""
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return _found(file)
    if not hasattr(source, "seek"):
        return "something else"
    source.seek(0)
    kind = what_is(source.read(HEAD))
    if kind.endswith("picture"):
        return f"{kind} of a sort that is not read; save it as PNG, or its values as .npy (height, width, channels)"
    return f"{kind}; check that it is whole and is a picture"


def converted(picture: Image.Image, form: Form, name: str) -> Read:
    """A picture that Pillow opened, in the form that is wanted; floats stay floats, all else becomes 8 bit."""
    if 0 in picture.size:
        raise ImageError(f"{name}: expected at least one pixel, found {picture.height}x{picture.width}")
    picture.load()
    turn, notes = UPRIGHT.get(_orientation(picture, name)), _more(picture)
    if picture.mode.startswith("I"):
        picture, more = to_8_bit(picture, form, name, _white(picture))
        notes += more
    if turn is not None:
        picture = picture.transpose(turn)
    if picture.mode == "F":
        values, more = to_floats(np.asarray(picture)[..., None], form, name)
        return Read(with_channels(values, form.in_chans, name), notes + more)
    if form.in_chans not in MODES:
        return Read(with_channels(_bands(picture), form.in_chans, name), notes)
    if _sees_through(picture):
        notes += (Note("with transparency, which is left out"),)
    if "transparency" in picture.info:
        picture = picture.copy()  # the caller's picture keeps its own; without it `convert` has nothing to warn about
        del picture.info["transparency"]
    picture = picture.convert(MODES[form.in_chans])
    picture.info.clear()  # an orientation that stayed in it would be applied again
    return Read(picture, notes)


def _orientation(picture: Image.Image, name: str) -> int:
    if picture.format == "TIFF":  # Pillow turns TIFF as it loads, and some versions keep the tag
        return 1
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except DAMAGED as error:
        # The pixels are sound, so the picture is used, but not in silence.
        warnings.warn(f"{name}: its EXIF block cannot be read ({error}); taken as upright", stacklevel=4)
        return 1


def _more(picture: Image.Image) -> tuple[Note, ...]:
    """What else is in the file."""
    found: tuple[Note, ...] = ()
    if getattr(picture, "is_animated", False):
        part = "page" if picture.format == "TIFF" else "frame"
        found += (Note(f"with more than one {part}, of which the first is read"),)
    bands, whole = len(picture.getbands()), getattr(picture, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1)
    return found if whole <= bands else (*found, Note(f"with {whole} bands, of which {bands} are read"))


def _white(picture: Image.Image) -> int:
    """The largest value that there is room for; Pillow leaves TIFF of 12 bits in 0..4095."""
    bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]
    return int(2 ** min(bits, 16) - 1)


def _sees_through(picture: Image.Image) -> bool:
    """Whether an alpha channel hides anything."""
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        low, _ = picture.getchannel(picture.mode[-1]).getextrema()
        return low != 255
    return False


def _bands(picture: Image.Image) -> Pixels:
    """(height, width, channels), uint8: the picture's own, for a palette those of its colours."""
    if picture.mode in ("P", "PA", "1"):
        clear = picture.mode == "PA" or "transparency" in picture.info
        picture = picture.convert("L" if picture.mode == "1" else "RGBA" if clear else "RGB")
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]
