"""A model is data: the frozen specs that say all there is to say about a ViT and its weights.

Nothing here imports torch. Every spec refuses unknown fields, so a misspelt field in a YAML file, in
a native file's metadata or in a call is an error and never a default.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from vitzoo.errors import SpecError

Shape = tuple[int, ...]


class PosEmbed(StrEnum):
    """Where the absolute position table comes from."""

    LEARNED = "learned"
    FIXED = "fixed"  # stored in the checkpoint, but not trained (sine-cosine tables)
    NONE = "none"


class PosPrefix(StrEnum):
    """Which prefix tokens have a slot of their own in the position table."""

    NONE = "none"
    CLS = "cls"
    ALL = "all"


class Norm(StrEnum):
    LAYER = "layer"
    RMS = "rms"


class FinalNorm(StrEnum):
    """What the last norm is applied to: all tokens before the pool, or the pooled vector."""

    TOKENS = "tokens"
    POOLED = "pooled"
    NONE = "none"


class QKVBias(StrEnum):
    ALL = "all"
    QV = "qv"  # the key has no bias: the fused bias holds zeros there and is left out on export
    NONE = "none"


class MLP(StrEnum):
    PLAIN = "plain"
    GATED = "gated"  # down(act(gate(x)) * up(x)); with act "silu" this is SwiGLU


class Activation(StrEnum):
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    QUICK_GELU = "quick_gelu"
    SILU = "silu"


class Pool(StrEnum):
    CLS = "cls"
    CLS_DIST = "cls_dist"  # class and distillation token, one head each (DeiT)
    AVG = "avg"  # mean of the patch tokens
    AVG_ALL = "avg_all"  # mean of all tokens, the prefix included
    CLS_AVG = "cls_avg"  # class token and mean of the patch tokens, concatenated
    MAP = "map"  # multi-head attention pooling with one learned query (SigLIP)


class Head(StrEnum):
    LINEAR = "linear"
    PRE_LOGITS = "pre_logits"  # a tanh layer of width hidden_dim before the classifier (ViT, section 3.1)
    DISTILLED = "distilled"  # two classifiers whose logits are averaged (DeiT, section 4)


class Resample(StrEnum):
    """How a position table is put on another grid; `vitzoo.resample` defines each and cites its source."""

    TIMM = "timm"
    HUGGINGFACE = "huggingface"
    TORCHVISION = "torchvision"
    GOOGLE = "google"
    BIG_VISION = "big_vision"
    MAE = "mae"
    DINOV2 = "dinov2"
    DINOV2_REG = "dinov2_reg"
    PE = "pe"


class Interpolation(StrEnum):
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    NEAREST = "nearest"


class CropMode(StrEnum):
    CENTER = "center"  # resize the shorter side to size / crop_pct, then crop the centre
    SQUASH = "squash"  # resize to size / crop_pct without keeping the aspect ratio, then crop the centre


def _pair(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


Size = Annotated[
    tuple[PositiveInt, PositiveInt],
    BeforeValidator(_pair, json_schema_input_type=PositiveInt | tuple[PositiveInt, PositiveInt]),
]
"""(height, width) in pixels; one integer means a square."""


class Frozen(BaseModel):
    """Immutable, hashable, and closed: an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str) -> Self:
        """Validate `data`; a :class:`SpecError` names `where` it stands, each bad field and the fields there are."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(f"{where}: " + "; ".join(_explain(cls, e) for e in error.errors())) from None


def _explain(cls: type[BaseModel], error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown field '{field}'; the fields are {', '.join(sorted(cls.model_fields))}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}, found {error['input']!r}" if field else message


class ViTSpec(Frozen):
    """The architecture of one Vision Transformer. Sizes in pixels are (height, width)."""

    img_size: Size = (224, 224)
    patch_size: Size = (16, 16)
    in_chans: PositiveInt = 3
    hidden_dim: PositiveInt
    depth: PositiveInt
    num_heads: PositiveInt
    head_dim: PositiveInt | None = Field(None, description="width of one head; hidden_dim / num_heads if not given")
    mlp_dim: PositiveInt

    class_token: bool = True
    dist_token: bool = False
    reg_tokens: NonNegativeInt = 0
    pos_embed: PosEmbed = PosEmbed.LEARNED
    pos_prefix: PosPrefix = PosPrefix.CLS
    patch_bias: bool = True
    patch_norm: bool = Field(False, description="norm right after the patch projection (AIMv2)")

    norm: Norm = Norm.LAYER
    norm_eps: PositiveFloat = 1e-6
    norm_pre: bool = Field(False, description="norm before the first block (CLIP)")
    final_norm: FinalNorm = FinalNorm.TOKENS
    layer_scale: PositiveFloat | None = Field(None, description="initial value of the layer scale; none if not given")

    qkv_bias: QKVBias = QKVBias.ALL
    qk_norm: bool = Field(False, description="norm of the queries and keys of each head (ViT-22B)")
    proj_bias: bool = Field(True, description="bias of the attention's output projection")
    mlp: MLP = MLP.PLAIN
    mlp_bias: bool = True
    act: Activation = Activation.GELU

    pool: Pool = Pool.CLS
    head: Head = Head.LINEAR
    head_bias: bool = True
    num_classes: NonNegativeInt = Field(1000, description="0 leaves the classifier out: the model returns features")
    drop_path_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        (height, width), (rows, cols) = self.img_size, self.patch_size
        if height % rows or width % cols:
            raise ValueError(
                f"img_size {height}x{width} is not divisible by patch_size {rows}x{cols}; "
                f"the nearest size is {round(height / rows) * rows or rows}x{round(width / cols) * cols or cols}"
            )
        if self.head_dim is None and self.hidden_dim % self.num_heads:
            raise ValueError(
                f"hidden_dim {self.hidden_dim} is not divisible by num_heads {self.num_heads}; "
                "change one of them or give head_dim"
            )
        if self.dist_token and not self.class_token:
            raise ValueError("dist_token needs class_token: the prefix is class, distillation, registers")
        if self.pos_prefix is PosPrefix.CLS and self.pos_embed is not PosEmbed.NONE and not self.class_token:
            raise ValueError("pos_prefix 'cls' needs class_token; use pos_prefix 'none'")
        needs = {Pool.CLS: self.class_token, Pool.CLS_AVG: self.class_token, Pool.CLS_DIST: self.dist_token}
        if not needs.get(self.pool, True):
            token = "dist_token" if self.pool is Pool.CLS_DIST else "class_token"
            raise ValueError(f"pool '{self.pool}' needs {token}; use pool 'avg' or give {token}: true")
        if (self.head is Head.DISTILLED) != (self.pool is Pool.CLS_DIST):
            raise ValueError(
                f"head 'distilled' and pool 'cls_dist' belong together, found head '{self.head}' and pool '{self.pool}'"
            )
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.img_size[0] // self.patch_size[0], self.img_size[1] // self.patch_size[1]

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def num_prefix_tokens(self) -> int:
        """Class, distillation and register tokens, in that order before the patches."""
        return self.class_token + self.dist_token + self.reg_tokens

    @property
    def num_pos_prefix(self) -> int:
        """Slots of the position table that belong to prefix tokens."""
        if self.pos_embed is PosEmbed.NONE:
            return 0
        return {PosPrefix.NONE: 0, PosPrefix.CLS: 1, PosPrefix.ALL: self.num_prefix_tokens}[self.pos_prefix]

    @property
    def attn_dim(self) -> int:
        """Width of the queries of all heads together."""
        return self.num_heads * self.dim_per_head

    @property
    def dim_per_head(self) -> int:
        return self.head_dim or self.hidden_dim // self.num_heads

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled features."""
        return self.hidden_dim * (2 if self.pool is Pool.CLS_AVG else 1)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one; unknown fields and bad values are a SpecError."""
        if not changes:
            return self
        return type(self).parse({**self.model_dump(), **changes}, "spec")


Channels = tuple[float, ...]


class Preprocessing(Frozen):
    """How a picture becomes the model's input. Size and channels are not here: they follow the built model."""

    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)
    interpolation: Interpolation = Interpolation.BICUBIC
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    crop_mode: CropMode = CropMode.CENTER

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} channels and std has {len(self.std)}; give one of each a channel"
            )
        return self


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class HubSource(Frozen):
    """A file in a repository of the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    repo: str
    file: str = "model.safetensors"
    revision: str | None = Field(None, description="commit; the repository's main branch if not given")
    layout: str
    sha256: Sha256 | None = Field(None, description="digest of the file, or its first digits")


class UrlSource(Frozen):
    """A file at a web address."""

    kind: Literal["url"]
    url: str
    layout: str
    sha256: Sha256 | None = Field(None, description="digest of the file, or its first digits")


class BundledSource(Frozen):
    """A file that ships inside the package."""

    kind: Literal["bundled"]
    file: str
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


class FamilyFile(Frozen):
    """A registry file: a family's models, their weights, or both.

    The entries stay raw here: they are checked as `ViTSpec` and `WeightsEntry` once they have inherited.
    """

    family: str
    title: str | None = None
    paper: str | None = Field(None, description="address of the paper")
    origin: str | None = Field(None, description="where the authors' own code or configuration is")
    models: Mapping[ModelName, Mapping[str, Any]] = Field(default_factory=dict)
    weights: Mapping[EntryName, Mapping[str, Any]] = Field(default_factory=dict)


FILE_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a user means a file or folder rather than a name: it is a path object, ends like one, or is there."""
    return not isinstance(name, str) or name.endswith(FILE_SUFFIXES) or Path(name).exists()
