"""Position tables and patch kernels on a new grid: pure functions, one policy each.

The published codes disagree by up to several percent of a table's range at any other than its own size, so the policy
belongs to the weights. Tables are computed in at least fp32 and come back in their own dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.errors import ResampleError
from vitzoo.spec import Resample


@dataclass(frozen=True)
class Interpolate:
    """`torch.nn.functional.interpolate` with one set of rules.

    `offset` is added to the new grid before the scale factor is taken, and that factor, not the ratio of the sizes,
    then places the samples.
    """

    mode: str
    antialias: bool = False
    align_corners: bool = False
    offset: float | None = None

    def __call__(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        """(1, dim, rows, columns) -> (1, dim, *grid)."""
        if self.offset is None:
            return F.interpolate(
                table, size=grid, mode=self.mode, antialias=self.antialias, align_corners=self.align_corners
            )
        scale = [(new + self.offset) / old for new, old in zip(grid, table.shape[-2:], strict=True)]
        return F.interpolate(table, scale_factor=scale, mode=self.mode, antialias=self.antialias)


_BICUBIC = Interpolate("bicubic")
_BICUBIC_AA = Interpolate("bicubic", antialias=True)

POLICIES: dict[Resample, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    # timm/layers/pos_embed.py, resample_abs_pos_embed
    Resample.TIMM: _BICUBIC_AA,
    # transformers, models/vit and models/dinov2, interpolate_pos_encoding
    Resample.HUGGINGFACE: _BICUBIC,
    # torchvision/models/vision_transformer.py, interpolate_embeddings
    Resample.TORCHVISION: Interpolate("bicubic", align_corners=True),
    # google-research/vision_transformer, vit_jax/checkpoint.py: scipy.ndimage.zoom(order=1) puts corner on corner
    Resample.GOOGLE: Interpolate("bilinear", align_corners=True),
    # google-research/big_vision, proj/flexi/vit.py: jax.image.resize(method="linear"), which antialiases
    Resample.BIG_VISION: Interpolate("bilinear", antialias=True),
    # facebookresearch/mae, util/pos_embed.py; facebookresearch/deit, main.py
    Resample.MAE: _BICUBIC,
    # facebookresearch/dinov2, models/vision_transformer.py with interpolate_offset 0.1
    Resample.DINOV2: Interpolate("bicubic", offset=0.1),
    # the same file with interpolate_offset 0.0 and interpolate_antialias True, as the register models are built
    Resample.DINOV2_REG: _BICUBIC_AA,
    # facebookresearch/perception_models, core/vision_encoder/pe.py, _sample_abs_posemb
    Resample.PE: Interpolate("bilinear"),
}


def resample_table(table: Tensor, grid: tuple[int, int], policy: Resample) -> Tensor:
    """Put a position table (rows, columns, dim) on `grid` (rows, columns); the same tensor if it is there already.

    Equal numbers of positions in another shape are resampled too.

    Raises:
        ResampleError: the table is not a floating-point (rows, columns, dim), or the grid is empty.
    """
    if table.ndim != 3 or not table.is_floating_point():
        raise ResampleError(
            f"expected a floating-point table of shape (rows, columns, dim), found {table.dtype} {tuple(table.shape)}; "
            "split the prefix slots off and restore the grid first"
        )
    rows, cols = grid
    if rows < 1 or cols < 1:
        raise ResampleError(f"expected a grid of at least 1x1, found {rows}x{cols}")
    if (table.shape[0], table.shape[1]) == (rows, cols):
        return table
    wide = table.to(torch.promote_types(table.dtype, torch.float32))
    out = POLICIES[policy](wide.permute(2, 0, 1).unsqueeze(0), (rows, cols))
    return out.squeeze(0).permute(1, 2, 0).to(table.dtype).contiguous()


class PatchResample(StrEnum):
    """How the matrix that a patch kernel's pseudo-inverse is taken of was made."""

    FLEXIVIT = "flexivit"
    TIMM = "timm"


# FlexiViT: google-research/big_vision, proj/flexi/vit.py, resample_patchemb: jax.image.resize "bilinear" without
# antialias. timm: timm/layers/patch_embed.py, resample_patch_embed: bicubic with antialias.
_KERNELS = {PatchResample.FLEXIVIT: Interpolate("bilinear"), PatchResample.TIMM: _BICUBIC_AA}


def resample_patch_kernel(
    kernel: Tensor, patch_size: tuple[int, int], policy: PatchResample = PatchResample.FLEXIVIT
) -> Tensor:
    """Put a patch kernel (dim, in_chans, height, width) on another patch size by pseudo-inverse resizing.

    With B the matrix that resizes a picture patch, the new kernel is pinv(B)^T w, so that a larger patch of a resized
    picture gives the same token (FlexiViT, https://arxiv.org/abs/2212.08013, section 3.4).

    Raises:
        ResampleError: the kernel is not a floating-point (dim, in_chans, height, width), or the patch is empty.
    """
    if kernel.ndim != 4 or not kernel.is_floating_point():
        raise ResampleError(
            "expected a floating-point kernel of shape (dim, in_chans, height, width), "
            f"found {kernel.dtype} {tuple(kernel.shape)}"
        )
    height, width = patch_size
    if height < 1 or width < 1:
        raise ResampleError(f"expected a patch of at least 1x1 pixels, found {height}x{width}")
    old = (kernel.shape[2], kernel.shape[3])
    if old == (height, width):
        return kernel
    wide = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
    basis = torch.eye(old[0] * old[1], dtype=wide.dtype, device=wide.device).view(-1, 1, *old)
    matrix = _KERNELS[policy](basis, (height, width)).flatten(1)  # (old pixels, new pixels), the transpose of B
    new = wide.flatten(2) @ torch.linalg.pinv(matrix).T
    return new.unflatten(2, (height, width)).to(kernel.dtype)
