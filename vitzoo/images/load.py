"""One picture from a file, an array or a tensor, upright and in 8 bit or as floats."""

import os
import struct
import warnings
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
        with Image.open(source) as picture:
            return _convert(picture, MODES[in_chans], name)
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: expected a picture file, found a folder; give the files in it") from None
    except UnidentifiedImageError:
        raise ImageError(
            f"{name}: expected JPEG, PNG, WebP or another format that Pillow reads, found something else; "
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
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > top:
        raise ImageError(
            f"{name}: expected grey values in 0..{top}, found {values.min()}..{values.max()}; give floats in 0..1"
        )
    return Image.fromarray(((values * 255 + top // 2) // top).astype(np.uint8))


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
