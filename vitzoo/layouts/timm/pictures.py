"""How timm's config.json says that pictures are prepared: its pretrained_cfg, read and written."""

from collections.abc import Mapping
from typing import Any

from vitzoo.errors import LayoutError
from vitzoo.spec import Preprocessing, ViTSpec

STEPS = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
"""What it says under the names of `Preprocessing`."""
DYNAMIC = "dynamic_img_size"
"""timm's argument for pictures of any size. Without it timm takes the model's own size, whatever input_size says."""


def config(spec: ViTSpec, preprocessing: Preprocessing) -> dict[str, Any]:
    """The part of pretrained_cfg that is about pictures: one mean for each channel, or their mean for all."""
    fields = {name: value for name, value in preprocessing.model_dump(mode="json").items() if name in STEPS}
    for name in ("mean", "std"):
        values = fields[name]
        fields[name] = values if len(values) == spec.in_chans else [sum(values) / len(values)] * spec.in_chans
    return {"input_size": [spec.in_chans, *(preprocessing.img_size or spec.img_size)], **fields}


def arguments(layout: str, preprocessing: Preprocessing) -> dict[str, bool]:
    """What timm's class needs for pictures of another size than the model's.

    Raises:
        LayoutError: it takes none.
    """
    if preprocessing.img_size is not None and layout == "timm_beit":
        raise LayoutError(
            f"pictures are prepared at {preprocessing.img_size}, and timm's Beit takes those of the model's own size "
            "alone; create the model with that img_size, then save it"
        )
    return {} if preprocessing.img_size is None else {DYNAMIC: True}


def preprocessing_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Preprocessing` that a config.json of timm says."""
    pretrained: Mapping[str, Any] = config.get("pretrained_cfg") or config
    args: Mapping[str, Any] = config.get("model_args") or {}
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name in STEPS
        if (value := pretrained.get(name)) is not None
    }
    size, own = pretrained.get("input_size"), args.get("img_size")
    own = tuple(own) if isinstance(own, list) else (own, own)
    if args.get(DYNAMIC) and size and own[0] and tuple(size[1:]) != own:
        fields["img_size"] = tuple(size[1:])
    return fields
