"""The eval transform: how a picture becomes a model's input.

Sizes and rounding are those of timm 1.0.31's `transforms_imagenet_eval` and of the torchvision functions under it,
so that pixels are equal to timm's; docs/preprocessing.md says where the two differ on purpose. Pillow, numpy and
torch are enough: timm and torchvision are slow to import.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitzoo.errors import ImageError
from vitzoo.images.arrays import describe, from_pixels, to_pixels
from vitzoo.images.load import MODES, converted, readable
from vitzoo.images.ranges import Form, Pixels
from vitzoo.images.read import read_picture
from vitzoo.spec import CropMode, CropOffset, Preprocessing, ResizeType, ViTSpec

Picture = Image.Image | str | os.PathLike[str] | Pixels | Tensor

OFFSETS: dict[CropOffset, Callable[[float], int]] = {CropOffset.NEAREST: round, CropOffset.DOWN: math.floor}


class Prepared(Protocol):
    """What :func:`preprocess` asks of a model: its shape, and how its weights saw pictures."""

    spec: ViTSpec
    preprocessing: Preprocessing


def preprocess(model: Prepared) -> "Transform":
    """The eval transform of a built model: its own channels, its weights' preprocessing, and their size or its own."""
    size = model.preprocessing.img_size or model.spec.img_size
    return Transform(size, model.spec.in_chans, model.preprocessing)


@dataclass(frozen=True, repr=False)
class Transform:
    """From a picture to float32 (in_chans, height, width): load, resize, crop the centre, normalise.

    Takes a PIL picture, a path, an array (height, width[, channels]) or a tensor (channels, height, width); arrays
    and tensors are uint8, uint16 or float in 0..1. Uint8 is resized in 8 bit, as PIL pictures are, unless the weights
    want floats; uint16 and float keep their precision. Pictures that cannot be used are an :class:`ImageError`.
    """

    size: tuple[int, int]
    in_chans: int
    preprocessing: Preprocessing

    def __call__(self, image: Picture) -> Tensor:
        return self.prepared(self._loaded(image))

    def prepared(self, picture: Image.Image | Pixels) -> Tensor:
        """The same of a picture that was read in the form of this transform."""
        return self.normalised(self.cropped(picture))

    def cropped(self, picture: Image.Image | Pixels) -> Pixels:
        """A picture that was read in the form of this transform -> (height, width, in_chans), uint8 or float32."""
        return np.dstack([np.asarray(self._resize_and_crop(plane)) for plane in self._planes(picture)])

    def normalised(self, pixels: Pixels) -> Tensor:
        """What `cropped` gives, of one picture or of a batch -> float32 (..., in_chans, height, width)."""
        x = torch.from_numpy(pixels).movedim(-1, -3).contiguous().to(torch.float32)
        # Bicubic overshoots at edges; 8-bit planes are clipped by Pillow itself, and who resizes floats clips nothing.
        if not self._in_floats:
            x = x.div_(255) if pixels.dtype == np.uint8 else x.clamp_(0, 1)
        mean, std = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (self.mean, self.std))
        return x.sub_(mean).div_(std)

    def batch(self, images: Iterable[Picture]) -> Tensor:
        """Pictures of any sizes as one batch (n, in_chans, height, width)."""
        tensors = [self(image) for image in images]
        return torch.stack(tensors) if tensors else torch.empty(0, self.in_chans, *self.size)

    @property
    def mean(self) -> tuple[float, ...]:
        """One for each channel; their mean for all where the weights had another number of channels, as in timm."""
        return self._each(self.preprocessing.mean)

    @property
    def std(self) -> tuple[float, ...]:
        """One for each channel, by the rule of `mean`."""
        return self._each(self.preprocessing.std)

    def _each(self, values: tuple[float, ...]) -> tuple[float, ...]:
        return values if len(values) == self.in_chans else (sum(values) / len(values),) * self.in_chans

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done, in words."""
        rows, cols = self._scale
        if self.preprocessing.crop_mode is CropMode.SQUASH:
            resize = f"{rows}x{cols}, aspect ratio not kept"
        else:
            resize = f"shorter side to {rows}" if rows == cols else f"smallest that covers {rows}x{cols}"
        return (
            "load: upright, " + ("8 bit " + MODES[self.in_chans] if self.in_chans in MODES else "array or tensor"),
            f"resize: {resize}, {self.preprocessing.interpolation}{', in floats' if self._in_floats else ''}",
            f"crop: centre {self.size[0]}x{self.size[1]}",
            f"normalise: 0..1, mean {self.mean}, std {self.std}",
        )

    def __repr__(self) -> str:
        return "Transform(\n" + "".join(f"  {step}\n" for step in self.steps) + ")"

    @property
    def _in_floats(self) -> bool:
        return self.preprocessing.resize_type is ResizeType.FLOAT32

    @property
    def _scale(self) -> tuple[int, int]:
        rows, cols = (math.floor(side / self.preprocessing.crop_pct) for side in self.size)
        return rows, cols

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after the resize. As crop_pct is at most 1, it is never smaller than the crop."""
        rows, cols = self._scale
        if self.preprocessing.crop_mode is CropMode.SQUASH:
            return rows, cols
        if rows == cols:  # torchvision truncates the longer side
            return (int(rows * height / width), rows) if width <= height else (rows, int(rows * width / height))
        ratio = min(height / rows, width / cols)  # timm rounds both
        return round(height / ratio), round(width / ratio)

    def _resize_and_crop(self, plane: Image.Image) -> Image.Image:
        height, width = self._resized(plane.height, plane.width)
        if height * width > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow's own limit for files
            raise ImageError(
                f"picture of {plane.height}x{plane.width}: resized to {height}x{width} it would not fit in memory; "
                "expected a less extreme aspect ratio, crop it first"
            )
        plane = plane.resize((width, height), Image.Resampling[self.preprocessing.interpolation.name])
        rows, cols = self.size
        start = OFFSETS[self.preprocessing.crop_offset]
        top, left = start((height - rows) / 2), start((width - cols) / 2)
        return plane.crop((left, top, left + cols, top + rows))

    def _planes(self, picture: Image.Image | Pixels) -> list[Image.Image]:
        """The channels as PIL pictures: one of mode RGB or L, or one of mode L or F for each channel."""
        if isinstance(picture, Image.Image):
            planes = [picture]
        else:
            planes = [Image.fromarray(picture[..., channel]) for channel in range(picture.shape[2])]
        if not self._in_floats or planes[0].mode == "F":
            return planes
        bands = [band for plane in planes for band in plane.split()]
        return [Image.fromarray(np.asarray(band, dtype=np.float32) / np.float32(255)) for band in bands]

    def _loaded(self, image: Picture) -> Image.Image | Pixels:
        if isinstance(image, str | os.PathLike):
            read = read_picture(image, self.form)
            for note in read.notes:
                warnings.warn(f"a picture {note.text}", stacklevel=4)
            return read.picture
        if not isinstance(image, Image.Image):
            return from_pixels(to_pixels(image), self.form, describe(image)).picture
        name = repr(getattr(image, "filename", "") or f"{image.mode} picture")
        with readable(name, image):
            return converted(image, self.form, name).picture

    @property
    def form(self) -> Form:
        """How pictures are read for the model."""
        return Form(self.in_chans, self.preprocessing.white, self.preprocessing.black)
