"""The patch projection, and all ways to say where a patch is: added tables, rotations, biases of the attention."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from vitzoo.errors import SpecError
from vitzoo.model.layers import NORMS
from vitzoo.model.resample import resample_rel_pos, resample_table
from vitzoo.spec import PosEmbed, Resample, Rope, RopeKind, RopePairs, ViTSpec


def checked(x: Tensor, in_chans: int, patch_size: tuple[int, int], drop_remainder: bool) -> Tensor:
    """Pictures (batch, in_chans, height, width) as they are, if they have that shape and the patch divides them."""
    if x.ndim != 4 or x.shape[1] != in_chans:
        raise SpecError(
            f"expected pictures of shape (batch, {in_chans}, height, width), found {tuple(x.shape)}; make them so"
        )
    (height, width), (rows, cols) = x.shape[-2:], patch_size
    if not drop_remainder and (height % rows or width % cols):
        raise SpecError(
            f"a picture of {height}x{width} pixels is not divisible by the patch of {rows}x{cols}; resize or pad it"
        )
    return x


def steps(count: int, like: Tensor) -> Tensor:
    """0, 1, ... as integers (count,), on the device of `like`."""
    return torch.arange(count, device=like.device)


# What asks for sizes stays one call in a graph of torch.fx, whose sizes are not known while it is traced.
for _name in ("checked", "steps", "resample_table", "resample_rel_pos"):
    fx.wrap(_name)


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, without random initialisation."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they were allocated; `ViT.init_weights` fills them."""


