"""A model whose vectors tell pictures apart, and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from vitzoo import Store, ViT, create

COUNT = 11
FEW: dict[str, Any] = {"batch_size": 3, "rows_per_file": 4, "num_workers": 0}


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


def vectors(store: Store) -> dict[str, np.ndarray[Any, Any]]:
    """By key."""
    return {
        key: vector
        for block in store.blocks()
        for key, vector in zip(block.table["key"].to_pylist(), block.vectors, strict=True)
    }
