"""Test-time augmentation: several views of a picture, whose predictions are averaged."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitzoo.errors import SpecError
from vitzoo.images.transform import Transform, preprocess
from vitzoo.publish.dialect import ViT

CROPS = (1, 5)
ROOM = 0.875  # of a picture's side, where the model's own preprocessing leaves no room around the crop


@dataclass(frozen=True)
class Views:
    """Mirrored, and the corners beside the centre (Krizhevsky et al. 2012, section 4.1)."""

    flip: bool = False
    crops: int = 1

    def __post_init__(self) -> None:
        if self.crops not in CROPS:
            raise SpecError(f"crops is 1 (the centre) or 5 (the centre and the corners); found {self.crops}")

    @property
    def count(self) -> int:
        return self.crops * (1 + self.flip)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said of the numbers."""
        many = f"{self.count} views of each picture: their probabilities are averaged"
        return (many,) if self.count > 1 else ()

    def transform(self, vit: ViT) -> Transform:
        """From a picture to what all views are cut out of."""
        own = preprocess(vit)
        if self.crops == 1:
            return own
        part = min(own.preprocessing.crop_pct, ROOM)
        size = (math.floor(own.size[0] / part), math.floor(own.size[1] / part))
        return replace(own, size=size, preprocessing=own.preprocessing.replace(crop_pct=1.0))

    def cut(self, x: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
        """(batch, channels, height, width) -> each view (batch, channels, *size)."""
        rows, cols = size
        down, right = x.shape[-2] - rows, x.shape[-1] - cols
        corners = [(0, 0), (0, right), (down, 0), (down, right)] if self.crops == 5 else []
        for top, left in [(round(down / 2), round(right / 2)), *corners]:
            view = x[..., top : top + rows, left : left + cols]
            yield view
            if self.flip:
                yield view.flip(-1)

    def averaged(self, vit: ViT, given: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Of a batch, the mean over the views of what is `given` by the model's output, such as its probabilities."""
        size = preprocess(vit).size

        def function(x: Tensor) -> Tensor:
            return torch.stack([given(vit(view).float()) for view in self.cut(x, size)]).mean(0)

        return function
