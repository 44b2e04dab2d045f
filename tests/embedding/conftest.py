"""A model whose vectors tell pictures apart, and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from vitzoo import Store, ViT, create
from vitzoo.embedding.recipe import Recipe
from vitzoo.embedding.store import Row
from vitzoo.embedding.writing import writing
from vitzoo.spec import About

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


def made_of(folder: Path, parts: list[np.ndarray[Any, Any]], dtype: str = "float32") -> Store:
    """A store of given vectors."""
    shape = (parts[0].shape[1],)
    kind: dict[str, Any] = {"model": "x", "weights": "0", "features": "cls", "img_size": (8, 8), "about": About()}
    recipe = Recipe(**kind, shape=shape, dtype=dtype, spec=tiny.spec())
    with writing(folder, recipe) as writer:
        for number, part in enumerate(parts):
            rows = [Row(f"{number}/{i}", "s", None, None, None, f"{number} {i}") for i in range(len(part))]
            writer.commit(rows, part)
        return writer.store


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
