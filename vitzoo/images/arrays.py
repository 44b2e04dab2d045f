"""Pictures that are arrays of numbers: in memory, or in an `.npy` file."""

import math
import os
import tokenize
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitzoo.errors import ImageError, shown
from vitzoo.images.channels import other_channels, with_channels
from vitzoo.images.load import DAMAGED, LONGEST_REASON, MODES, Read, converted
from vitzoo.images.ranges import Form, Pixels, Scaled, to_floats


def load_array(file: IO[bytes], form: Form, name: str) -> Read:
    """The array (height, width) or (height, width, channels) of an `.npy` file.

    Raises:
        ImageError: a file that cannot be read, other channels than the model's, or values beyond their range.
    """
    try:
        pixels = _array(file)
    except (*DAMAGED, MemoryError, tokenize.TokenError) as error:  # numpy reads the header of an array as Python
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise ImageError(f"{name}: expected a whole .npy file, found: {reason}; save it again") from None
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ImageError(f"{name}: expected (height, width) or (height, width, channels), found {pixels.shape}")
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if form.in_chans in MODES and pixels.shape[2] not in MODES:  # nobody says that a fourth is alpha
        raise other_channels(pixels, form.in_chans, name)
    return from_pixels(pixels, form, name)


def from_pixels(pixels: Pixels, form: Form, name: str) -> Read:
    """(height, width, channels) -> a picture if it has 8 bits and the model one or three channels, else an array."""
    found = pixels.shape[2]
    if isinstance(pixels, Scaled):
        return Read(with_channels(pixels, form.in_chans, name))
    if pixels.dtype != np.uint8:
        pixels, notes = to_floats(pixels, form, name)
        return Read(with_channels(pixels, form.in_chans, name), notes)
    if form.in_chans in MODES and found in (1, 3, 4):
        picture = Image.fromarray(pixels[..., 0] if found == 1 else pixels[..., :3])
        return converted(picture, form, name)
    return Read(with_channels(pixels, form.in_chans, name))


def to_pixels(image: Pixels | Tensor) -> Pixels:
    """An array or a tensor as (height, width, channels), with the values it has."""
    name = describe(image)
    if isinstance(image, Tensor):
        if image.ndim != 3:
            raise ImageError(f"{name}: expected (channels, height, width); add or remove a dimension")
        tensor = image.detach().cpu()
        pixels: Pixels = (tensor.float() if tensor.is_floating_point() else tensor).permute(1, 2, 0).numpy()
    elif isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise ImageError(f"{name}: expected (height, width) or (height, width, channels)")
        pixels = image if image.ndim == 3 else image[..., None]
    else:
        raise ImageError(f"expected a PIL picture, a path, an array or a tensor, found {type(image).__name__}")
    if 0 in pixels.shape:
        raise ImageError(f"{name}: expected at least one pixel, found none")
    return pixels


def describe(image: object) -> str:
    """An array or a tensor, in a message."""
    return f"{type(image).__name__} of shape {tuple(getattr(image, 'shape', ()))}"


def _array(file: IO[bytes]) -> Pixels:
    """The array of an `.npy` file, if the file has as many bytes as it declares.

    Raises:
        ValueError, and what else numpy raises at a header that is none.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the npy format; expected 1.0 or 2.0")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    start, end = file.tell(), file.seek(0, os.SEEK_END)
    if dtype.hasobject or start + math.prod(shape) * dtype.itemsize != end:
        raise ValueError(f"an array of {shown(shape)} and {shown(dtype)} in {end - start:,} bytes")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def to_tensor(pixels: Pixels) -> Tensor:
    """(height, width, channels) -> float32 (channels, height, width) in 0..1, for torchvision's transforms."""
    x = torch.tensor(pixels).permute(2, 0, 1).float()
    return x / 255 if pixels.dtype == np.uint8 else x
