"""How pictures of other channels become a model's: by rules where everybody means the same, else not at all."""

import numpy as np

from vitzoo.errors import ImageError
from vitzoo.images.ranges import Pixels

LUMINANCE = np.array([[0.299], [0.587], [0.114]], dtype=np.float32)  # of Pillow's mode L (ITU-R 601)


def with_channels(pixels: Pixels, in_chans: int, name: str) -> Pixels:
    """(height, width, in_chans): one channel is three times itself, three are one by luminance, of four alpha goes.

    Raises:
        ImageError: any other number of channels than the model's.
    """
    found = pixels.shape[2]
    if found == in_chans:
        return pixels
    if in_chans == 3 and found in (1, 4):
        return np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
    if in_chans == 1 and found in (3, 4):
        return pixels[..., :3] @ LUMINANCE
    raise other_channels(pixels, in_chans, name)


def other_channels(pixels: Pixels, in_chans: int, name: str) -> ImageError:
    """That an array has other channels than a model takes."""
    found = pixels.shape[2]
    return ImageError(
        f"{name}: expected {in_chans} channels, found {found} in {pixels.shape}; "
        f"arrays are (height, width, channels), tensors (channels, height, width); in_chans={found} is a model for them"
    )
