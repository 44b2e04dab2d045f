"""Position tables and patch kernels on a new grid: pure functions, one policy each.

The published codes disagree by several percent of a table's range at any size but the table's own, so the policy
belongs to the weights. Everything is computed in at least fp32 and comes back in its own dtype.
"""

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from vitzoo.errors import Argument, ResampleError
from vitzoo.spec import Resample


@dataclass(frozen=True)
class Interpolate:
    """`torch.nn.functional.interpolate` with one set of rules.

    An `offset` is added to the new size before the ratio of new to old is taken; that ratio then places the samples.
    """

    mode: str
    antialias: bool = False
    align_corners: bool = False
    offset: float = 0.0

    def __call__(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels, *size)."""
        if self.antialias:
            # One axis after the other, as torch does inside: for both at once torch 2.15 on the CPU gives wrong values
            # where the new width is 1, unless the layout is channels last.
            wide = F.interpolate(image, size=(image.shape[2], size[1]), mode=self.mode, antialias=True)
            return F.interpolate(wide.mT, size=(size[1], size[0]), mode=self.mode, antialias=True).mT
        if self.offset and not _fixed(size):
            return self._sampled(image, size)
        if self.offset:
            ratio = [(new + self.offset) / old for new, old in zip(size, image.shape[-2:], strict=True)]
            return F.interpolate(image, scale_factor=ratio, mode=self.mode)
        return F.interpolate(image, size=size, mode=self.mode, align_corners=self.align_corners)

    def _sampled(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """The same for a size that an exported graph leaves open: it would fix a ratio, and places are tensors."""
        places = []
        for new, old in zip(size, image.shape[-2:], strict=True):
            steps = torch.arange(new, device=image.device)
            ratio = (steps[-1] + 1 + self.offset) / old
            places.append((2 * (steps + 0.5) / ratio / old - 1).to(image.dtype))  # -1 and 1 are the outer edges
        down, across = torch.meshgrid(*places, indexing="ij")
        where = torch.stack([across, down], -1)[None]
        return F.grid_sample(image, where, self.mode, padding_mode="border", align_corners=False)


def _fixed(size: tuple[int, int]) -> bool:
    """Whether a size is known; where an exported graph leaves it open, nothing may hang on its value."""
    return not any(isinstance(side, torch.SymInt) for side in size)


def _or_own(table: Tensor, resampled: Tensor) -> Tensor:
    """`resampled`, or the table itself where that is its size; a graph that leaves the size open asks as it runs."""
    places = [torch.arange(side, device=table.device) for side in resampled.shape[:2]]
    last = [old - 1 for old in table.shape[:2]]
    same = torch.stack([place[-1] == end for place, end in zip(places, last, strict=True)]).all()
    rows, cols = (place.clamp(max=end) for place, end in zip(places, last, strict=True))
    return torch.where(same, table[rows][:, cols], resampled)


_BICUBIC = Interpolate("bicubic")
_BICUBIC_AA = Interpolate("bicubic", antialias=True)
_BILINEAR = Interpolate("bilinear")

POLICIES: dict[Resample, Interpolate] = {
    # timm/layers/pos_embed.py, resample_abs_pos_embed
    Resample.TIMM: _BICUBIC_AA,
    # transformers, models/vit/modeling_vit.py and models/dinov2/modeling_dinov2.py, interpolate_pos_encoding
    Resample.HUGGINGFACE: _BICUBIC,
    # torchvision/models/vision_transformer.py, interpolate_embeddings
    Resample.TORCHVISION: Interpolate("bicubic", align_corners=True),
    # google-research/vision_transformer, vit_jax/checkpoint.py, load_pretrained: scipy.ndimage.zoom(order=1), which
    # puts corner on corner. At a few sizes scipy also rounds the last row out of the table and returns zeros; not here.
    Resample.GOOGLE: Interpolate("bilinear", align_corners=True),
    # google-research/big_vision, models/proj/flexi/vit.py, the forward pass: jax.image.resize(..., "linear"), which
    # antialiases. The loaders of big_vision zoom with scipy, like GOOGLE.
    Resample.BIG_VISION: Interpolate("bilinear", antialias=True),
    # facebookresearch/mae, util/pos_embed.py, interpolate_pos_embed; facebookresearch/deit, main.py, --finetune
    Resample.MAE: _BICUBIC,
    # facebookresearch/dinov2, dinov2/models/vision_transformer.py, interpolate_pos_encoding with its default offset
    Resample.DINOV2: Interpolate("bicubic", offset=0.1),
    # the same function as dinov2/hub/backbones.py calls it for registers: interpolate_offset 0.0 and antialias;
    # transformers, models/dinov2_with_registers/modeling_dinov2_with_registers.py
    Resample.DINOV2_REG: _BICUBIC_AA,
    # facebookresearch/perception_models, core/vision_encoder/pe.py, _sample_abs_posemb
    Resample.PE: _BILINEAR,
}


def sincos2d(grid: tuple[int, int], dim: int) -> Tensor:
    """A fixed table (rows, columns, dim) in fp32: sine and cosine of the column, then of the row.

    With n = dim / 4, band i has the period 2 pi 10000^(i / (n - 1)), as in MoCo v3; MAE divides by n.
    google-research/big_vision, models/vit.py, posemb_sincos_2d.
    """
    bands = dim // 4
    omega = 10_000.0 ** -(torch.arange(bands, dtype=torch.float64) / (bands - 1))
    rows, cols = (torch.arange(size, dtype=torch.float64)[:, None] * omega for size in grid)
    y, x = (part.expand(*grid, bands) for part in (rows[:, None], cols[None]))
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=2).float()


def resample_table(table: Tensor, grid: tuple[int, int], policy: Resample | None) -> Tensor:
    """Put a position table (rows, columns, dim) on `grid` (rows, columns); the same tensor if it is there already.

    Equal numbers of positions in another shape are resampled too.

    Raises:
        ResampleError: the table is not a floating-point (rows, columns, dim), or it or the grid is empty; or the policy
            is not known, and the table is not there yet.
    """
    if table.ndim != 3 or not table.is_floating_point() or 0 in table.shape:
        raise ResampleError(
            f"expected a floating-point table of shape (rows, columns, dim), found {table.dtype} {tuple(table.shape)}; "
            "split the prefix slots off, restore the grid and convert integers first"
        )
    rows, cols = grid
    if rows < 1 or cols < 1:
        raise ResampleError(
            f"expected a grid of at least 1x1, found {rows}x{cols}; use a picture no smaller than one patch"
        )
    if _fixed(grid) and (table.shape[0], table.shape[1]) == (rows, cols):
        return table
    if policy is None:
        raise _no_policy((table.shape[0], table.shape[1]), grid, Resample)
    out = _resampled(table, grid, policy)
    return out if _fixed(grid) else _or_own(table, out)


def _resampled(table: Tensor, grid: tuple[int, int], policy: Resample) -> Tensor:
    if policy == Resample.SINCOS2D:
        return sincos2d(grid, table.shape[2]).to(table)
    wide = table.to(torch.promote_types(table.dtype, torch.float32))
    # Not POLICIES[policy]: torch.compile (2.15) puts no guard on an enum that is a dictionary's key, and a second model
    # with another policy would be given the first one's graph.
    out = POLICIES[Resample(policy)](wide.permute(2, 0, 1).unsqueeze(0), grid)
    return out.squeeze(0).permute(1, 2, 0).to(table.dtype).contiguous()


REL_POS_POLICIES = (Resample.TIMM, Resample.HUGGINGFACE)


def resample_rel_pos(table: Tensor, grid: tuple[int, int], policy: Resample | None) -> Tensor:
    """Put a table of relative positions (2 rows - 1, 2 columns - 1, heads) on `grid` (rows, columns) of patches.

    Hugging Face enlarges it like a picture, bilinearly (transformers, models/beit/modeling_beit.py). BEiT's authors
    and timm place the old distances in a geometric progression that ends at the new ones, so that small distances keep
    their bias (unilm, beit/run_class_finetuning.py); timm (layers/pos_embed_rel.py) is linear between them.

    Raises:
        ResampleError: another policy, or none.
    """
    size = (2 * grid[0] - 1, 2 * grid[1] - 1)
    if _fixed(size) and (table.shape[0], table.shape[1]) == size:
        return table
    if policy is None:
        raise _no_policy(((table.shape[0] + 1) // 2, (table.shape[1] + 1) // 2), grid, REL_POS_POLICIES)
    wide = table.to(torch.promote_types(table.dtype, torch.float32))
    if policy == Resample.HUGGINGFACE:
        out = _BILINEAR(wide.permute(2, 0, 1).unsqueeze(0), size).squeeze(0).permute(1, 2, 0)
    elif policy == Resample.TIMM:
        down, across = (_geometric(old, new).to(wide) for old, new in zip(table.shape[:2], size, strict=True))
        out = torch.einsum("rcd,Rr,Cc->RCd", wide, down, across)
    else:
        allowed = " or ".join(REL_POS_POLICIES)
        raise ResampleError(f"policy '{policy}' does not say how relative positions are resampled; take {allowed}")
    out = out.to(table.dtype).contiguous()
    return out if _fixed(grid) else _or_own(table, out)


def _no_policy(old: tuple[int, int], new: tuple[int, int], policies: Iterable[Resample]) -> ResampleError:
    return ResampleError(
        f"the positions are for {old[0]}x{old[1]} patches and not for {new[0]}x{new[1]}, and nothing says how these "
        f"weights are resampled; take pictures of the weights' own size, or choose a policy with ",
        Argument("resample", "..."),
        f": {', '.join(policies)} (docs/resampling.md tells them apart)",
    )


def _geometric(old: int, new: int) -> Tensor:
    """The matrix (new, old) that interpolates linearly between `old` positions in geometric progression."""
    ratio = _ratio(old // 2, new // 2) if _fixed((new, new)) else _open_ratio(old // 2, torch.arange(new)[-1] // 2)
    steps = (torch.as_tensor(ratio, dtype=torch.float64) ** torch.arange(old // 2)).cumsum(0)
    places = torch.cat([-steps.flip(0), steps.new_zeros(1), steps])
    wanted = torch.arange(new, dtype=torch.float64) - new // 2
    right = torch.searchsorted(places, wanted).clamp(1, old - 1)
    share = ((wanted - places[right - 1]) / (places[right] - places[right - 1])).clamp(0, 1)
    matrix = torch.zeros(new, old, dtype=torch.float64)
    rows = torch.arange(new)
    matrix[rows, right - 1] += 1 - share
    matrix[rows, right] += share
    return matrix


LOW, HIGH, CLOSE = 1.01, 1.5, 1e-6
"""Where upstream looks for a ratio, and how closely."""


def _ratio(count: int, reach: int) -> float:
    """That of the progression from 1 on whose `count` terms add up to `reach`; by bisection as upstream."""
    low, high = LOW, HIGH
    while high - low > CLOSE:
        ratio = (low + high) / 2
        low, high = (low, ratio) if (1 - ratio**count) / (1 - ratio) > reach else (ratio, high)
    return ratio


def _open_ratio(count: int, reach: Tensor) -> Tensor:
    """The same for a size that an exported graph leaves open."""
    low, high = (torch.full_like(reach, edge, dtype=torch.float64) for edge in (LOW, HIGH))
    for _ in range(math.ceil(math.log2((HIGH - LOW) / CLOSE))):
        ratio = (low + high) / 2
        over = (1 - ratio**count) / (1 - ratio) > reach
        low, high = torch.where(over, low, ratio), torch.where(over, ratio, high)
    return ratio


class PatchResample(StrEnum):
    """How pictures are resized in the matrix that a patch kernel's pseudo-inverse is taken of."""

    FLEXIVIT = "flexivit"
    TIMM = "timm"


