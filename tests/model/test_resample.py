"""Resampling against the code that each policy is named after, and against its formula written out as matrices."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.flax_vit import sincos2d
from scipy.ndimage import zoom
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor
from torch.testing import assert_close
from torchvision.models.vision_transformer import interpolate_embeddings
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTModel,
)

from vitzoo.errors import ResampleError
from vitzoo.model.resample import PATCH_POLICIES, POLICIES, PatchResample, resample_patch_kernel, resample_table
from vitzoo.spec import Resample

Grid = tuple[int, int]
Matrix = npt.NDArray[np.float64]

TO_SQUARE: list[tuple[Grid, Grid]] = [
    ((7, 7), (12, 12)),
    ((14, 14), (24, 24)),
    ((14, 14), (6, 6)),
    ((16, 16), (14, 14)),
]
FROM_SQUARE: list[tuple[Grid, Grid]] = [*TO_SQUARE, ((14, 14), (7, 28)), ((14, 14), (9, 20)), ((8, 8), (3, 1))]
GRIDS: list[tuple[Grid, Grid]] = [
    *FROM_SQUARE,
    ((6, 9), (11, 5)),
    ((5, 12), (10, 24)),
    ((12, 10), (4, 3)),
    ((1, 8), (1, 5)),
]
every_policy = pytest.mark.parametrize("policy", POLICIES)
every_patch_policy = pytest.mark.parametrize("policy", PatchResample)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


# The formulas. ------------------------------------------------------------------------------------


def triangle(x: Matrix) -> Matrix:
    return np.maximum(0.0, 1.0 - np.abs(x))


def keys(a: float) -> Callable[[Matrix], Matrix]:
    """The cubic convolution kernel (Keys 1981, equation 15 with a = -0.5; torch takes a = -0.75 without antialias)."""

    def kernel(x: Matrix) -> Matrix:
        x = np.abs(x)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return kernel


def interpolating(old: int, centres: Matrix, kernel: Callable[[Matrix], Matrix]) -> Matrix:
    """Weights (new, old) of samples at `centres`; taps outside of the table fall on its edge."""
    weights = np.zeros((len(centres), old))
    for tap in range(-3, old + 3):
        weights[:, min(max(tap, 0), old - 1)] += kernel(tap - centres)
    return weights


def half_pixel(old: int, new: int, offset: float = 0.0) -> Matrix:
    return np.asarray((np.arange(new) + 0.5) * old / (new + offset) - 0.5, dtype=np.float64)


def corners(old: int, new: int) -> Matrix:
    return np.linspace(0.0, old - 1.0 if new > 1 else 0.0, new)


def antialiasing(old: int, new: int, kernel: Callable[[Matrix], Matrix]) -> Matrix:
    """The kernel widened by the ratio of a reduction and normalised (jax/_src/image/scale.py, compute_weight_mat)."""
    weights = kernel((np.arange(old) - half_pixel(old, new)[:, None]) / max(old / new, 1.0))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def bicubic(old: int, new: int) -> Matrix:
    return interpolating(old, half_pixel(old, new), keys(-0.75))


def bicubic_antialias(old: int, new: int) -> Matrix:
    return antialiasing(old, new, keys(-0.5))


def bilinear(old: int, new: int) -> Matrix:
    return interpolating(old, half_pixel(old, new), triangle)


FORMULAS: dict[Resample, Callable[[int, int], Matrix]] = {
    Resample.TIMM: bicubic_antialias,
    Resample.HUGGINGFACE: bicubic,
    Resample.TORCHVISION: lambda old, new: interpolating(old, corners(old, new), keys(-0.75)),
    # vit_jax/checkpoint.py: scipy.ndimage.zoom(posemb_grid, zoom, order=1)
    Resample.GOOGLE: lambda old, new: interpolating(old, corners(old, new), triangle),
    # big_vision/models/proj/flexi/vit.py: jax.image.resize(pos_emb, (1, h, w, c), "linear")
    Resample.BIG_VISION: lambda old, new: antialiasing(old, new, triangle),
    # mae/util/pos_embed.py: interpolate(size=(new_size, new_size), mode="bicubic", align_corners=False)
    Resample.MAE: bicubic,
    # dinov2/models/vision_transformer.py: interpolate(scale_factor=(w0 + 0.1) / sqrt(N), mode="bicubic")
    Resample.DINOV2: lambda old, new: interpolating(old, half_pixel(old, new, 0.1), keys(-0.75)),
    # the same with interpolate_offset=0.0, interpolate_antialias=True
    Resample.DINOV2_REG: bicubic_antialias,
    # core/vision_encoder/pe.py: interpolate(size=(grid_h, grid_w), mode="bilinear", align_corners=False)
    Resample.PE: bilinear,
}
# big_vision/models/proj/flexi/vit.py: tf.image.resize(x, new_shape, method="bilinear"), and timm's default
PATCH_FORMULAS = {PatchResample.FLEXIVIT: bilinear, PatchResample.TIMM: bicubic_antialias}


@pytest.mark.proves(
    policy=("timm", "huggingface", "torchvision", "google", "big_vision", "mae", "dinov2", "dinov2_reg", "pe"),
    against="its formula, written out as fp64 matrices",
    tolerance="1e-10; fp32 1e-6",
)
@pytest.mark.proves(
    claim="position tables and patch kernels, every policy",
    against="written formulas",
    tolerance="1e-10; fp32 1e-6",
)
@every_policy
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_formula(policy: Resample, old: Grid, new: Grid) -> None:
    table = random(*old, 5, dtype=torch.float64)
    down, across = (FORMULAS[policy](a, b) for a, b in zip(old, new, strict=True))
    expected = torch.from_numpy(np.einsum("ih,jw,hwd->ijd", down, across, table.numpy()))
    assert_close(resample_table(table, new, policy), expected, atol=1e-10, rtol=0)
    assert_close(resample_table(0.1 * table.float(), new, policy), 0.1 * expected.float(), atol=1e-6, rtol=0)


# The installed packages. --------------------------------------------------------------------------

RELATIVE = "1e-6 of the largest value"


def equal(ours: Tensor, theirs: Tensor) -> None:
    """Up to the rounding of weights in fp32, which torch computes with as many errors; ours are of fp64."""
    assert_close(ours, theirs, atol=1e-6 * float(theirs.abs().max()), rtol=0)


@pytest.mark.proves(policy="timm", against="timm `resample_abs_pos_embed`", tolerance=RELATIVE)
@pytest.mark.proves(
    claim="position tables and patch kernels, every policy",
    against="timm, transformers, torchvision, scipy",
    tolerance=RELATIVE,
)
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_timm(old: Grid, new: Grid) -> None:
    table = random(*old, 8)
    theirs = resample_abs_pos_embed(table.reshape(1, -1, 8), list(new), list(old), num_prefix_tokens=0)
    equal(resample_table(table, new, Resample.TIMM).reshape(1, -1, 8), theirs)


@pytest.mark.proves(policy="huggingface", against="transformers `ViTModel`, `Dinov2Model`", tolerance=RELATIVE)
@pytest.mark.proves(policy="dinov2_reg", against="transformers `Dinov2WithRegistersModel`", tolerance=RELATIVE)
@pytest.mark.parametrize(
    ("policy", "model", "config"),
    [
        (Resample.HUGGINGFACE, ViTModel, ViTConfig),
        (Resample.HUGGINGFACE, Dinov2Model, Dinov2Config),
        (Resample.DINOV2_REG, Dinov2WithRegistersModel, Dinov2WithRegistersConfig),
    ],
)
@pytest.mark.parametrize(("old", "new"), FROM_SQUARE)
def test_transformers(policy: Resample, model: type, config: type, old: Grid, new: Grid) -> None:
    tiny = config(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=4 * old[0],
        patch_size=4,
    )
    embeddings = model(tiny).embeddings
    table = random(*old, 8)
    with torch.no_grad():
        embeddings.position_embeddings[:, 1:] = table.reshape(1, -1, 8)
        tokens = torch.zeros(1, 1 + new[0] * new[1], 8)
        theirs = embeddings.interpolate_pos_encoding(tokens, 4 * new[0], 4 * new[1])[:, 1:]
    equal(resample_table(table, new, policy).reshape(1, -1, 8), theirs)


@pytest.mark.proves(policy="torchvision", against="torchvision `interpolate_embeddings`", tolerance=RELATIVE)
@pytest.mark.parametrize(("old", "new"), TO_SQUARE)
def test_torchvision(old: Grid, new: Grid) -> None:
    table = random(*old, 8)
    state = {"encoder.pos_embedding": torch.cat([torch.zeros(1, 1, 8), table.reshape(1, -1, 8)], dim=1)}
    theirs = interpolate_embeddings(4 * new[0], 4, state)["encoder.pos_embedding"][:, 1:]
    equal(resample_table(table, new, Resample.TORCHVISION).reshape(1, -1, 8), theirs)


@pytest.mark.proves(policy="google", against="scipy `ndimage.zoom(order=1)`, fp64", tolerance="1e-10")
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_scipy(old: Grid, new: Grid) -> None:
    table = random(*old, 8, dtype=torch.float64)
    theirs = torch.from_numpy(zoom(table.numpy(), (new[0] / old[0], new[1] / old[1], 1), order=1))
    assert_close(resample_table(table, new, Resample.GOOGLE), theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("old", "new"), [(8, 26), (16, 30), (24, 22), (28, 14)])
def test_google_keeps_the_last_row_that_scipy_rounds_away(old: int, new: int) -> None:
    table = random(old, old, 3)
    out = resample_table(table, (new, new), Resample.GOOGLE)
    assert_close(out[-1, -1], table[-1, -1], atol=1e-5, rtol=0)
    assert_close(out[0, 0], table[0, 0], atol=0, rtol=0)


# What differs from what. --------------------------------------------------------------------------

SAME = [{Resample.TIMM, Resample.DINOV2_REG}, {Resample.HUGGINGFACE, Resample.MAE}]


@pytest.mark.parametrize(("first", "second"), itertools.combinations(POLICIES, 2))
@pytest.mark.parametrize(("old", "new"), [((14, 14), (9, 9)), ((14, 14), (24, 24)), ((8, 6), (5, 9))])
def test_policies_differ(first: Resample, second: Resample, old: Grid, new: Grid) -> None:
    ours, other = (resample_table(random(*old, 8, dtype=torch.float64), new, policy) for policy in (first, second))
    # Antialiasing changes the bilinear kernel only where it reduces; the bicubic one also has another constant.
    alike = {first, second} == {Resample.BIG_VISION, Resample.PE} and new == (24, 24)
    if alike or {first, second} in SAME:
        assert_close(ours, other, atol=1e-10, rtol=0)
    else:
        assert (ours - other).abs().max() > 0.05


@pytest.mark.proves(policy="sincos2d", against="big_vision's formula, written out in numpy", tolerance="1e-6")
@pytest.mark.parametrize("new", [(3, 5), (1, 4), (7, 7)])
def test_a_fixed_table_is_computed_anew(new: Grid) -> None:
    """big_vision/models/vit.py, posemb_sincos_2d; what the old table held does not count."""
    expected = sincos2d(*new, 24)[0].reshape(*new, 24)
    for old in (random(4, 4, 24), random(2, 9, 24)):
        found = resample_table(old, new, Resample.SINCOS2D)
        assert_close(found, torch.from_numpy(expected).float(), atol=1e-6, rtol=0)


def test_patch_policies_differ() -> None:
    kernel = random(4, 3, 16, 16)
    flexivit, timm = (resample_patch_kernel(kernel, (14, 14), policy) for policy in PatchResample)
    assert (flexivit - timm).abs().max() > 0.05


def test_every_policy_has_a_formula_and_a_line_in_the_docs() -> None:
    assert set(POLICIES) == set(FORMULAS) == set(Resample) - {Resample.SINCOS2D}
    assert set(PATCH_POLICIES) == set(PATCH_FORMULAS) == set(PatchResample)
    page = (Path(__file__).parents[2] / "docs" / "resampling.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)`", page, flags=re.MULTILINE))
    assert rows == {policy.value for policy in (*Resample, *PatchResample)}


# Properties. --------------------------------------------------------------------------------------

side = st.integers(1, 9)
grids = st.tuples(side, side)
policies = st.sampled_from(list(POLICIES))
light = settings(max_examples=40, deadline=None)


@light
@given(policies, grids, st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_same_grid_is_the_same_tensor(policy: Resample, grid: Grid, dtype: torch.dtype) -> None:
    table = random(*grid, 2, dtype=dtype)
    assert resample_table(table, grid, policy) is table


@light
@given(policies, grids, grids, st.floats(-10, 10))
def test_constant_stays_constant(policy: Resample, old: Grid, new: Grid, value: float) -> None:
    out = resample_table(torch.full((*old, 2), value), new, policy)
    assert_close(out, torch.full((*new, 2), value), atol=1e-4, rtol=0)


@every_policy
def test_same_count_in_another_shape_changes(policy: Resample) -> None:
    table = random(4, 4, 3)
    out = resample_table(table, (2, 8), policy)
    assert out.shape == (2, 8, 3)
    assert (out - table.reshape(2, 8, 3)).abs().max() > 0.1


@light
@given(policies, grids, grids, st.floats(-3, 3))
def test_linear(policy: Resample, old: Grid, new: Grid, factor: float) -> None:
    one, two = random(*old, 2, dtype=torch.float64), random(*old, 2, dtype=torch.float64).flip(0, 1, 2)
    mixed = resample_table(one + factor * two, new, policy)
    assert_close(
        mixed, resample_table(one, new, policy) + factor * resample_table(two, new, policy), atol=1e-10, rtol=0
    )


@light
@given(policies, grids, grids)
def test_rows_and_columns_are_treated_alike(policy: Resample, old: Grid, new: Grid) -> None:
    table = random(*old, 2, dtype=torch.float64)
    turned = resample_table(table.transpose(0, 1), new[::-1], policy).transpose(0, 1)
    assert_close(resample_table(table, new, policy), turned, atol=1e-10, rtol=0)


@every_policy
@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize(("old", "new"), [((7, 5), (3, 1)), ((6, 1), (3, 1)), ((1, 1), (4, 3)), ((7, 5), (9, 4))])
def test_strides_change_nothing(policy: Resample, dim: int, old: Grid, new: Grid) -> None:
    table = random(*old, dim)
    expected = np.einsum(
        "ih,jw,hwd->ijd", *(FORMULAS[policy](a, b) for a, b in zip(old, new, strict=True)), table.double().numpy()
    )
    for order in itertools.permutations(range(3)):
        back = tuple(order.index(axis) for axis in range(3))
        strided = table.permute(order).contiguous().permute(back)
        out = resample_table(strided, new, policy)
        assert out.is_contiguous()
        assert_close(out, torch.from_numpy(expected).float(), atol=1e-5, rtol=0)


@every_policy
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_the_rounded_fp32_result(policy: Resample, dtype: torch.dtype) -> None:
    table = random(7, 6, 4).to(dtype)
    out = resample_table(table, (10, 4), policy)
    assert out.dtype == dtype
    assert torch.equal(out, resample_table(table.float(), (10, 4), policy).to(dtype))


@every_policy
def test_gradient(policy: Resample) -> None:
    table = random(4, 3, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample_table(x, (3, 5), policy), table)
    half = random(4, 3, 2).half().requires_grad_()
    (grad,) = torch.autograd.grad(resample_table(half, (3, 5), policy).sum(), half)
    assert grad.dtype == torch.float16


@every_policy
def test_meta(policy: Resample) -> None:
    out = resample_table(torch.empty(4, 4, 3, device="meta", dtype=torch.bfloat16), (2, 8), policy)
    assert (out.shape, out.dtype, out.device.type) == ((2, 8, 3), torch.bfloat16, "meta")


class Table(torch.nn.Module):
    """A table that follows the picture, as in the model."""

    def __init__(self, policy: Resample) -> None:
        super().__init__()
        self.policy = policy
        self.table = torch.nn.Parameter(random(4, 4, 3))

    def forward(self, picture: Tensor) -> Tensor:
        return resample_table(self.table, (picture.shape[-2], picture.shape[-1]), self.policy)


@every_policy
def test_export(policy: Resample) -> None:
    model, picture = Table(policy), torch.zeros(1, 3, 2, 8)
    exported = torch.export.export(model, (picture,)).module()
    assert_close(exported(picture), model(picture), atol=1e-6, rtol=0)


def test_compiled_models_keep_their_own_policies() -> None:
    torch._dynamo.reset()
    picture = torch.zeros(1, 3, 2, 8)
    with torch._dynamo.config.patch(recompile_limit=len(Resample)):
        for model in map(Table, Resample):
            compiled = torch.compile(model, backend="eager", fullgraph=True)
            assert_close(compiled(picture), model(picture), atol=1e-5, rtol=0)


def test_compiled_patch_kernels_keep_their_own_policies() -> None:
    torch._dynamo.reset()
    kernel = random(4, 3, 8, 8)
    compiled = torch.compile(resample_patch_kernel, backend="aot_eager", fullgraph=True)
    for policy in PatchResample:
        assert_close(
            compiled(kernel, (6, 10), policy), resample_patch_kernel(kernel, (6, 10), policy), atol=1e-6, rtol=0
        )


# Patch kernels. -----------------------------------------------------------------------------------

PATCHES: list[tuple[Grid, Grid]] = [
    ((16, 16), (8, 8)),
    ((16, 16), (14, 14)),
    ((14, 14), (16, 16)),
    ((8, 8), (12, 20)),
    ((12, 6), (5, 9)),
    ((8, 2), (6, 1)),
]


def resize_matrix(policy: PatchResample, old: Grid, new: Grid) -> Matrix:
    """(new pixels, old pixels): how the pixels of a resized patch come from those of the patch."""
    down, across = (PATCH_FORMULAS[policy](a, b) for a, b in zip(old, new, strict=True))
    return np.kron(down, across)


@pytest.mark.proves(
    patch_policy=("flexivit", "timm"), against="its formula by least squares, fp64", tolerance="1e-10; fp32 1e-6"
)
@pytest.mark.proves(
    claim="position tables and patch kernels, every policy",
    against="written formulas",
    tolerance="1e-10; fp32 1e-6",
)
@every_patch_policy
@pytest.mark.parametrize(("old", "new"), PATCHES)
def test_patch_formula(policy: PatchResample, old: Grid, new: Grid) -> None:
    """The kernel of least norm whose tokens of resized patches are nearest to the old ones (FlexiViT, section 3.4)."""
    kernel = random(3, 2, *old, dtype=torch.float64)
    resize = resize_matrix(policy, old, new)
    solved = np.linalg.lstsq(resize.T, kernel.flatten(2).flatten(0, 1).numpy().T)[0].T
    expected = torch.from_numpy(solved).reshape(3, 2, *new)
    assert_close(resample_patch_kernel(kernel, new, policy), expected, atol=1e-10, rtol=0)
    assert_close(resample_patch_kernel(0.1 * kernel.float(), new, policy), 0.1 * expected.float(), atol=1e-6, rtol=0)


# Without the last: there timm's matrix is wrong, because torch 2.15 antialiases wrongly where the new width is 1.
@pytest.mark.proves(
    patch_policy=("flexivit", "timm"),
    against="timm `resample_patch_embed` with the policy's settings",
    tolerance="1e-6",
)
@pytest.mark.parametrize(("old", "new"), PATCHES[:-1])
@pytest.mark.parametrize(
    ("policy", "interpolation", "antialias"),
    [(PatchResample.TIMM, "bicubic", True), (PatchResample.FLEXIVIT, "bilinear", False)],
)
def test_patch_timm(policy: PatchResample, interpolation: str, antialias: bool, old: Grid, new: Grid) -> None:
    kernel = 0.02 * random(8, 3, *old)
    theirs = resample_patch_embed(kernel, list(new), interpolation=interpolation, antialias=antialias)
    assert_close(resample_patch_kernel(kernel, new, policy), theirs, atol=1e-6, rtol=0)


def test_patch_default_is_flexivit() -> None:
    kernel = random(2, 3, 8, 8)
    assert torch.equal(
        resample_patch_kernel(kernel, (12, 12)), resample_patch_kernel(kernel, (12, 12), PatchResample.FLEXIVIT)
    )


def enlarge(patches: Tensor, size: Grid, policy: PatchResample) -> Tensor:
    if policy is PatchResample.FLEXIVIT:
        return F.interpolate(patches, size=size, mode="bilinear")
    return F.interpolate(patches, size=size, mode="bicubic", antialias=True)


@light
@given(st.sampled_from(PatchResample), st.tuples(st.integers(2, 7), st.integers(2, 7)), grids)
def test_enlarged_patches_give_the_same_tokens(policy: PatchResample, old: Grid, extra: Grid) -> None:
    new = (old[0] + extra[0], old[1] + extra[1])
    kernel, patches = random(4, 3, *old, dtype=torch.float64), random(5, 3, *old, dtype=torch.float64)
    tokens = F.conv2d(patches, kernel)
    enlarged = enlarge(patches, new, policy)
    assert_close(F.conv2d(enlarged, resample_patch_kernel(kernel, new, policy)), tokens, atol=1e-8, rtol=0)
    # The control: a kernel that is resized like a picture gives other tokens, whatever their scale.
    naive = F.conv2d(enlarged, enlarge(kernel, new, policy))
    assert torch.nn.functional.cosine_similarity(naive.flatten(), tokens.flatten(), dim=0) < 0.9999


@every_patch_policy
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_patch_is_the_rounded_fp32_result(policy: PatchResample, dtype: torch.dtype) -> None:
    kernel = random(4, 3, 8, 8).to(dtype)
    expected = resample_patch_kernel(kernel.float(), (6, 10), policy)
    out = resample_patch_kernel(kernel, (6, 10), policy)
    assert out.dtype == dtype
    assert torch.equal(out, expected.to(dtype))
    with torch.autocast("cpu", dtype):
        assert torch.equal(resample_patch_kernel(kernel.float(), (6, 10), policy), expected)


@every_patch_policy
def test_patch_identity_gradient_and_meta(policy: PatchResample) -> None:
    kernel = random(2, 1, 4, 3, dtype=torch.float64).requires_grad_()
    assert resample_patch_kernel(kernel, (4, 3), policy) is kernel
    assert torch.autograd.gradcheck(lambda w: resample_patch_kernel(w, (3, 5), policy), kernel)
    out = resample_patch_kernel(torch.empty(2, 3, 8, 8, device="meta"), (6, 4), policy)
    assert (out.shape, out.device.type) == ((2, 3, 6, 4), "meta")
    with torch.device("meta"):
        assert resample_patch_kernel(torch.empty(2, 3, 8, 8), (6, 4), policy).device.type == "meta"


# Wrong input. -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "grid", "message"),
    [
        (
            torch.zeros(1, 16, 4, 4),
            (2, 2),
            r"expected .*\(rows, columns, dim\), found torch.float32 \(1, 16, 4, 4\); .*",
        ),
        (torch.zeros(16, 4), (2, 2), r"expected .*found torch.float32 \(16, 4\); split the prefix slots off.*"),
        (
            torch.zeros(4, 4, 2, dtype=torch.int64),
            (2, 2),
            r"expected a floating-point .*found torch.int64 .*; .*convert.*",
        ),
        (torch.zeros(4, 0, 2), (2, 2), r"expected .*found torch.float32 \(4, 0, 2\); .*"),
        (torch.zeros(4, 4, 2), (0, 4), r"expected a grid of at least 1x1, found 0x4; use a picture .*"),
        (torch.zeros(4, 4, 2), (4, -1), r"expected a grid of at least 1x1, found 4x-1; use a picture .*"),
    ],
)
def test_wrong_table(table: Tensor, grid: Grid, message: str) -> None:
    with pytest.raises(ResampleError, match=f"^{message}$"):
        resample_table(table, grid, Resample.TIMM)


@pytest.mark.parametrize(
    ("kernel", "size", "message"),
    [
        (
            torch.zeros(4, 3, 8),
            (2, 2),
            r"expected .*\(dim, in_chans, height, width\), found torch.float32 \(4, 3, 8\); .*",
        ),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), (2, 2), r"expected a floating-point .*found torch.uint8 .*; .*"),
        (torch.zeros(4, 0, 8, 8), (2, 2), r"expected .*found torch.float32 \(4, 0, 8, 8\); .*"),
        (torch.zeros(4, 3, 8, 8), (8, 0), r"expected a patch of at least 1x1 pixels, found 8x0; give a larger .*"),
    ],
)
def test_wrong_kernel(kernel: Tensor, size: Grid, message: str) -> None:
    with pytest.raises(ResampleError, match=f"^{message}$"):
        resample_patch_kernel(kernel, size)
