"""Files that look like a ViT and are none, or are one in another program's axes: named for what they are."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vitzoo.errors import Argument, Part
from vitzoo.spec import Shape


class Stranger(NamedTuple):
    """A file with a tensor of such a name, and so many axes if `axes` says it, is what `what` says."""

    pattern: re.Pattern[str]
    what: str
    axes: int | None = None


STRANGERS: Sequence[Stranger] = (
    Stranger(
        re.compile(r"\.attn\.rel_pos_[hw]$"),
        "the encoder of Segment Anything or ViTDet, which attends in windows with relative positions for rows and "
        "columns: no plain ViT",
    ),
    Stranger(
        re.compile(r"(?:patch_embed\w*\.(?:proj\w*\.)?|patch_embedding\.|conv1\.)weight$"),
        "a model of videos or series: its patch kernel has a time axis, (out, in, time, rows, columns). Where that is "
        "of length 1, save the file again with the kernel's squeeze(2)",
        5,
    ),
    Stranger(re.compile(r"layers\.\d+\.blocks\.\d+\.attn\.|downsample\.reduction\.weight$"), "a Swin: no plain ViT"),
    Stranger(re.compile(r"(?:^|\.)layer1\.0\.conv1\.weight$"), "a ResNet: no ViT"),
    Stranger(re.compile(r"patch_embed\.backbone\."), "a hybrid, with convolutions in the place of the patch kernel"),
    Stranger(
        re.compile(r"patch_embed\.(?:proj|conv\d?)\.\d+\.(?:\w+\.)?weight$"),
        "a model with several convolutions in the place of one patch kernel: no plain ViT",
    ),
    Stranger(
        re.compile(r"\.(?:qweight|qzeros|SCB|weight_scale|weight_format|_packed_params\S*)$"),
        "quantised: take the file that it was made from",
    ),
    Stranger(
        re.compile(r"\.lora_(?:A|B|embedding)"),
        "an adapter (LoRA) beside a model: merge it with the program that made it, and save the result",
    ),
)


def stranger(shapes: Mapping[str, Shape]) -> str | None:
    """What a file is that no layout reads, and the tensor that shows it; None where nothing is known."""
    for one in STRANGERS:
        for key, shape in shapes.items():
            if one.axes in (None, len(shape)) and one.pattern.search(key):
                return f"'{key}' {list(shape)} shows {one.what}"
    return None


def turned_kernel(key: str, shape: Shape, said: Mapping[str, Any]) -> list[Part]:
    """Why a patch kernel cannot be in torch's axes; nothing if it can, or the caller says it has these channels."""
    _, channels, rows, cols = shape
    if not (channels == rows and cols in (1, 3, 4) and cols < rows) or said.get("in_chans") == channels:
        return []
    return [
        f"the patch kernel '{key}' is {list(shape)}, which would be {channels} channels in patches of {rows}x{cols}; "
        "MLX keeps kernels so, (out, rows, columns, in). Save the file again with the kernel's permute(0, 3, 1, 2); "
        f"if it truly has {channels} channels, give ",
        Argument("in_chans", channels),
    ]
