"""Position tables and patch kernels on a new grid: pure functions, one policy each.

The published codes disagree by several percent of a table's range at any size but the table's own, so the policy
belongs to the weights. Everything is computed in at least fp32 and comes back in its own dtype.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from vitzoo.errors import Argument, ResampleError
from vitzoo.spec import Resample


def _triangle(distance: Tensor) -> Tensor:
    """Weights of linear interpolation."""
    return 1 - distance.abs().clamp(max=1)


def _keys(a: float) -> Callable[[Tensor], Tensor]:
    """Weights of cubic convolution (Keys 1981): torch takes a = -0.75, and -0.5 where it antialiases."""

    def weights(distance: Tensor) -> Tensor:
        distance = distance.abs()
        near, far = distance.clamp(max=1), distance.clamp(1, 2)
        inner = ((a + 2) * near - (a + 3)) * near * near + 1
        return inner + (((a * far - 5 * a) * far + 8 * a) * far - 4 * a)

    return weights


@dataclass(frozen=True)
class Interpolate:
    """Interpolation of one axis as a matrix (new, old), which is computed from the two sizes and nothing else.

    So one formula serves where both are known and where an exported graph leaves the new size open. It gives what
    `torch.nn.functional.interpolate` gives. An `offset` is added to the new size before the ratio of new to old is
    taken; that ratio then places the samples.
    """

    weights: Callable[[Tensor], Tensor]
    antialias: bool = False
    align_corners: bool = False
    offset: float = 0.0

    def matrix(self, old: int, new: int, like: Tensor) -> Tensor:
        """(new, old), in the type and on the device of `like`.

        Computed in fp64, on the CPU as not every device has it; torch rounds the places to the type of the table.
        """
        beyond = 0 if self.antialias else 2  # places beyond the table that count, each as the last one before it
        places = torch.arange(-beyond, old + beyond, device="cpu")
        wanted = torch.arange(new, dtype=torch.float64, device="cpu")[:, None]
        count = wanted[-1] + 1  # `new` as a tensor: a graph would fix the value of a ratio that Python takes
        if self.align_corners:
            scale = _rounded((old - 1) / (count - 1).clamp(min=1), like)
            centres = _rounded(wanted * scale, like)
        else:
            scale = _rounded(old / (count + self.offset), like)
            centres = _rounded((wanted + 0.5) * scale - 0.5, like)
        if self.antialias:
            mixed = self.weights((places - centres) * (1 / scale).clamp(max=1))
            return (mixed / mixed.sum(1, keepdim=True)).to(like)
        last = places.clamp(0, old - 1)[:, None] == torch.arange(old, device="cpu")
        return (self.weights(places - centres) @ last.double()).to(like)

    def __call__(self, table: Tensor, size: tuple[int, int]) -> Tensor:
        """(rows, columns, dim) -> (*size, dim)."""
        return _along(table, *(self.matrix(old, new, table) for old, new in zip(table.shape[:2], size, strict=True)))


def _rounded(x: Tensor, like: Tensor) -> Tensor:
    """Numbers of fp64 that the type of `like` has, too."""
    return x.to(like.dtype).double()


def _along(table: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """A matrix for each of the first two axes: (rows, columns, dim) -> (new rows, new columns, dim)."""
    return across @ (down @ table.flatten(1)).reshape(-1, *table.shape[1:])


def _exact(device: torch.device) -> AbstractContextManager[object]:
    """Autocast would take products in half precision."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()


def _fixed(size: tuple[int, int]) -> bool:
    """Whether a size is known; where an exported graph leaves it open, nothing may hang on its value."""
    return not any(isinstance(side, torch.SymInt) for side in size)


def _or_own(table: Tensor, resampled: Tensor) -> Tensor:
    """`resampled`, or the table itself where that is its size; a graph that leaves the size open asks as it runs."""
    places = [torch.arange(side, device=table.device) for side in resampled.shape[:2]]
    last = [old - 1 for old in table.shape[:2]]
    same = (places[0][-1] == last[0]) & (places[1][-1] == last[1])
    rows, cols = (place.clamp(max=end) for place, end in zip(places, last, strict=True))
    return torch.where(same, table[rows][:, cols], resampled)


_BICUBIC = Interpolate(_keys(-0.75))
_BICUBIC_AA = Interpolate(_keys(-0.5), antialias=True)
_BILINEAR = Interpolate(_triangle)

