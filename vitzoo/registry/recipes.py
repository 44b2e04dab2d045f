"""How a model is trained, as data: a recipe is a YAML file, `base:` names the recipe that it starts from. No torch.

`registry/recipes/*.yaml` ships with the package; a path takes a recipe of your own.
"""

import difflib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from vitzoo.errors import RegistryError
from vitzoo.registry.reference import recipe_file
from vitzoo.registry.shipped import data_dir
from vitzoo.registry.strict_yaml import read_yaml
from vitzoo.small_files import there
from vitzoo.spec import Frozen, Size, TaskKind

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Range = tuple[PositiveFloat, PositiveFloat]
Trainable = Annotated[str, Field(pattern=r"^(full|head|lora|last-[1-9][0-9]*)$")]


class Schedule(StrEnum):
    """What the learning rate does after the warm-up; all but constant end at `min_lr`."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"


class ClassWeights(StrEnum):
    NONE = "none"
    BALANCED = "balanced"  # inverse to the number of training pictures, with mean 1 over these pictures


class Loss(StrEnum):
    """What a picture costs."""

    CROSS_ENTROPY = "cross_entropy"
    BCE = "bce"  # binary cross entropy: each class by itself
    FOCAL = "focal"  # cross entropy, less of it the surer the model is
    MSE = "mse"
    SMOOTH_L1 = "smooth_l1"


def _weights(value: object) -> object:
    """What is no weights in words, where each kind of value would say it of itself."""
    known = isinstance(value, ClassWeights) or value in list(ClassWeights)
    if known or (isinstance(value, Mapping) and all(_positive(one) for one in value.values())):
        return value
    raise ValueError(f'expected {", ".join(ClassWeights)}, or numbers above 0 by the names of classes: {{"rare": 5}}')


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _grades(value: object) -> object:
    if value is None or (isinstance(value, list | tuple) and all(isinstance(one, str | int) for one in value)):
        return None if value is None else tuple(map(str, value))
    raise ValueError('expected the classes from the lowest on, as in ["low", "mid", "high"]')


class Recipe(Frozen):
    """All that decides what a run computes, besides the model and the data."""

    about: str = Field("", description="what the recipe is for, in a sentence")
    source: str | None = Field(None, description="where its numbers come from: a paper and its table, or a file")

    # What is learnt.
    task: TaskKind | None = Field(
        None, description="what labels are; if not given one class, several labels or numbers, as the table has them"
    )
    grades: Annotated[tuple[str, ...] | None, BeforeValidator(_grades)] = Field(
        None, description="of task ordinal, the classes from the lowest on; in their natural order if not given"
    )

    # What is trained, and from where.
    trainable: Trainable = Field("full", description="full, head, last-N (the last N blocks, norm and head) or lora")
    pretrained: bool = Field(True, description="start from the weights that the model's name stands for")
    keep_head: bool | None = Field(
        None,
        description="go on with the classifier of the weights, whose classes the data has to have; false: it starts at "
        "zero. If not given it is kept where the classes are the same",
    )
    lora_rank: PositiveInt = 8
    lora_alpha: PositiveFloat = Field(16.0, description="the update is scaled by alpha / rank")
    lora_dropout: Fraction = 0.0
    lora_targets: tuple[str, ...] = Field(
        ("qkv", "proj"), description="linear layers of the blocks, by their last name"
    )
    img_size: Size | None = Field(None, description="pixels; the weights' own if not given")
    in_chans: PositiveInt | None = Field(None, description="channels; the weights' own if not given")
    white: FiniteFloat | None = Field(
        None, description="value that is white in pictures of more than 8 bits (4095 for 12 bits); the weights' own"
    )
    black: FiniteFloat | None = Field(None, description="value that is black in them; the weights' own if not given")

    # The optimiser: one step sees `batch_size` pictures, however many devices and parts share them.
    optimizer: str = Field("adamw", description="timm's name: adamw, sgd (Nesterov), momentum, lamb, muon ...")
    optimizer_args: Mapping[str, Any] = Field(default_factory=dict, description="such as betas: [0.9, 0.95]")
    lr: PositiveFloat = Field(description="peak learning rate of the last layer")
    fallback_lr: PositiveFloat | None = Field(None, description="of what muon leaves to AdamW; lr if not given")
    weight_decay: NonNegativeFloat = 0.0
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="factor of the learning rate from each layer to the one below (BEiT)"
    )
    schedule: Schedule = Schedule.COSINE
    warmup_epochs: NonNegativeFloat = Field(0.0, description="the learning rate rises linearly from 0")
    min_lr: NonNegativeFloat = Field(0.0, description="of the last layer at the end")
    epochs: PositiveInt
    batch_size: PositiveInt = Field(description="pictures of one optimiser step, on all devices together")
    accumulate: PositiveInt | Literal["auto"] = Field(
        1,
        description="parts that a device's pictures are computed in; auto: as few as fit into its memory. "
        "The result is the same, but for what is dropped at random",
    )
    clip_norm: PositiveFloat | None = Field(None, description="largest norm of all gradients together")
    ema_decay: Fraction | None = Field(None, description="of an average of the weights, which is what is evaluated")
    ema_warmup: bool = Field(True, description="the decay is (1 + n) / (10 + n) at step n until ema_decay is reached")
    early_stopping: PositiveInt | None = Field(None, description="epochs without a better top-1 after which it ends")
    keep: Literal["auto", "last", "best"] = Field(
        "auto", description="the epoch whose weights are the result; auto: the best with early_stopping, else the last"
    )

    # Regularisation inside the model.
    drop_path_rate: Fraction = 0.0
    patch_drop_rate: Fraction = Field(0.0, description="part of the patches left out while training (PatchDropout)")
    patch_drop_until: Annotated[float, Field(gt=0.0, le=1.0)] = Field(1.0, description="part of the epochs that drop")

    # What happens to the pictures and their classes.
    crop_scale: Range | None = Field((0.08, 1.0), description="area of the random resized crop; none: no such crop")
    crop_ratio: Range = Field((3 / 4, 4 / 3), description="aspect ratio of the random resized crop")
    crop_padding: NonNegativeInt = Field(0, description="pixels by which a crop of full size may be shifted (CIFAR)")
    hflip: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    vflip: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    color_jitter: NonNegativeFloat = 0.0
    auto_augment: str | None = Field(None, description="timm's string, such as rand-m9-mstd0.5-inc1")
    random_erasing: Annotated[float, Field(ge=0.0, le=1.0)] = Field(0.0, description="probability")
    mixup: NonNegativeFloat = Field(0.0, description="alpha; 0 is off")
    cutmix: NonNegativeFloat = Field(0.0, description="alpha; 0 is off. With mixup each batch takes one of the two")
    loss: Loss | None = Field(
        None,
        description="bce: each class by itself; focal: less where it is sure. If not given cross_entropy, bce for "
        "multi_label, mse for regression",
    )
    label_smoothing: Fraction = Field(0.0, description="part of each target that is spread over all classes")
    class_weights: Annotated[ClassWeights | Mapping[str, PositiveFloat], BeforeValidator(_weights)] = Field(
        ClassWeights.NONE, description="balanced, or what a picture of each class counts by its name, 1 for the others"
    )
    sampling: Literal["uniform", "balanced"] = Field(
        "uniform", description="balanced: pictures are drawn so that each class comes as often, some of them many times"
    )
    val_fraction: Fraction = Field(
        0.1, description="of each class, one picture at least, where the data has no validation pictures"
    )
    max_per_class: PositiveInt | None = Field(None, description="training pictures of each class (few-shot)")

    # How it is computed.
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true"] = "32-true"
    grad_checkpointing: bool = Field(False, description="less memory for about a third more time")
    compile: bool = Field(False, description="torch.compile")
    seed: NonNegativeInt = 0
    deterministic: bool = Field(True, description="only algorithms that give the same bits each time")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fallback_lr is not None and self.optimizer != "muon":
            raise ValueError(f"fallback_lr belongs to optimizer 'muon', found optimizer '{self.optimizer}'; leave it")
        if self.crop_padding and self.crop_scale is not None:
            raise ValueError("crop_padding and crop_scale exclude each other; give crop_scale: null")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise ValueError(
                f"mixup and cutmix mix pairs of pictures: batch_size {self.batch_size} is odd; make it even"
            )
        if self.sampling == "balanced" and self.class_weights is ClassWeights.BALANCED:
            raise ValueError("sampling and class_weights would both make up for rare classes; let one be balanced")
        if self.grades is not None and self.task is not TaskKind.ORDINAL:
            raise ValueError("grades are for task 'ordinal'; set that task, or leave grades out")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} leaves nothing of {self.epochs} epochs; lower it")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is higher than lr {self.lr:g}; lower it")
        if self.trainable in ("head", "lora") and self.layer_decay != 1:
            raise ValueError(f"layer_decay is for trainable 'full' or 'last-N', found '{self.trainable}'; give 1")
        if not self.pretrained and self.trainable != "full":
            raise ValueError(f"trainable '{self.trainable}' would leave random weights as they are; use 'full'")
        return self

    @property
    def keeps_best(self) -> bool:
        """Whether the result has the weights of the best epoch and not of the last."""
        return self.keep == "best" or (self.keep == "auto" and self.early_stopping is not None)

    def changed(self, **overrides: Any) -> Self:
        """The same with other fields; see `load_recipe`."""
        return self.parse(_over(self.model_dump(), overrides), "recipe")

    def to_yaml(self) -> str:
        """All fields, as a recipe file."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def list_recipes() -> list[str]:
    """The names of the recipes that ship with the package."""
    return sorted(file.stem for file in (data_dir() / "recipes").glob("*.yaml"))


