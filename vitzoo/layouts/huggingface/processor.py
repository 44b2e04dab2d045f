"""transformers' preprocessor_config.json: the steps from a picture to pixels, read and written."""

from collections.abc import Mapping, Sequence
from math import floor, isclose, isqrt, nextafter
from typing import Any

from vitzoo.errors import LayoutError, shown
from vitzoo.layouts.config_rules import Fields, pair
from vitzoo.layouts.huggingface.config import kind_of, spec_fields
from vitzoo.spec import CropMode, CropOffset, Interpolation, Preprocessing, ResizeType, ViTSpec

PIL_FILTERS = {0: Interpolation.NEAREST, 2: Interpolation.BILINEAR, 3: Interpolation.BICUBIC}
CROPPING, NAFLEX, IN_FLOATS = "CLIPImageProcessor", "Siglip2ImageProcessor", "DINOv3ViTImageProcessor"

HALF = [0.5, 0.5, 0.5]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
STEPS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
SQUARES: Fields = {"do_center_crop": False, "size": {"height": 224, "width": 224}, "default_to_square": True}
PLAIN: Fields = {**SQUARES, "resample": 2, "image_mean": HALF, "image_std": HALF}
CROPPED: Fields = {"do_center_crop": True, "size": {"shortest_edge": 224}, "crop_size": 224, "default_to_square": False}
CROPPED |= {"resample": 3, "image_mean": CLIP_MEAN, "image_std": CLIP_STD}
PROCESSORS: dict[str, Fields] = {
    "ViTImageProcessor": PLAIN,
    "DeiTImageProcessor": {**PLAIN, "do_center_crop": True, "size": 256, "crop_size": 224, "resample": 3},
    "BeitImageProcessor": {**PLAIN, "resample": 3, "crop_size": 224},
    "SiglipImageProcessor": {**PLAIN, "resample": 3, "default_to_square": False},
    IN_FLOATS: {**PLAIN, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
    # Keeps the shape of a picture as far as patches can; a model of one size squashes it to as many patches.
    NAFLEX: {**PLAIN, "patch_size": 16, "max_num_patches": 256},
    "BitImageProcessor": CROPPED,
    CROPPING: CROPPED,
}
"""What a class does where preprocessor_config.json is silent (transformers/models/*/image_processing_*.py)."""
CLASSES = {
    **dict.fromkeys(("vit", "vit_mae", "vit_msn", "ijepa"), "ViTImageProcessor"),
    "deit": "DeiTImageProcessor",
    "beit": "BeitImageProcessor",
    "dinov2": "BitImageProcessor",
    "dinov3_vit": IN_FLOATS,
    "siglip": "SiglipImageProcessor",
    "siglip2": NAFLEX,
    **dict.fromkeys(("clip", "aimv2", "aimv2_vision_model"), CROPPING),
}
"""The class that transformers takes for a model type where preprocessor_config.json names none."""
MEND = "mend the file, or move it away"
NEEDED = ("size", "resample", "image_mean", "image_std", "do_center_crop")
# Pictures are always made RGB here, and labels are none of ours.
UNDERSTOOD = frozenset({*STEPS, "do_center_crop", "do_convert_rgb", "do_reduce_labels"})


def processor_config(layout: str, spec: ViTSpec, preprocessing: Preprocessing) -> Fields:
    """The preprocessor_config.json that AutoImageProcessor reads: the class that does all steps of ours.

    Raises:
        LayoutError: transformers has no processor that does the same for this layout.
    """
    filters = {name: number for number, name in PIL_FILTERS.items()}
    common = {
        "do_convert_rgb": spec.in_chans == 3,
        "do_resize": True,
        "resample": filters[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _each(preprocessing.mean, spec.in_chans),
        "image_std": _each(preprocessing.std, spec.in_chans),
    }
    size = preprocessing.img_size or spec.img_size
    rows, cols = (floor(side / preprocessing.crop_pct) for side in size)
    centre = preprocessing.crop_mode is CropMode.CENTER
    if kind_of(layout)[1].naflex:
        if centre or (rows, cols) != size or len(set(spec.patch_size)) > 1:
            raise LayoutError(
                f"{NAFLEX} crops nothing and cuts square patches; the preprocessing has to be crop_mode 'squash' and "
                f"crop_pct 1, found {preprocessing.crop_mode} and {preprocessing.crop_pct}, patches {spec.patch_size}"
            )
        side = spec.patch_size[0]
        patches = {"patch_size": side, "max_num_patches": (rows // side) * (cols // side)}
        return {"image_processor_type": NAFLEX, **common, **patches}
    if centre and rows != cols:
        raise LayoutError(
            f"transformers scales the shorter side for square pictures; img_size is {size}; set crop_mode to 'squash'"
        )
    return {
        "image_processor_type": IN_FLOATS if preprocessing.resize_type is ResizeType.FLOAT32 else CROPPING,
        **common,
        "size": {"shortest_edge": rows} if centre else {"height": rows, "width": cols},
        "do_center_crop": True,
        "crop_size": dict(zip(("height", "width"), size, strict=True)),
    }


def _each(values: Sequence[float], channels: int) -> list[float]:
    """One for each channel, by the rule of `vitzoo.images.transform`: their mean where there were other channels."""
    return list(values) if len(values) == channels else [sum(values) / len(values)] * channels


def preprocessing_fields(processor: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Fields:
    """The fields of `Preprocessing` that a preprocessor_config.json tells, with its class's own defaults.

    `config` is the config.json beside it: it says the class where the processor does not, and the model's own size.

    Raises:
        LayoutError: a step, size or filter that `Preprocessing` cannot express, or a class whose defaults are unknown.
    """
    name, full = _with_defaults(processor, config or {})
    if not full["do_resize"] or not full["do_rescale"] or not isclose(full["rescale_factor"], 1 / 255, rel_tol=1e-6):
        raise LayoutError(
            "preprocessor_config.json: pictures are always resized and scaled from 0..255 to 0..1 here, found "
            + ", ".join(f"{key} {full[key]}" for key in ("do_resize", "do_rescale", "rescale_factor"))
            + f"; {MEND}"
        )
    if strange := [key for key, on in full.items() if key.startswith("do_") and on and key not in UNDERSTOOD]:
        raise LayoutError(f"preprocessor_config.json: no preprocessing of ours can {', '.join(strange)}; {MEND}")
    if full["resample"] not in PIL_FILTERS:
        raise LayoutError(f"preprocessor_config.json: resample is {full['resample']}; expected Pillow's 0, 2 or 3")
    mean, std = (full["image_mean"], full["image_std"]) if full["do_normalize"] else (0.0, 1.0)
    return {
        "mean": tuple(mean) if isinstance(mean, Sequence) else (mean,),
        "std": tuple(std) if isinstance(std, Sequence) else (std,),
        "interpolation": PIL_FILTERS[full["resample"]],
        **({"resize_type": ResizeType.FLOAT32} if name == IN_FLOATS else {}),
        **_crop(full, None if config is None else pair(spec_fields(config)["img_size"])),
    }


def _with_defaults(processor: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, Fields]:
    """The processor's class, and what it does, whether preprocessor_config.json says it or not; null says nothing."""
    told = {key: value for key, value in processor.items() if value is not None}
    usual = CLASSES.get(str(config.get("model_type")), "no image_processor_type")
    name = str(told.get("image_processor_type", told.get("feature_extractor_type", usual)))
    # Other names of the same classes: version 4's two backends, version 5's, and version 4.26's.
    name = name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    full = STEPS | PROCESSORS.get(name, {"default_to_square": True}) | told
    if name == NAFLEX:
        full["size"] = isqrt(full["max_num_patches"]) * full["patch_size"]
    if missing := [key for key in NEEDED if key not in full]:
        raise LayoutError(
            f"preprocessor_config.json: {name} is not known, and the file does not say {', '.join(missing)}; "
            f"add them, or as image_processor_type one of {', '.join(PROCESSORS)}"
        )
    return name, full


def _said(box: Any) -> Any:
    """Lengths by name without those that are null, which says nothing."""
    return {name: side for name, side in box.items() if side is not None} if isinstance(box, Mapping) else box


def _crop(full: Mapping[str, Any], own: tuple[int, int] | None) -> Fields:
    """How the picture's size becomes that of the crop: `crop_mode`, and a `crop_pct` that gives exactly the sizes told.

    The crop's size is named where it is not the model's `own`.
    """
    size, crop, where = _said(full["size"]), _said(full.get("crop_size")), "preprocessor_config.json"
    if isinstance(size, int):
        size = {"height": size, "width": size} if full["default_to_square"] else {"shortest_edge": size}
    if set(size) == {"shortest_edge"} and full["do_center_crop"]:
        mode, scaled = CropMode.CENTER, (size["shortest_edge"],) * 2
    elif set(size) == {"height", "width"}:
        mode, scaled = CropMode.SQUASH, (size["height"], size["width"])
    else:
        raise LayoutError(
            f"{where}: size is {size} with do_center_crop {full['do_center_crop']}; expected height and width, or "
            "shortest_edge and a crop, so that all pictures have one size"
        )
    crop = scaled if crop is None or not full["do_center_crop"] else crop
    if isinstance(crop, Mapping) and not {"height", "width"} <= crop.keys():
        raise LayoutError(f"{where}: crop_size is {shown(crop)}; expected height and width")
    crop = pair([crop["height"], crop["width"]] if isinstance(crop, Mapping) else crop)
    if mode is CropMode.CENTER and crop[0] != crop[1]:
        raise LayoutError(f"{where}: a crop of {crop} from pictures scaled by their shorter side; expected a square")
    ratio = min(side / whole for side, whole in zip(crop, scaled, strict=True))
    # The quotient may be rounded up, and its floor would then be a pixel short.
    for crop_pct in (ratio, nextafter(ratio, 0)):
        if crop_pct <= 1 and tuple(floor(side / crop_pct) for side in crop) == scaled:
            found: Fields = {"crop_mode": mode, "crop_pct": crop_pct}
            found |= {"crop_offset": CropOffset.DOWN} if crop != scaled or mode is CropMode.CENTER else {}
            return found | ({} if own in (None, crop) else {"img_size": crop})
    raise LayoutError(f"{where}: no one crop_pct, of at most 1, scales to {scaled} and crops {crop}; {MEND}")