PATCH_POLICIES: dict[PatchResample, Interpolate] = {
    # google-research/big_vision, models/proj/flexi/vit.py, resample_patchemb: tf.image.resize(method="bilinear"),
    # which does not antialias. timm loads its own flexivit models so.
    PatchResample.FLEXIVIT: _BILINEAR,
    # timm/layers/patch_embed.py, resample_patch_embed with its defaults: every other timm model
    PatchResample.TIMM: _BICUBIC_AA,
}


def resample_patch_kernel(
    kernel: Tensor, patch_size: tuple[int, int], policy: PatchResample = PatchResample.FLEXIVIT
) -> Tensor:
    """Put a patch kernel (dim, in_chans, height, width) on `patch_size` (height, width) by pseudo-inverse resizing.

    With B the matrix that resizes a patch, the new kernel is pinv(B)^T w, so that a picture that was enlarged with its
    patches gives the same tokens (FlexiViT, https://arxiv.org/abs/2212.08013, section 3.4). The same tensor if the size
    is the same.

    Raises:
        ResampleError: the kernel is not a floating-point (dim, in_chans, height, width), or it or the patch is empty.
    """
    if kernel.ndim != 4 or not kernel.is_floating_point() or 0 in kernel.shape:
        raise ResampleError(
            "expected a floating-point kernel of shape (dim, in_chans, height, width), "
            f"found {kernel.dtype} {tuple(kernel.shape)}; reshape a flattened projection and convert integers first"
        )
    height, width = patch_size
    if height < 1 or width < 1:
        raise ResampleError(
            f"expected a patch of at least 1x1 pixels, found {height}x{width}; give a larger patch_size"
        )
    if (kernel.shape[2], kernel.shape[3]) == (height, width):
        return kernel
    wide = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
    resize = PATCH_POLICIES[PatchResample(policy)]  # called for the guard, as in `resample_table`
    down = _transposed_pinv(kernel.shape[2], height, resize).to(wide)
    across = _transposed_pinv(kernel.shape[3], width, resize).to(wide)
    device = kernel.device.type
    # Autocast would take the products in half precision; the meta device has no autocast to turn off.
    exact = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
    with exact:
        return torch.einsum("oihw,hr,wc->oirc", wide, down, across).to(kernel.dtype)


def _transposed_pinv(old: int, new: int, resize: Interpolate) -> Tensor:
    """pinv(B)^T (new, old), transposed to (old, new), where B (new, old) resizes one axis.

    Resizing is separable and the pseudo-inverse of a Kronecker product is the product of the pseudo-inverses, so two
    small matrices stand for the one of (pixels, pixels): some 200 times quicker from 32 to 48. In fp64, as the matrix
    of a small change of size is ill-conditioned; on the CPU, as not every device has fp64.
    """
    basis = torch.eye(old, dtype=torch.float64, device="cpu").view(1, old, 1, old)
    transposed_pinv: Tensor = torch.linalg.pinv(resize(basis, (1, new))[0, :, 0].T)
    return transposed_pinv
