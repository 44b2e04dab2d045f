"""What another library's own reader does otherwise than we do, though its configuration is written.

How far apart pixels are was measured on 43 photographs of ImageNet, at 224, 384 and 448 pixels (transformers 5.24).
"""

from collections.abc import Callable
from math import floor

from vitzoo.layouts.huggingface import tables as huggingface
from vitzoo.layouts.huggingface.config import RESAMPLING, kind_of
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.timm import tables as timm
from vitzoo.spec import About, CropMode, CropOffset, Preprocessing, ResizeType, TaskKind, ViTSpec

SAID = {
    TaskKind.MULTI_LABEL: "several labels a picture (a sigmoid each)",
    TaskKind.REGRESSION: "numbers and no classes",
    TaskKind.ORDINAL: "grades, classes in an order",
}
Line = Callable[[Layout, ViTSpec, About], str | None]


def differences(layout: Layout, spec: ViTSpec, about: About) -> tuple[str, ...]:
    """A line for each; of pictures none for layouts whose library has no configuration."""
    lines: tuple[Line, ...] = (_task, *next((found for tables, found in LINES if layout in tables), ()))
    return tuple(text for line in lines if (text := line(layout, spec, about)))


def _task(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    if about.kind not in SAID or layout.name == "vitzoo" or layout in huggingface.LAYOUTS:
        return None
    return f"files in layout '{layout.name}' do not say that the head gives {SAID[about.kind]}"


def _crops(own: CropOffset, library: str, start: str) -> Line:
    """Crops whose start is rounded otherwise: the margin has to be 3, 7, 11 ... pixels."""

    def line(layout: Layout, spec: ViTSpec, about: About) -> str | None:
        how = about.preprocessing
        if how.crop_offset is own:
            return None
        always = any(margin % 4 == 3 for margin in _margins(spec, how))
        if how.crop_mode is CropMode.SQUASH and not always:
            return None
        where = "every picture is" if always else "pictures are, whose longer side has a margin of 3, 7, 11 ... pixels,"
        return f"{where} cropped one pixel {start} by {library} than by vitzoo"

    return line


def _margins(spec: ViTSpec, how: Preprocessing) -> list[int]:
    """What is cropped of a side that is scaled to exactly size / crop_pct."""
    return [floor(side / how.crop_pct) - side for side in how.img_size or spec.img_size]


def _backend(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    if about.preprocessing.resize_type is ResizeType.FLOAT32:
        return None
    return (
        "transformers resizes with torchvision, if it is installed, and not with Pillow: pixels are up to 2 of 255 "
        "grey levels apart, and up to 17 at edges of pictures that are enlarged; "
        'AutoImageProcessor.from_pretrained(..., backend="pil") gives the same pixels'
    )


def _channels(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    if spec.in_chans == 3:
        return None
    how = 'picture.convert("L")' if spec.in_chans == 1 else f"an array ({spec.in_chans}, height, width)"
    return (
        f"transformers' pipeline makes all pictures RGB, and fails on a model of {spec.in_chans} "
        f"channel{'s' if spec.in_chans > 1 else ''}; give its processor {how}, and the model what that gives"
    )


def _asked(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    if about.preprocessing.img_size is None or kind_of(layout.name)[0] in RESAMPLING:
        return None
    return (
        f"pictures are prepared at {about.preprocessing.img_size}, and the model is for {spec.img_size}: transformers "
        "takes them with interpolate_pos_encoding=True alone, which its pipeline does not give"
    )


def _policy(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    if about.preprocessing.img_size is None or about.resample in (None, layout.resample):
        return None
    return (
        f"pictures are prepared at {about.preprocessing.img_size}, for which positions are resampled: its library does "
        f"that as policy '{layout.resample}', and vitzoo as '{about.resample}'"
    )


def _rounded(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    if about.preprocessing.resize_type is ResizeType.UINT8:
        return None
    return "timm rounds resized pictures to 8 bit: pixels are up to 1 of 255 grey levels apart"


def _range(layout: Layout, spec: ViTSpec, about: About) -> str | None:
    how = about.preprocessing
    if how.white is None:
        return None
    return (
        f"pictures of more than 8 bits are read with {how.black:g} as black and {how.white:g} as white, which its "
        "library does not: scale them to 8 bit first"
    )


LINES: tuple[tuple[tuple[Layout, ...], tuple[Line, ...]], ...] = (
    (
        huggingface.LAYOUTS,
        (_crops(CropOffset.DOWN, "transformers", "earlier"), _backend, _channels, _asked, _policy, _range),
    ),
    (timm.LAYOUTS, (_crops(CropOffset.NEAREST, "timm", "later"), _rounded, _policy, _range)),
)
