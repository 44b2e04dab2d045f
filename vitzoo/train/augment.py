"""The training transform: timm's, with the colours and the interpolation that the model's weights were trained with."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from vitzoo.errors import SpecError
from vitzoo.images.arrays import to_tensor
from vitzoo.images.load import MODES, as_picture
from vitzoo.images.ranges import Pixels
from vitzoo.images.transform import Prepared, preprocess
from vitzoo.registry.recipes import Recipe

Augmentation = Callable[[Image.Image | Pixels], Tensor]


def training_transform(model: Prepared, recipe: Recipe) -> Augmentation:
    """A picture -> float32 (in_chans, height, width), augmented as the recipe says.

    Without `crop_scale` the picture is resized and cropped as for evaluation, and may be shifted by `crop_padding`.
    Arrays are cropped, flipped and erased as floats; for changes of colour they are rounded to 8 bit first.
    """
    from timm.data import create_transform
    from torchvision.transforms import Compose, RandomCrop

    spec, looks, evaluation = model.spec, model.preprocessing, preprocess(model)
    if spec.in_chans not in MODES and (recipe.auto_augment or recipe.color_jitter):
        raise SpecError(
            f"auto_augment and color_jitter are for 1 or 3 channels, and the model has {spec.in_chans}; "
            "give auto_augment: null and color_jitter: 0"
        )
    size, interpolation = evaluation.size, looks.interpolation.value
    try:
        first, colours, tensor = create_transform(
            (spec.in_chans, *size),
            is_training=True,
            separate=True,
            scale=recipe.crop_scale,
            ratio=recipe.crop_ratio,
            hflip=recipe.hflip,
            vflip=recipe.vflip,
            color_jitter=recipe.color_jitter or None,
            auto_augment=recipe.auto_augment,
            interpolation=interpolation,
            mean=evaluation.mean,
            std=evaluation.std,
            re_prob=recipe.random_erasing,
            re_mode="pixel",
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise SpecError(f"auto_augment '{recipe.auto_augment}' is not one of timm's: {error}") from None
    if recipe.crop_scale is None:
        whole = create_transform(
            size, interpolation=interpolation, crop_pct=looks.crop_pct, crop_mode=looks.crop_mode.value
        )
        shift = [RandomCrop(size, recipe.crop_padding, padding_mode="reflect")] if recipe.crop_padding else []
        # timm's steps: resize and crop, before what makes a tensor; the random crop, before the flips.
        first = Compose([*whole.transforms[:-2], *shift, *first.transforms[1:]])
    arrays = Compose([to_tensor, first, _in_range, tensor])
    return ByKind(Compose([first, colours, tensor]), arrays, bool(recipe.auto_augment or recipe.color_jitter))


@dataclass(frozen=True)
class ByKind:
    """Augments a picture by Pillow's steps and an array by torchvision's, or as a picture where colours change."""

    pictures: Augmentation
    arrays: Augmentation
    colourful: bool

    def __call__(self, picture: Image.Image | Pixels) -> Tensor:
        if self.colourful and not isinstance(picture, Image.Image):
            picture = as_picture(picture)  # timm's changes of colours are for 8 bit
        return self.pictures(picture) if isinstance(picture, Image.Image) else self.arrays(picture)


def _in_range(x: Tensor) -> Tensor:
    """Bicubic overshoots at edges; Pillow clips its own 8-bit pictures."""
    return x.clamp(0, 1)


def augments(recipe: Recipe) -> bool:
    """Whether a picture is not the same in each epoch."""
    return bool(
        recipe.crop_scale is not None
        or recipe.crop_padding
        or recipe.hflip
        or recipe.vflip
        or recipe.color_jitter
        or recipe.auto_augment
        or recipe.random_erasing
        or recipe.mixup
        or recipe.cutmix
    )
