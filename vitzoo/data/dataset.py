"""Pictures as a torch dataset whose random draws follow from seed, epoch and number alone."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vitzoo.data.pictures import Pictures
from vitzoo.images.ranges import Form, Pixels

Key = int | tuple[int, int]
"""A picture's number, or (epoch, number)."""


Item = tuple[Tensor, Any] | tuple[Tensor, Any, float]
"""A picture, what is known of it, and what it counts where pictures differ in that."""


class PictureDataset(Dataset[Item]):
    """Pictures by number; with a seed also by (epoch, number), which seeds whatever `transform` draws."""

    def __init__(
        self,
        pictures: Pictures,
        transform: Callable[[Image.Image | Pixels], Tensor],
        form: Form,
        seed: int | None = None,
    ) -> None:
        self.pictures, self.transform, self.form, self.seed = pictures, transform, form, seed

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, key: Key) -> Item:
        epoch, i = key if isinstance(key, tuple) else (0, key)
        picture, target = self.pictures.load(i, self.form), self.pictures.targets[i]
        if self.seed is None:
            return self.transform(picture), target
        with isolate_rng(include_cuda=False):  # the model's own draws must not depend on who loads the pictures
            state = np.random.SeedSequence([self.seed, epoch, i]).generate_state(3)
            random.seed(int(state[0]))
            np.random.seed(state[1])  # timm's transforms draw from all three
            torch.default_generator.manual_seed(int(state[2]))
            x = self.transform(picture)
        return (x, target) if self.pictures.weights is None else (x, target, float(self.pictures.weights[i]))
