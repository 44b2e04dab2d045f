"""Small pictures and small runs for the tests of fine-tuning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny import SMALLEST, disturb

import vitzoo
from vitzoo.train.finetuning import finetune

CLASSES = ("blue", "green", "red")
SPEC = {**SMALLEST, "depth": 2, "num_classes": 7}


def write_pictures(folder: Path, per_class: int = 10, classes: Sequence[str] = CLASSES) -> Path:
    """A folder of class folders with noisy pictures, each class in a colour of its own."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = random.integers(0, 128, (20, 24, 3), dtype=np.uint8)
            pixels[..., 2 - number % 3] += 127
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def write_model(path: Path, **fields: Any) -> Path:
    """A tiny native file with random weights in every parameter, so that each gradient counts."""
    model = vitzoo.create(vitzoo.ViTSpec(**{**SPEC, **fields}), generator=0)
    disturb(model, 0.05)
    model.license = "apache-2.0"
    return vitzoo.save(model, path)


RUN: Mapping[str, Any] = {
    "epochs": 2,
    "warmup_epochs": 0.5,
    "batch_size": 6,
    "num_workers": 0,
    "accelerator": "cpu",
    "val_fraction": 0.2,
}


def run(model: Any, data: Path, output: Path, recipe: Any = "full", **changes: Any) -> Path:
    """A run of a second."""
    return finetune(model, data, output, recipe, **{**RUN, **changes})
