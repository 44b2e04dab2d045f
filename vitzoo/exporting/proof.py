"""The proof: what a written file gives for real pictures, beside what the model gives."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitzoo.engines.engine import Run
from vitzoo.engines.graph import FEWEST, Outputs
from vitzoo.engines.record import Compared, Sizes
from vitzoo.errors import ExportError
from vitzoo.images.transform import preprocess
from vitzoo.publish.dialect import ViT
from vitzoo.spec import About, Preprocessing, Size, ViTSpec

CAT = Path(__file__).parents[1] / "bundled" / "cat.jpg"
"""Chelsea the cat, by Stefan van der Walt (CC0), as in examples/."""
PICTURES = 3
Files = Sequence[str | os.PathLike[str]]


@dataclass
class _At:
    """A model's preprocessing at another size."""

    spec: ViTSpec
    preprocessing: Preprocessing


def batch_of(spec: ViTSpec, about: About, size: Size, count: int, more: Files = ()) -> Tensor:
    """(count, in_chans, *size): the pictures in `more`, then the cat, cut and turned, as the model's transform has it.

    A model of other channels than three gets those of the cat again and again.
    """
    spec = spec.replace(img_size=size)
    transform = preprocess(_At(spec, about.preprocessing.replace(img_size=None)))
    given = [transform(Path(path)) for path in more[:count]]
    return torch.stack([*given, *(transform(one) for one in _cats(spec.in_chans, count - len(given)))])


def _cats(channels: int, count: int) -> Iterator[np.ndarray]:
    with Image.open(CAT) as file:
        whole = np.asarray(file.convert("RGB"))
    many = np.ascontiguousarray(whole[..., [channel % 3 for channel in range(channels)]])
    for number in range(count):
        height, width = (int(side * (1 - 0.15 * (number % 4))) for side in many.shape[:2])
        yield np.ascontiguousarray(np.rot90(many[:height, :width], number))


def sizes_of(spec: ViTSpec, sizes: Sizes) -> tuple[tuple[int, Size], ...]:
    """(pictures, size) that are tried: the model's own, and of what stays open a larger, a wide and a small one."""
    own, (down, across), (rows, columns) = spec.img_size, spec.patch_size, spec.grid
    if sizes is Sizes.FIXED:
        return ((1, own),)
    batches: tuple[tuple[int, Size], ...] = ((1, own), (PICTURES, own))
    if sizes is Sizes.BATCH:
        return batches
    larger = ((rows + 2) * down, (columns + 2) * across)
    wide = ((rows + 1) * down, (columns + 4) * across)
    small = (max(rows // 2 + 1, FEWEST) * down, max(rows // 2, FEWEST) * across)
    return (*batches, (1, larger), (2, wide), (2, small))


@torch.inference_mode()
def compared(
    model: ViT,
    names: tuple[str, ...],
    run: Run,
    sizes: Sizes,
    pictures: Files = (),
) -> tuple[Compared, ...]:
    """The largest difference of each output at each size, as a share of the output's largest value."""
    rows = []
    eager = Outputs(model, names)
    for count, size in sizes_of(model.spec, sizes):
        x = batch_of(model.spec, model.about, size, count, pictures)
        for name, theirs, ours in zip(names, run(x), eager(x), strict=True):
            rows.append(Compared(batch=count, size=size, output=name, difference=difference(theirs, ours)))
    return tuple(rows)


def difference(theirs: Tensor, ours: Tensor) -> float:
    """The largest, as a share of the largest value; more than any tolerance for other shapes and for no numbers."""
    if theirs.shape != ours.shape or not bool(theirs.isfinite().all()):
        return BEYOND
    return ((theirs - ours).abs().max() / ours.abs().max().clamp(min=1e-12)).item()


BEYOND = 1e9


def check(rows: Sequence[Compared], tolerance: float, engine: str, precision: str) -> None:
    """Refuse a file that does not give the model's numbers.

    Raises:
        ExportError: it shows the largest difference, the size and the output.
    """
    worst = max(rows, key=lambda row: row.difference)
    if not worst.difference <= tolerance:
        right = sum(row.difference <= tolerance for row in rows)
        found = (
            "other shapes or no numbers" if worst.difference >= BEYOND else f"a difference of {worst.difference:.1e}"
        )
        raise ExportError(
            f"{engine} in {precision} gives {found} in {worst.output} of {worst.batch} pictures of "
            f"{worst.size[0]}x{worst.size[1]}; expected {tolerance:g} of the largest value at most, which {right} of "
            f"{len(rows)} comparisons keep. Nothing is written; choose another engine (.onnx, .xml, .pt2), a wider "
            "precision, or sizes that stay as they are (batch)"
        )
