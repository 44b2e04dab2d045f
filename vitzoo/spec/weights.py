"""What was published for a model: its files, how pictures are prepared, who may use it. And a registry file."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from vitzoo.spec.base import Frozen, Size


class Resample(StrEnum):
    """How a position table is put on another grid; `vitzoo.model.resample` defines each and cites its source."""

    TIMM = "timm"
    HUGGINGFACE = "huggingface"
    TORCHVISION = "torchvision"
    GOOGLE = "google"
    BIG_VISION = "big_vision"
    MAE = "mae"
    DINOV2 = "dinov2"
    DINOV2_REG = "dinov2_reg"
    PE = "pe"
    SINCOS2D = "sincos2d"


class Interpolation(StrEnum):
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    NEAREST = "nearest"


class CropMode(StrEnum):
    CENTER = "center"  # resize the shorter side to size / crop_pct, then crop the centre
    SQUASH = "squash"  # resize to size / crop_pct without keeping the aspect ratio, then crop the centre


class CropOffset(StrEnum):
    """Where a crop starts if the margin is odd and its half falls between two pixels."""

    NEAREST = "nearest"  # the nearest even pixel: timm, torchvision
    DOWN = "down"  # the pixel before: transformers


class ResizeType(StrEnum):
    UINT8 = "uint8"  # 8 bit, as Pillow does it
    FLOAT32 = "float32"  # not rounded to 8 bit


Channels = tuple[float, ...]
LATER = ("img_size", "crop_offset", "resize_type", "white", "black")
"""Fields of `Preprocessing` that versions before 0.3 do not know."""


class Preprocessing(Frozen):
    """How a picture becomes the model's input. Channels are not here: they follow the built model."""

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)
    interpolation: Interpolation = Interpolation.BICUBIC
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    crop_mode: CropMode = CropMode.CENTER
    img_size: Size | None = Field(
        default=None,
        description="(height, width) that pictures are prepared at, where that is not the model's own img_size",
    )
    crop_offset: CropOffset = CropOffset.NEAREST
    resize_type: ResizeType = ResizeType.UINT8
    white: FiniteFloat | None = Field(
        default=None,
        description="the value that is white in pictures of more than 8 bits, such as 4095 for 12 bits in 16; if not "
        "given 65535 for 16 bits, and 1 for floats",
    )
    black: FiniteFloat = Field(default=0.0, description="the value that is black in them")

    @model_serializer(mode="wrap")
    def _stated(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `LATER` fields that have their default: who does not know them reads the rest."""
        fields: dict[str, Any] = whole(self)
        plain = {name: type(self).model_fields[name].default for name in LATER}
        return {
            name: value for name, value in fields.items() if name not in plain or getattr(self, name) != plain[name]
        }

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} channels and std has {len(self.std)}; give one of each a channel"
            )
        if self.black >= (1.0 if self.white is None else self.white):
            raise ValueError(f"black is {self.black:g} and white is {self.white}; give a larger white")
        return self


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Remote(Frozen):
    """A file that is fetched."""

    stated: str | None = Field(default=None, description="where its digest is stated; see `vitzoo pin --registry`")

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = whole(self)
        return {name: value for name, value in fields.items() if name != "stated" or value is not None}


class HubSource(Remote):
    """A file in a repository of the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    repo: str
    file: str = "model.safetensors"
    revision: str | None = Field(None, description="commit; the repository's main branch if not given")
    layout: str
    sha256: Sha256 | None = Field(None, description="digest of the file, or its first digits")


class UrlSource(Remote):
    """A file at a web address."""

    kind: Literal["url"]
    url: str
    layout: str
    sha256: Sha256 | None = Field(None, description="digest of the file, or its first digits")


class BundledSource(Frozen):
    """A file that ships inside the package."""

    kind: Literal["bundled"]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", description="its plain name")]
    layout: str = "vitzoo"
    sha256: Sha256


Source = Annotated[HubSource | UrlSource | BundledSource, Field(discriminator="kind")]


class WeightsEntry(Frozen):
    """Published weights of one model: `model.tag`."""

    spec: Mapping[str, Any] = Field(default_factory=dict, description="spec fields that differ from the model's")
    sources: tuple[Source, ...] = Field(min_length=1, description="in order of preference")
    license: str
    preprocessing: Preprocessing
    resample: Resample
    params: PositiveInt
    labels: str | tuple[str, ...] | None = Field(None, description="names of the classes, or the name of a known set")
    aliases: tuple[str, ...] = Field((), description="other names; a hub source's repository id is one by itself")
    origin: str | None = Field(None, description="who trained the weights, and where that is written")
    note: str | None = None


ModelName = Annotated[str, Field(pattern=r"^(_[A-Za-z0-9_-]+|[A-Za-z][A-Za-z0-9_-]*)$")]


EntryName = Annotated[str, Field(pattern=r"^(_[A-Za-z0-9_-]+|[A-Za-z][A-Za-z0-9_-]*\.[A-Za-z0-9_-]+)$")]


class PublishedSizes(Frozen):
    """Numbers of parameters as a paper or README prints them, to compare with ours."""

    source: str
    params: Mapping[ModelName, PositiveFloat] = Field(description="in millions")


class FamilyFile(Frozen):
    """A registry file: a family's models, their weights, or both.

    The entries stay raw here: they are checked as `ViTSpec` and `WeightsEntry` once they have inherited.
    """

    family: str = Field(description="the name of the file if not given")
    title: str | None = None
    paper: str | None = Field(None, description="address of the paper")
    origin: str | None = Field(None, description="where the authors' own code or configuration is")
    about: str | None = Field(None, description="what the family is for, in a sentence or two of Markdown")
    layout: str | None = Field(None, description="how the files are laid out, where an entry or a source does not say")
    published: tuple[PublishedSizes, ...] = ()
    models: Mapping[ModelName, Mapping[str, Any]] = Field(default_factory=dict)
    weights: Mapping[EntryName, Mapping[str, Any]] = Field(default_factory=dict)
