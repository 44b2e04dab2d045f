"""The Vision Transformer (Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929), built from a spec.

    pixels --patch projection--> patches + positions --blocks--> tokens --norm, pool--> features --head--> logits
    class token, registers + positions ----^

A block adds to its input, twice: x + attention(norm(x)), then x + mlp(norm(x)) (equations 2 and 3).
"""

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, Self, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitzoo.errors import SpecError
from vitzoo.model.attention import ATTENTIONS
from vitzoo.model.head import HEADS
from vitzoo.model.init import init_weights
from vitzoo.model.layers import NORMS, DropPath, LayerScale
from vitzoo.model.mlp import MLPS
from vitzoo.model.pool import POOLS
from vitzoo.model.position import PatchEmbed, Place, PosTable, RelPosTable, Rotary
from vitzoo.registry import class_names
from vitzoo.registry.label_sets import count as label_count
from vitzoo.spec import NEW, About, BlockKind, FinalNorm, PosEmbed, Preprocessing, RelPos, Resample, ViTSpec

T = TypeVar("T")


class AboutField(Generic[T]):
    """A field of a model's record, read from it; to set it puts a new record in the old one's place."""

    def __set_name__(self, owner: "type[Backbone]", name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: "type[Backbone]") -> Self: ...
    @overload
    def __get__(self, model: "Backbone", owner: "type[Backbone]") -> T: ...
    def __get__(self, model: "Backbone | None", owner: "type[Backbone]") -> Self | T:
        return self if model is None else getattr(model.about, self.name)

    def __set__(self, model: "Backbone", value: T) -> None:
        model.about = model.about.replace(**{self.name: value})


class Tokens(NamedTuple):
    """The tokens of the last block after the final norm, each kind under its name."""

    cls: Tensor | None
    """(batch, hidden_dim)"""
    dist: Tensor | None
    """(batch, hidden_dim)"""
    registers: Tensor
    """(batch, reg_tokens, hidden_dim)"""
    patches: Tensor
    """(batch, rows * columns, hidden_dim), row by row"""
    grid: tuple[int, int]
    """(rows, columns)"""


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, spec: ViTSpec, number: int) -> None:
        super().__init__()
        norm, dim, eps, scale = NORMS[spec.norm], spec.hidden_dim, spec.norm_eps, spec.layer_scale
        self.norm1 = norm(dim, eps=eps)
        self.attn = ATTENTIONS[spec.attention](spec, number)
        self.ls1 = nn.Identity() if scale is None else LayerScale(dim, scale)
        self.mlp = MLPS[spec.mlp](spec)
        if spec.block is not BlockKind.PARALLEL:
            self.norm2 = norm(dim, eps=eps)
            self.ls2 = nn.Identity() if scale is None or not spec.layer_scale_mlp else LayerScale(dim, scale)
        # Stochastic depth rises linearly from 0 at the first block to the full rate at the last.
        rate = spec.drop_path_rate * number / max(spec.depth - 1, 1)
        self.drop_path = DropPath(rate) if rate else nn.Identity()

    def before_attention(self, x: Tensor) -> Tensor:
        """What the attention sees of the block's input."""
        return self.norm1(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, place: Place) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), place)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))  # type: ignore[no-any-return]


class PostNormBlock(Block):
    """Norms what a branch gives, not what it takes (Swin v2, https://arxiv.org/abs/2111.09883)."""

    def before_attention(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor, place: Place) -> Tensor:
        x = x + self.drop_path(self.ls1(self.norm1(self.attn(x, place))))
        return x + self.drop_path(self.ls2(self.norm2(self.mlp(x))))  # type: ignore[no-any-return]


class ParallelBlock(Block):
    """Attention and MLP side by side on one norm (ViT-22B, https://arxiv.org/abs/2302.05442)."""

    def forward(self, x: Tensor, place: Place) -> Tensor:
        y = self.norm1(x)
        return x + self.drop_path(self.ls1(self.attn(y, place) + self.mlp(y)))  # type: ignore[no-any-return]


BLOCKS: dict[BlockKind, type[Block]] = {
    BlockKind.PRE_NORM: Block,
    BlockKind.POST_NORM: PostNormBlock,
    BlockKind.PARALLEL: ParallelBlock,
}