class PatchEmbed(nn.Module):
    """Cuts a picture into patches and projects each to hidden_dim (ViT, equation 1)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        # Not read from the projection: adapters put a module of their own in its place.
        self.in_chans, self.patch_size, self.drop_remainder = spec.in_chans, spec.patch_size, spec.drop_remainder
        self.proj = PatchConv(
            spec.in_chans, spec.hidden_dim, spec.patch_size, stride=spec.patch_size, bias=spec.patch_bias
        )
        self.norm = NORMS[spec.norm](spec.hidden_dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(batch, in_chans, height, width) -> (batch, rows * columns, hidden_dim) and (rows, columns)."""
        x = self.proj(checked(x, self.in_chans, self.patch_size, self.drop_remainder))
        grid = (x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        return (x if self.norm is None else self.norm(x)), grid


class PosTable(nn.Module):
    """The position table: `grid` (rows, columns, hidden_dim), and `prefix` (slots, hidden_dim) where there are slots.

    A picture of another size takes the table resampled for its grid, by the policy of the weights.
    """

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.resample: Resample | None = None
        trained = spec.pos_embed is PosEmbed.LEARNED
        self.grid = nn.Parameter(torch.empty(*spec.grid, spec.hidden_dim), requires_grad=trained)
        slots = spec.num_pos_prefix
        self.prefix = nn.Parameter(torch.empty(slots, spec.hidden_dim), requires_grad=trained) if slots else None

    def forward(self, prefix: Tensor, patches: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Add the table to the prefix tokens that have a slot, and to the patches.

        prefix (batch, prefix, hidden_dim), patches (batch, rows * columns, hidden_dim) -> the same shapes.
        """
        patches = patches + resample_table(self.grid, grid, self.resample).flatten(0, 1)
        if self.prefix is not None:
            slots = self.prefix.shape[0]
            prefix = torch.cat([prefix[:, :slots] + self.prefix, prefix[:, slots:]], dim=1)
        return prefix, patches


class RelPosTable(nn.Module):
    """A bias for each pair of tokens by their distance (BEiT, https://arxiv.org/abs/2106.08254; Swin's form).

    `grid` (2 rows - 1, 2 columns - 1, heads) holds the distances of patches, from the most negative on; `prefix`
    (3, heads) is for class token to patch, patch to class token, class token to itself.
    """

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.resample: Resample | None = None
        rows, cols = spec.grid
        self.grid = nn.Parameter(torch.empty(2 * rows - 1, 2 * cols - 1, spec.num_heads))
        self.prefix = nn.Parameter(torch.empty(3, spec.num_heads))

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """(rows, columns) -> (heads, 1 + patches, 1 + patches), from the token of a row to that of a column."""
        rows, cols = grid
        table = resample_rel_pos(self.grid, grid, self.resample)
        down, across = steps(rows, table), steps(cols, table)
        down, across = down[:, None] - down + rows - 1, across[:, None] - across + cols - 1
        patches = table[down[:, None, :, None], across[None, :, None, :]].flatten(0, 1).flatten(1, 2)
        to_patch, from_patch, own = self.prefix.unbind()
        first = torch.cat([own[None], to_patch.expand(rows * cols, -1)])
        rest = torch.cat([from_patch.expand(rows * cols, 1, -1), patches], dim=1)
        return torch.cat([first[None], rest]).permute(2, 0, 1)


class Turn(NamedTuple):
    """A rotation of queries and keys: cosines and sines ([heads,] patches, head_dim); prefix tokens are left alone."""

    cos: Tensor
    sin: Tensor
    pairs: RopePairs


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """Turn the patches' channels in pairs: (batch, heads, prefix + patches, head_dim) -> the same.

    Computed in the precision of the angles, as the authors' codes do.
    """
    count = turn.cos.shape[-2]
    prefix, patches = x[:, :, : x.shape[2] - count], x[:, :, x.shape[2] - count :]
    if turn.pairs is RopePairs.HALVES:
        a, b = patches.chunk(2, -1)
        turned = torch.cat([-b, a], -1)
    else:
        turned = torch.stack([-patches[..., 1::2], patches[..., ::2]], -1).flatten(-2)
    patches = (patches * turn.cos + turned * turn.sin).to(x.dtype)
    return torch.cat([prefix, patches], dim=2)


class Rotary(nn.Module):
    """The angles of a two-dimensional rotary embedding (RoFormer, https://arxiv.org/abs/2104.09864).

    Axial (EVA-02, https://arxiv.org/abs/2303.11331): patch index / theta^(i / n), n = head_dim / 4 bands of each axis.
    DINOv3 (https://arxiv.org/abs/2508.10104, `layers/rope_position_encoding.py`): 2 pi coordinate / theta^(i / n).
    Mixed (RoPE-ViT, https://arxiv.org/abs/2403.13298): row and column times frequencies that are learned.
    """

    def __init__(self, spec: ViTSpec, rope: Rope) -> None:
        super().__init__()
        self.rope, self.depth = rope, spec.depth
        bands = spec.dim_per_head // 4
        self.bands = bands
        if rope.kind is RopeKind.MIXED:
            self.freqs = nn.Parameter(torch.empty(2, spec.depth, spec.num_heads, 2 * bands))
        if rope.stored:
            self.periods: Tensor
            self.register_buffer("periods", torch.empty(bands))

    def forward(self, grid: tuple[int, int], like: Tensor) -> list[Turn]:
        """(rows, columns) -> a turn for each block, on the device of `like`."""
        rope = self.rope
        first, second = self.coordinates(grid, like)
        if rope.kind is RopeKind.MIXED:
            a, b = self.freqs.float()[..., None, :]
            angles = first[:, None] * a + second[:, None] * b  # (depth, heads, patches, head_dim / 2)
            cos, sin = self.waves(angles)
            return [Turn(cos[i], sin[i], rope.pairs) for i in range(self.depth)]
        angles = torch.cat([self.scaled(first[:, None]), self.scaled(second[:, None])], -1)
        return [Turn(*self.waves(angles), rope.pairs)] * self.depth

    def keep(self, depth: int) -> None:
        """Leave out what belongs to the blocks after the first `depth`."""
        self.depth = depth
        if self.rope.kind is RopeKind.MIXED:
            self.freqs = nn.Parameter(self.freqs.detach()[:, :depth].clone(), self.freqs.requires_grad)

    def coordinates(self, grid: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of each patch, (patches,) each, columns first where the spec says so."""
        rope = self.rope
        axes = [steps(size, like).float() for size in grid]
        if rope.kind is RopeKind.DINOV3:
            axes = [2.0 * ((axis + 0.5) / size) - 1.0 for axis, size in zip(axes, grid, strict=True)]
        else:
            axes = [axis + rope.offset for axis in axes]
        if rope.ref_grid is not None:
            axes = [axis / size * ref for axis, size, ref in zip(axes, grid, rope.ref_grid, strict=True)]
        rows, cols = (part.expand(*grid).flatten() for part in (axes[0][:, None], axes[1]))
        return (cols, rows) if rope.columns_first else (rows, cols)

    def scaled(self, positions: Tensor) -> Tensor:
        """(patches, 1) -> angles (patches, bands) of one axis."""
        if self.rope.kind is RopeKind.DINOV3:
            periods = self.periods.float() if self.rope.stored else self.default_periods(positions)
            return 2 * math.pi * positions / periods
        return positions * (1.0 / self.default_periods(positions))

    def default_periods(self, like: Tensor) -> Tensor:
        """theta^(i / n) for the n bands of an axis, on the device of `like`."""
        exponents = steps(self.bands, like).float() / self.bands
        return self.rope.theta**exponents

    def waves(self, angles: Tensor) -> tuple[Tensor, Tensor]:
        """(..., head_dim / 2) -> cosines and sines (..., head_dim), laid out for `rotate`."""
        if self.rope.pairs is RopePairs.HALVES:
            angles = torch.cat([angles, angles], -1)
        else:
            angles = angles.repeat_interleave(2, -1)
        return angles.cos(), angles.sin()


class Place(NamedTuple):
    """Where a block's tokens are."""

    grid: tuple[int, int]
    turn: Turn | None
    bias: Tensor | None
    """(heads, tokens, tokens), where all blocks share it; a mask of the caller's is added to it"""
