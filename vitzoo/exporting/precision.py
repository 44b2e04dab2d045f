"""What a precision below float32 gains and costs: pictures for int8, agreement on others, speed beside float32."""

import os
import random
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vitzoo.data.folders import found_in
from vitzoo.data.natural import natural
from vitzoo.data.open import check_there
from vitzoo.engines.engine import Run
from vitzoo.engines.record import Precision, Record, Sizes
from vitzoo.errors import Argument, ExportError, ImageError
from vitzoo.exporting.machine import processor
from vitzoo.images.ranges import Form
from vitzoo.images.read import read_picture
from vitzoo.images.transform import preprocess
from vitzoo.publish.dialect import ViT

MOST = 320
HELD_OUT = 64
FEWEST = 8
ROUNDS = 9
SLOWER = 1.05
"""Time beside float32's from which a precision counts as slower; two runs of one graph differ by less."""


class Calibration(NamedTuple):
    """Prepared pictures, drawn from a folder or a tar file."""

    source: str
    fit: list[Tensor]
    """Each (1, in_chans, height, width): what int8 is fitted to."""
    held_out: Tensor
    """(pictures, in_chans, height, width): what it has not seen."""


def calibration_of(vit: ViT, data: str | os.PathLike[str]) -> Calibration:
    """Draw pictures and hold a quarter out, 64 at most.

    Raises:
        DataError: no such folder or tar file.
        ExportError: too few pictures that can be read.
    """
    check_there(data)
    found = found_in(Path(data))
    names = sorted(found.pictures, key=lambda name: natural(str(name)))
    random.Random(0).shuffle(names)
    transform, form, read = preprocess(vit), Form.of(vit), list[Tensor]()
    for name in names[:MOST]:
        try:
            with found.pictures[name].open() as file:
                read.append(transform.prepared(read_picture(file, form, str(name)).picture))
        except (ImageError, OSError):
            continue
    if len(read) < FEWEST:
        raise ExportError(f"{data} has {len(read)} pictures that can be read; calibrate with {FEWEST} at least")
    held = min(len(read) // 4, HELD_OUT)
    whole = torch.stack(read)
    return Calibration(
        f"{len(read) - held} pictures of {Path(data).name}",
        list(torch.split(whole[held:], 1)),
        whole[:held],
    )


def check_processor(precision: Precision, force: bool) -> None:
    """Refuse a precision that the processor has no instructions for.

    Raises:
        ExportError: it has none of them.
    """
    here = processor()
    if not force and (lacking := here.lacks(precision)):
        raise ExportError(
            f"{here.name} has no instructions for {precision} ({' or '.join(sorted(lacking))}) and would run it slower "
            "than fp32; choose fp32, or give ",
            Argument("force", True),
        )


@torch.inference_mode()
def agreement(vit: ViT, run: Run, x: Tensor, sizes: Sizes) -> float:
    """The share of pictures whose largest output is that of the model itself."""
    same = 0
    for part in torch.split(x, 1 if sizes is Sizes.FIXED else 8):
        same += int((run(part)[0].flatten(1).argmax(1) == vit(part).flatten(1).argmax(1)).sum())
    return same / len(x)


def time_beside(run: Run, other: Run, x: Tensor) -> float:
    """The time of a run as a share of another's: the median of pairs that are timed in turn."""
    ratios = []
    for _ in range(2):
        run(x), other(x)
    for number in range(ROUNDS):
        first, second = (run, other) if number % 2 else (other, run)
        start = time.perf_counter()
        first(x)
        middle = time.perf_counter()
        second(x)
        times = middle - start, time.perf_counter() - middle
        mine, theirs = times if number % 2 else times[::-1]
        ratios.append(mine / theirs)
    return statistics.median(ratios)


def check_speed(record: Record, force: bool) -> None:
    """Refuse a precision that is slower than float32 here.

    Raises:
        ExportError: it is.
    """
    if record.time is not None and record.time > SLOWER and not force:
        raise ExportError(
            f"{record.precision} takes {record.time:.2f} times as long as fp32 with {record.engine} on "
            f"{processor().name}. Nothing is written; choose fp32, or give ",
            Argument("force", True),
        )
