"""Evaluations of predictions that are drawn, without a model or pictures."""

from typing import Any

import numpy as np
import torch

from vitzoo.data.pictures import Pictures

NAMES = tuple("abcdefgh")


def evaluation(kind: type[Any], targets: np.ndarray, scores: np.ndarray, **options: Any) -> Any:
    count, width = len(targets), scores.shape[1]
    files = [f"{i}.png" for i in range(count)]
    pictures = Pictures("made up", None, NAMES[:width], files, targets, np.arange(count), "")
    return kind(
        pictures=pictures,
        split="val",
        skipped=(),
        labels=NAMES[:width],
        targets=torch.from_numpy(targets),
        scores=torch.from_numpy(scores),
        pictures_per_second=1.0,
        **{"draws": 0, **options},
    )


def drawn(seed: int, pictures: int, classes: int, coarse: bool) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Targets of some of the classes, and logits; coarse ones are often equal."""
    random = np.random.default_rng(seed)
    targets = random.integers(random.integers(1, classes + 1), size=pictures)
    scores = random.normal(size=(pictures, classes)).astype(np.float32)
    scores[np.arange(pictures), targets] += 1
    return targets, np.round(scores * 2).astype(np.float32) if coarse else scores, random
