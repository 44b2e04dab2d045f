"""A model is data: the frozen specs that say all there is to say about a ViT and its weights.

Nothing here imports torch. Every spec refuses unknown fields, so a misspelt field in a YAML file, in
a native file's metadata or in a call is an error and never a default.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    PositiveFloat,
    model_validator,
)

from vitzoo.errors import Argument, SpecError
from vitzoo.spec.base import Classes, Count, Depth, Frozen, Heads, Size, Width


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


class RelPos(StrEnum):
    """Relative position bias, added to the attention's logits (BEiT)."""

    NONE = "none"
    BLOCK = "block"  # a table in every block
    SHARED = "shared"  # one table for all blocks


class RopeKind(StrEnum):
    """Where the angles of a rotary embedding come from."""

    AXIAL = "axial"  # patch indices times theta's bands (EVA-02, Perception Encoder, axial RoPE-ViT)
    DINOV3 = "dinov3"  # coordinates in [-1, 1] times 2 pi over theta's periods (DINOv3)
    MIXED = "mixed"  # patch indices times frequencies that every block and head learns (RoPE-ViT)


class RopePairs(StrEnum):
    """Which channels of a head are rotated together."""

    NEIGHBOURS = "neighbours"  # 0 and 1, 2 and 3, ...
    HALVES = "halves"  # 0 and dim / 2, 1 and dim / 2 + 1, ...


class AttentionKind(StrEnum):
    SOFTMAX = "softmax"
    DIFF = "diff"  # difference of two softmax maps, lambda from four learned vectors (Differential Transformer)
    DIFF_DUAL = "diff_dual"  # the same, lambda from two learned numbers


class BlockKind(StrEnum):
    PRE_NORM = "pre_norm"  # x + f(norm(x)), attention then MLP
    POST_NORM = "post_norm"  # x + norm(f(x)), attention then MLP
    PARALLEL = "parallel"  # x + attention(norm(x)) + mlp(norm(x)) with one norm and one output bias (ViT-22B)


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
    CLS_AVG = "cls_avg"  # class token and mean of the patch tokens, concatenated
    MAP = "map"  # multi-head attention pooling with one learned query (SigLIP)
    NONE = "none"  # all tokens stay


class Head(StrEnum):
    LINEAR = "linear"
    PRE_LOGITS = "pre_logits"  # a tanh layer of width hidden_dim before the classifier (ViT, section 3.1)
    DISTILLED = "distilled"  # two classifiers whose logits are averaged (DeiT, section 4)
    PROJECTION = "projection"  # one layer to an embedding of out_dim, which is compared with others (CLIP)


class Rope(Frozen):
    """A rotary position embedding of queries and keys; prefix tokens are not rotated."""

    kind: RopeKind = Field(examples=["axial"])
    theta: PositiveFloat = Field(
        examples=[100], description="base of the bands or periods; of the initial frequencies if mixed"
    )
    pairs: RopePairs = RopePairs.NEIGHBOURS
    columns_first: bool = Field(False, description="the first half of the channels turns with the column, not the row")
    offset: float = Field(0.0, description="added to every patch index (axial)")
    ref_grid: Size | None = Field(
        None, description="grid that patch indices are scaled to (axial); indices are taken as they are if not given"
    )
    stored: bool = Field(False, description="the periods are tensors of the weights and not computed (dinov3)")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind is not RopeKind.AXIAL and (self.offset or self.ref_grid):
            raise ValueError(f"offset and ref_grid belong to kind 'axial', found kind '{self.kind}'; leave them out")
        if self.stored and self.kind is not RopeKind.DINOV3:
            raise ValueError(f"stored periods belong to kind 'dinov3', found kind '{self.kind}'; leave stored out")
        return self


