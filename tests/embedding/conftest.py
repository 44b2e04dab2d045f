"""A model whose vectors tell pictures apart, and pictures."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from vitzoo import ViT, create

COUNT = 11


@pytest.fixture(scope="session")
def vit() -> ViT:
    return tiny.randomise(create(tiny.spec()))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder in folders, of pictures that are all different."""
    root = tmp_path / "pictures"
    for i in range(COUNT):
        picture(root / "ab"[i % 2] / f"{i}.png", i)
    return root


def picture(path: Path, seed: int, side: int = 40) -> Path:
    """A smooth picture that nobody else has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store but the lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "_lock"}


torch.set_num_threads(1)