POLICIES: dict[Resample, Interpolate] = {
    # timm/layers/pos_embed.py, resample_abs_pos_embed
    Resample.TIMM: _BICUBIC_AA,
    # transformers, models/vit/modeling_vit.py and models/dinov2/modeling_dinov2.py, interpolate_pos_encoding
    Resample.HUGGINGFACE: _BICUBIC,
    # torchvision/models/vision_transformer.py, interpolate_embeddings
    Resample.TORCHVISION: Interpolate(_keys(-0.75), align_corners=True),
    # google-research/vision_transformer, vit_jax/checkpoint.py, load_pretrained: scipy.ndimage.zoom(order=1), which
    # puts corner on corner. At a few sizes scipy also rounds the last row out of the table and returns zeros; not here.
    Resample.GOOGLE: Interpolate(_triangle, align_corners=True),
    # google-research/big_vision, models/proj/flexi/vit.py, the forward pass: jax.image.resize(..., "linear"), which
    # antialiases. The loaders of big_vision zoom with scipy, like GOOGLE.
    Resample.BIG_VISION: Interpolate(_triangle, antialias=True),
    # facebookresearch/mae, util/pos_embed.py, interpolate_pos_embed; facebookresearch/deit, main.py, --finetune
    Resample.MAE: _BICUBIC,
    # facebookresearch/dinov2, dinov2/models/vision_transformer.py, interpolate_pos_encoding with its default offset
    Resample.DINOV2: Interpolate(_keys(-0.75), offset=0.1),
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
    with _exact(table.device):
        return POLICIES[Resample(policy)](wide, grid).to(table.dtype)


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
    with _exact(table.device):
        if policy == Resample.HUGGINGFACE:
            out = _BILINEAR(wide, size)
        elif policy == Resample.TIMM:
            out = _along(wide, *(_geometric(old, new, wide) for old, new in zip(table.shape[:2], size, strict=True)))
        else:
            allowed = " or ".join(REL_POS_POLICIES)
            raise ResampleError(f"policy '{policy}' does not say how relative positions are resampled; take {allowed}")
    out = out.to(table.dtype)
    return out if _fixed(grid) else _or_own(table, out)


def _no_policy(old: tuple[int, int], new: tuple[int, int], policies: Iterable[Resample]) -> ResampleError:
    return ResampleError(
        f"the positions are for {old[0]}x{old[1]} patches and not for {new[0]}x{new[1]}, and nothing says how these "
        f"weights are resampled; take pictures of the weights' own size, or choose a policy with ",
        Argument("resample", "..."),
        f": {', '.join(policies)} (docs/resampling.md tells them apart)",
    )


def _geometric(old: int, new: int, like: Tensor) -> Tensor:
    """The matrix (new, old) that interpolates linearly between `old` positions in geometric progression.

    In fp64, on the CPU as not every device has it; then in the type and on the device of `like`.
    """
    wanted = torch.arange(new, dtype=torch.float64, device="cpu")[:, None]
    reach = wanted[-1] / 2  # half of `new`, less one half, as a tensor: see `Interpolate.matrix`
    exponents = torch.arange(old // 2, device="cpu")
    right = (_ratio(exponents, reach) ** exponents).cumsum(0)
    places = torch.cat([-right.flip(0), right.new_zeros(1), right])
    # How far each wanted position is beyond the one place and on the way to the next.
    passed = ((wanted - reach - places[:-1]) / (places[1:] - places[:-1])).clamp(0, 1)
    all_, none = torch.ones_like(wanted), torch.zeros_like(wanted)
    return (torch.cat([all_, passed], 1) - torch.cat([passed, none], 1)).to(like)


LOW, HIGH, ROUNDS, PARTS = 1.01, 1.5, 3, 64
"""Where upstream looks for a ratio. It halves the range 19 times: that is 64 parts of 64 of 64, and the middle."""


def _ratio(exponents: Tensor, reach: Tensor) -> Tensor:
    """That of the progression from 1 on whose terms, one for each of `exponents`, add up to `reach`, (1,) each."""
    low, width = torch.full_like(reach, LOW), HIGH - LOW
    for _ in range(ROUNDS):
        width /= PARTS
        edges = low + width * torch.arange(1, PARTS, device="cpu")
        low = low + width * ((edges[:, None] ** exponents).sum(1) <= reach).sum()
    return low + width / 2


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
    with _exact(kernel.device):
        return torch.einsum("oihw,hr,wc->oirc", wide, down, across).to(kernel.dtype)


def _transposed_pinv(old: int, new: int, resize: Interpolate) -> Tensor:
    """pinv(B)^T (new, old), transposed to (old, new), where B (new, old) resizes one axis.

    Resizing is separable and the pseudo-inverse of a Kronecker product is the product of the pseudo-inverses, so two
    small matrices stand for the one of (pixels, pixels): some 200 times quicker from 32 to 48. In fp64, as the matrix
    of a small change of size is ill-conditioned; on the CPU, as not every device has fp64.
    """
    like = torch.empty(0, dtype=torch.float64, device="cpu")
    transposed_pinv: Tensor = torch.linalg.pinv(resize.matrix(old, new, like))
    return transposed_pinv