def load_recipe(name: str | os.PathLike[str], **overrides: Any) -> Recipe:
    """A recipe by name, or from a file of your own; `overrides` replace its fields.

    A warm-up for which fewer epochs have no room stays the same part of them, unless it is given.

    Raises:
        RegistryError: an unknown name, or a file that cannot be read.
        SpecError: a field that does not exist, or a value that it does not take.
    """
    fields = _fields(_find(str(name), None), ())
    return Recipe.parse(_over(fields, overrides), f"recipe {name}")


def _find(name: str, beside: Path | None) -> Path:
    """The file of a recipe: a path, a recipe in the folder of the one that names it, or one of the package's."""
    if (file := recipe_file(name)) is not None:
        return file if beside is None else beside.parent / file
    places = [] if beside is None else [beside.parent / f"{name}.yaml"]
    places.append(data_dir() / "recipes" / f"{name}.yaml")
    for place in places:
        if there(place) and place.is_file():
            return place
    close = difflib.get_close_matches(name, list_recipes())
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(list_recipes())}"
    raise RegistryError(f"unknown recipe '{name}' (a file's name ends in .yaml); {hint}")


def _fields(file: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The fields of a file on top of those of its base; what a recipe is about and from is its own alone."""
    if file.resolve() in seen:
        raise RegistryError(f"{file}: base goes in a circle: {' -> '.join(f.stem for f in (*seen, file))}")
    data = read_yaml(file)
    if not isinstance(data, dict):
        raise RegistryError(f"{file}: expected the fields of a recipe as a mapping, found {type(data).__name__}")
    base = data.pop("base", None)
    if base is None:
        return data
    inherited = _fields(_find(str(base), file), (*seen, file.resolve()))
    return _over({key: value for key, value in inherited.items() if key not in ("about", "source")}, data)


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `base` with the changes; what is no number is left for the check of the fields."""
    fields = {**base, **changes}
    epochs, warmup, before = fields.get("epochs"), base.get("warmup_epochs"), base.get("epochs")
    if (
        "warmup_epochs" not in changes
        and isinstance(epochs, int)
        and isinstance(before, int)
        and isinstance(warmup, int | float)
        and 0 < epochs <= warmup < before
    ):
        fields["warmup_epochs"] = warmup * epochs / before
    return fields
