"""Pictures of other than one or three channels: arrays in `.npy` files, and pictures with that many bands."""

from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitzoo.errors import ImageError
from vitzoo.images.load import DAMAGED, Pixels, to_pixels


def load_bands(file: IO[bytes], name: str, in_chans: int) -> Pixels:
    """(height, width, in_chans), uint8 or float32 in 0..1; RGBA and CMYK pictures have four bands.

    Raises:
        ImageError: a file that cannot be read, another number of channels, or values beyond their range.
    """
    try:
        if name.lower().endswith(".npy"):
            pixels = np.load(file, allow_pickle=False)
        else:
            with Image.open(file) as picture:
                pixels = np.asarray(picture)
    except DAMAGED as error:
        raise ImageError(f"{name}: expected a whole .npy file or picture, found: {error}") from None
    if pixels.ndim != 3 or pixels.shape[2] != in_chans:
        raise ImageError(f"{name}: expected (height, width, {in_chans}), found {pixels.shape}")
    return to_pixels(pixels)


def to_tensor(pixels: Pixels) -> Tensor:
    """(height, width, channels) -> float32 (channels, height, width) in 0..1, for torchvision's transforms."""
    x = torch.tensor(pixels).permute(2, 0, 1).float()
    return x / 255 if pixels.dtype == np.uint8 else x