class Backbone(nn.Module):
    """A Vision Transformer as its spec says.

    Building it draws no random numbers, and its parameters hold no values yet: assign weights or call
    `init_weights`. `vitzoo.create` does both.

    `about` is what is known of the weights, among it how pictures were prepared for them and how their position table
    is put on the grid of a picture of another size. The record is frozen: put another one in its place. Its fields
    `preprocessing`, `resample`, `labels` and `license` are the model's too, and to set one does just that.
    """

    def __init__(self, spec: ViTSpec, about: About = NEW) -> None:
        super().__init__()
        self.spec = spec
        self.load_report: Any = None
        self.grad_checkpointing = False
        self.patch_drop: nn.Module = nn.Identity()  # timm's PatchDropout in its place leaves patches out in training

        dim = spec.hidden_dim
        self.patch_embed = PatchEmbed(spec)
        self.cls_token = nn.Parameter(torch.empty(1, dim)) if spec.class_token else None
        self.dist_token = nn.Parameter(torch.empty(1, dim)) if spec.dist_token else None
        self.reg_tokens = nn.Parameter(torch.empty(spec.reg_tokens, dim)) if spec.reg_tokens else None
        self.pos_embed = None if spec.pos_embed is PosEmbed.NONE else PosTable(spec)
        self.norm_pre = NORMS[spec.norm](dim, eps=spec.norm_eps) if spec.norm_pre else nn.Identity()
        self.rope = None if spec.rope is None else Rotary(spec, spec.rope)
        self.rel_pos = RelPosTable(spec) if spec.rel_pos is RelPos.SHARED else None
        self.blocks = nn.ModuleList(BLOCKS[spec.block](spec, i) for i in range(spec.depth))
        width = spec.pooled_dim if spec.final_norm is FinalNorm.POOLED else dim
        self.norm = nn.Identity() if spec.final_norm is FinalNorm.NONE else NORMS[spec.norm](width, eps=spec.norm_eps)
        self.pool = POOLS[spec.pool](spec)
        self.head = HEADS[spec.head](spec)
        self.about = about

    @property
    def about(self) -> About:
        """What is known of the weights beside their architecture."""
        return self._about

    @about.setter
    def about(self, about: About) -> None:
        named, classes = label_count(about.labels), self.spec.num_classes
        if named not in (None, classes):
            raise SpecError(f"labels has {named} names, and the model has {classes} classes; give one name for each")
        self._about = about
        for module in self.modules():
            if isinstance(module, PosTable | RelPosTable):
                module.resample = about.resample

    preprocessing: AboutField[Preprocessing] = AboutField()
    resample: AboutField[Resample | None] = AboutField()
    license: AboutField[str | None] = AboutField()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, where they are known; those of a known set are looked up when they are asked for."""
        return class_names(self.about.labels)

    @labels.setter
    def labels(self, labels: str | Sequence[str] | None) -> None:
        self.about = self.about.replace(labels=labels if labels is None or isinstance(labels, str) else tuple(labels))

    @property
    def origin(self) -> str | None:
        """Where the weights came from, or what they were fine-tuned from, in a line; `about` has the parts."""
        return self.about.past

    def embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pixels (batch, in_chans, height, width) -> the first block's input, and its grid (rows, columns)."""
        patches, grid = self.patch_embed(x)
        kinds: list[Tensor] = [
            token for token in (self.cls_token, self.dist_token, self.reg_tokens) if token is not None
        ]
        prefix = torch.cat(kinds).expand(x.shape[0], -1, -1) if kinds else patches[:, :0]
        if self.pos_embed is not None:
            prefix, patches = self.pos_embed(prefix, patches, grid)
        return self.norm_pre(torch.cat([prefix, patches], dim=1)), grid

    def places(self, grid: tuple[int, int], like: Tensor) -> list[Place]:
        """What each block knows of where its tokens are, on the device of `like`."""
        turns = [None] * self.spec.depth if self.rope is None else self.rope(grid, like)
        bias = None if self.rel_pos is None else self.rel_pos(grid)
        return [Place(grid, turn, bias) for turn in turns]

    def run_block(self, block: nn.Module, x: Tensor, place: Place) -> Tensor:
        """One block, recomputed in the backward pass if gradient checkpointing is on."""
        if self.grad_checkpointing and self.training:
            return checkpoint(block, x, place, use_reentrant=False)  # type: ignore[no-any-return]
        return block(x, place)  # type: ignore[no-any-return]

    def final_norm(self, x: Tensor) -> Tensor:
        """The final norm if it is applied to tokens, else `x`."""
        return self.norm(x) if self.spec.final_norm is FinalNorm.TOKENS else x

    def forward_features(self, x: Tensor) -> Tensor:
        """(batch, in_chans, height, width) -> tokens (batch, prefix + patches, hidden_dim)."""
        x, grid = self.embed(x)
        x = self.patch_drop(x)
        for block, place in zip(self.blocks, self.places(grid, x), strict=True):
            x = self.run_block(block, x, place)
        return self.final_norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens -> what `forward` gives, or the features before the head's last layer (batch, pooled_dim)."""
        x = self.pool(x)
        if self.spec.final_norm is FinalNorm.POOLED:
            x = self.norm(x)
        return self.head.features(x) if pre_logits else self.head(x)  # type: ignore[no-any-return, operator]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_chans, height, width) -> logits (batch, num_classes), or an embedding (batch, out_dim).

        Any height and width that the patch divides will do; the position table is resampled for them.
        """
        return self.forward_head(self.forward_features(x))

    def tokens(self, x: Tensor) -> Tokens:
        """(batch, in_chans, height, width) -> the tokens of the last block, each kind under its name."""
        rows, cols = (size // patch for size, patch in zip(x.shape[-2:], self.spec.patch_size, strict=True))
        x = self.forward_features(x)
        first_register = self.spec.class_token + self.spec.dist_token
        return Tokens(
            cls=x[:, 0] if self.spec.class_token else None,
            dist=x[:, 1] if self.spec.dist_token else None,
            registers=x[:, first_register : self.spec.num_prefix_tokens],
            patches=x[:, self.spec.num_prefix_tokens :],
            grid=(rows, cols),
        )

    def init_weights(self, generator: torch.Generator | int | None = None) -> Self:
        """Fill all parameters as the paper's code does; a generator or a seed makes it reproducible."""
        init_weights(self, generator)
        return self
