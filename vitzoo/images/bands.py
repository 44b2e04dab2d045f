"""Pictures of other than one or three channels: arrays in `.npy` files, and pictures with that many bands."""

import math
import os
import tokenize
from typing import IO

import numpy as np
import torch
from torch import Tensor

from vitzoo.errors import ImageError, shown
from vitzoo.images.load import DAMAGED, Pixels, opened, to_pixels

LONGEST_REASON = 200


def load_bands(file: IO[bytes], name: str, in_chans: int) -> Pixels:
    """(height, width, in_chans), uint8 or float32 in 0..1; RGBA and CMYK pictures have four bands.

    Raises:
        ImageError: a file that cannot be read, another number of channels, or values beyond their range.
    """
    try:
        if name.lower().endswith(".npy"):
            pixels = _array(file)
        else:
            with opened(file, name) as picture:
                pixels = np.asarray(picture)
    except (*DAMAGED, MemoryError, tokenize.TokenError) as error:  # numpy reads the header of an array as Python
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise ImageError(f"{name}: expected a whole .npy file or picture, found: {reason}") from None
    if pixels.ndim != 3 or pixels.shape[2] != in_chans:
        raise ImageError(f"{name}: expected (height, width, {in_chans}), found {pixels.shape}")
    return to_pixels(pixels)


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
