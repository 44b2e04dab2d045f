"""The patch projection and the absolute position table."""

import torch
from torch import Tensor, nn

from vitzoo.errors import SpecError
from vitzoo.model.layers import NORMS
from vitzoo.resample import resample_table
from vitzoo.spec import PosEmbed, Resample, ViTSpec


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel, without random initialisation."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they were allocated; `ViT.init_weights` fills them."""


class PatchEmbed(nn.Module):
    """Cuts a picture into patches and projects each to hidden_dim (ViT, equation 1)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.patch_size = spec.patch_size
        self.proj = PatchConv(
            spec.in_chans, spec.hidden_dim, spec.patch_size, stride=spec.patch_size, bias=spec.patch_bias
        )
        self.norm = NORMS[spec.norm](spec.hidden_dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(batch, in_chans, height, width) -> (batch, rows * columns, hidden_dim) and (rows, columns)."""
        if x.ndim != 4 or x.shape[1] != self.proj.in_channels:
            raise SpecError(
                f"expected pictures of shape (batch, {self.proj.in_channels}, height, width), found {tuple(x.shape)}"
            )
        height, width = x.shape[-2:]
        if height % self.patch_size[0] or width % self.patch_size[1]:
            raise SpecError(
                f"a picture of {height}x{width} pixels is not divisible by the patch of "
                f"{self.patch_size[0]}x{self.patch_size[1]}; resize or pad it"
            )
        x = self.proj(x)
        grid = (x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        return (x if self.norm is None else self.norm(x)), grid


class PosTable(nn.Module):
    """The position table: `grid` (rows, columns, hidden_dim), and `prefix` (slots, hidden_dim) where there are slots.

    A picture of another size takes the table resampled for its grid, by the policy of the weights.
    """

    def __init__(self, spec: ViTSpec, resample: Resample) -> None:
        super().__init__()
        self.resample = resample
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