class ViTSpec(Frozen):
    """The architecture of one Vision Transformer. Sizes in pixels are (height, width)."""

    img_size: Size = (224, 224)
    patch_size: Size = (16, 16)
    in_chans: Heads = 3
    hidden_dim: Width
    depth: Depth
    num_heads: Heads
    head_dim: Width | None = Field(None, description="width of one head; hidden_dim / num_heads if not given")
    mlp_dim: Width

    drop_remainder: bool = Field(
        False, description="pixels beyond the last whole patch are ignored (SigLIP so400m/14 at 384); else an error"
    )

    class_token: bool = True
    dist_token: bool = False
    reg_tokens: Count = 0
    pos_embed: PosEmbed = PosEmbed.LEARNED
    pos_prefix: PosPrefix = PosPrefix.CLS
    patch_bias: bool = True
    patch_norm: bool = Field(False, description="norm right after the patch projection (AIMv2)")
    rope: Rope | None = Field(None, description="rotary embedding of queries and keys; none if not given")
    rel_pos: RelPos = RelPos.NONE

    norm: Norm = Norm.LAYER
    norm_eps: PositiveFloat = 1e-6
    norm_pre: bool = Field(False, description="norm before the first block (CLIP)")
    final_norm: FinalNorm = FinalNorm.TOKENS
    layer_scale: PositiveFloat | None = Field(None, description="initial value of the layer scale; none if not given")
    layer_scale_mlp: bool = Field(True, description="the MLP's branch is scaled too, not the attention's alone")
    block: BlockKind = BlockKind.PRE_NORM

    attention: AttentionKind = AttentionKind.SOFTMAX
    num_kv_heads: Heads | tuple[Heads, ...] | None = Field(
        None,
        description="heads of keys and values, for all blocks or for each (grouped queries); num_heads if not given",
    )
    qkv_bias: QKVBias = QKVBias.ALL
    qk_norm: bool = Field(False, description="norm of the queries and keys of each head (ViT-22B)")
    attn_norm: bool = Field(
        False, description="norm of the heads' joined output, before its projection (EVA-02, BEiT-3)"
    )
    proj_bias: bool = Field(True, description="bias of the attention's output projection")
    mlp: MLP = MLP.PLAIN
    mlp_bias: bool = Field(True, description="bias of the MLP's first layer, or of both gate and up")
    mlp_out_bias: bool = Field(True, description="bias of the MLP's output layer")
    mlp_norm: bool = Field(False, description="norm of the hidden layer, before its projection (EVA-02, BEiT-3)")
    act: Activation = Activation.GELU

    pool: Pool = Pool.CLS
    pool_prefix: bool = Field(False, description="pools avg and map take the prefix tokens in, not the patches alone")
    pool_heads: Heads | None = Field(None, description="heads of pool map; num_heads if not given")
    pool_mlp_dim: Width | None = Field(None, description="width of the MLP of pool map; mlp_dim if not given")
    head: Head = Head.LINEAR
    head_bias: bool = True
    num_classes: Classes = Field(
        1000, description="0 leaves the classifier out: the model returns features; 0 where the head is a projection"
    )
    out_dim: Width | None = Field(None, description="width of the embedding that head 'projection' gives")
    drop_path_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _projected(cls, data: Any) -> Any:
        """A projection has no classes, without that being said."""
        if isinstance(data, Mapping) and data.get("head") == Head.PROJECTION:
            return {"num_classes": 0, **data}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        (height, width), (rows, cols) = self.img_size, self.patch_size
        if (height % rows or width % cols) and not self.drop_remainder:
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
            raise ValueError("dist_token needs class_token: the prefix is class, distillation, registers; give both")
        if self.pos_prefix is PosPrefix.CLS and self.pos_embed is not PosEmbed.NONE and not self.class_token:
            raise ValueError("pos_prefix 'cls' needs class_token; use pos_prefix 'none'")
        needs = {Pool.CLS: self.class_token, Pool.CLS_AVG: self.class_token, Pool.CLS_DIST: self.dist_token}
        if not needs.get(self.pool, True):
            token = "dist_token" if self.pool is Pool.CLS_DIST else "class_token"
            raise ValueError(f"pool '{self.pool}' needs {token}; use pool 'avg' or give {token}")
        if (self.head is Head.DISTILLED) != (self.pool is Pool.CLS_DIST):
            raise ValueError(
                f"head 'distilled' and pool 'cls_dist' belong together, found head '{self.head}' and pool '{self.pool}'"
            )
        if self.head is Head.PROJECTION and self.num_classes:
            raise ValueError(
                f"head 'projection' gives an embedding and no classes, found num_classes {self.num_classes}; "
                "leave it out, or use head 'linear'"
            )
        if (self.head is Head.PROJECTION) != (self.out_dim is not None):
            raise ValueError(
                f"head 'projection' and out_dim belong together, found head '{self.head}' and out_dim {self.out_dim}"
            )
        self._check_attention()
        return self

    def _check_attention(self) -> None:
        if self.num_kv_heads is not None:
            if isinstance(self.num_kv_heads, tuple) and len(self.num_kv_heads) != self.depth:
                raise ValueError(f"num_kv_heads names {len(self.num_kv_heads)} blocks, the model has {self.depth}")
            if any(self.num_heads % heads for heads in self.kv_heads):
                raise ValueError(f"num_heads {self.num_heads} is not divisible by num_kv_heads {self.num_kv_heads}")
        if self.rope is not None and self.dim_per_head % 4:
            raise ValueError(f"rope needs heads of a width divisible by 4, found {self.dim_per_head}")
        if self.rel_pos is not RelPos.NONE and (not self.class_token or self.num_prefix_tokens != 1):
            raise ValueError("rel_pos has three entries for the class token: it needs class_token and no other prefix")
        if self.attention is not AttentionKind.SOFTMAX:
            if self.dim_per_head % 2:
                raise ValueError(
                    f"attention '{self.attention}' halves heads of {self.dim_per_head}: give an even width"
                )
            if self.rope is not None or self.rel_pos is not RelPos.NONE or self.num_kv_heads is not None:
                raise ValueError(f"attention '{self.attention}' cannot be combined with rope, rel_pos or num_kv_heads")
        if self.pool is Pool.MAP and self.hidden_dim % (self.pool_heads or self.num_heads):
            raise ValueError(f"hidden_dim {self.hidden_dim} is not divisible by the heads of pool map; give pool_heads")

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
    def kv_heads(self) -> tuple[int, ...]:
        """Heads of keys and values in each block."""
        if isinstance(self.num_kv_heads, tuple):
            return self.num_kv_heads
        return (self.num_kv_heads or self.num_heads,) * self.depth

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled features."""
        return self.hidden_dim * (2 if self.pool is Pool.CLS_AVG else 1)

    @property
    def output(self) -> str:
        """What the model gives for a picture, in words."""
        if self.num_classes:
            return f"{self.num_classes} classes"
        return f"{self.out_dim}-d embedding" if self.out_dim else f"{self.pooled_dim}-d features"

    @property
    def output_dim(self) -> int:
        """Width of what the model gives: of the logits, of the embedding, or of the pooled features."""
        return self.num_classes or self.out_dim or self.pooled_dim

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked like a new one; unknown fields and bad values are a SpecError.

        Another number of classes than a projection's none, 0 too, puts a linear head in its place; another head than a
        projection has no out_dim.
        """
        if not changes:
            return self
        fields = self.model_dump()
        if self.head is Head.PROJECTION:
            if "num_classes" in changes and "head" not in changes and not changes.get("out_dim"):
                if changes["num_classes"] == self.out_dim:
                    raise SpecError(
                        f"the head is a projection to {self.out_dim} dimensions, which are no classes: leave "
                        "num_classes out for the embedding, or for a new classifier give as well ",
                        Argument("head", "linear"),
                    )
                changes["head"] = Head.LINEAR
            if changes.get("head", Head.PROJECTION) != Head.PROJECTION:
                fields["out_dim"] = None
        elif changes.get("head") == Head.PROJECTION:
            fields["num_classes"] = 0
        return type(self).parse({**fields, **changes}, "spec")
