"""torch.export with a height and a width that stay open: the model's numbers at every size, its own among them."""

from typing import Any

import pytest
import tiny
import torch
from torch.export import Dim, export

from vitzoo import ViT
from vitzoo.errors import ResampleError
from vitzoo.spec import About, Resample

PATCH = 8
OPEN = ({2: PATCH * Dim("rows", min=2, max=16), 3: PATCH * Dim("columns", min=2, max=16)},)
BIASES = {"rel_pos": "block", "pos_embed": "none", "qkv_bias": "qv", "final_norm": "pooled", "pool": "avg"}
ROPE = {"pos_embed": "none", "qkv_bias": "qv", "hidden_dim": 48}
KINDS: dict[str, tuple[dict[str, Any], tuple[Resample, ...]]] = {
    "table": ({}, tuple(Resample)),
    "biases": (BIASES, (Resample.TIMM, Resample.HUGGINGFACE)),
    "shared_biases": ({**BIASES, "rel_pos": "shared"}, (Resample.TIMM,)),
    "registers": ({"reg_tokens": 3, "pos_prefix": "none", "pool": "map", "pool_prefix": True}, (Resample.TIMM,)),
    "dinov3": ({**ROPE, "rope": {"kind": "dinov3", "theta": 100.0, "pairs": "halves"}}, (Resample.TIMM,)),
    "axial": ({**ROPE, "rope": {"kind": "axial", "theta": 100.0, "pairs": "neighbours"}}, (Resample.TIMM,)),
}
CASES = [(name, policy) for name, (_, policies) in KINDS.items() for policy in policies]
SIZES = ((32, 32), (40, 56), (32, 48), (48, 32), (16, 24), (64, 64))


def model_of(name: str, policy: Resample | None) -> ViT:
    return tiny.randomise(ViT(tiny.spec(**KINDS[name][0]), About(resample=policy)))


@pytest.mark.proves(
    claim="torch.export with open height and width",
    against="the model itself, each policy, at six sizes",
    tolerance="1e-5",
)
@torch.no_grad()
@pytest.mark.parametrize("example", [(40, 56), (32, 32)])
@pytest.mark.parametrize(("name", "policy"), CASES)
def test_a_program_for_any_size_gives_the_models_numbers(name: str, policy: Resample, example: tuple[int, int]) -> None:
    model = model_of(name, policy)
    program = export(model, (torch.randn(2, 3, *example),), dynamic_shapes=OPEN).module()
    for size in SIZES:
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(program(x), model(x), atol=1e-5, rtol=1e-5)


def test_without_a_policy_a_program_for_any_size_asks_for_one() -> None:
    with pytest.raises(ResampleError, match="choose a policy with resample"):
        export(model_of("table", None), (torch.randn(2, 3, 32, 32),), dynamic_shapes=OPEN)


@torch.no_grad()
def test_one_open_side() -> None:
    for policy in (Resample.TIMM, Resample.HUGGINGFACE):
        model = model_of("biases", policy)
        program = export(model, (torch.randn(2, 3, 40, 32),), dynamic_shapes=({2: OPEN[0][2]},)).module()
        for rows in (32, 40, 64):
            x = torch.randn(2, 3, rows, 32)
            torch.testing.assert_close(program(x), model(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pixels_beyond_the_last_patch_stay_open() -> None:
    """The model's own size is no whole number of patches, and the program's may be any."""
    model = tiny.randomise(ViT(tiny.spec(img_size=36, drop_remainder=True), About(resample=Resample.TIMM)))
    sides = ({2: Dim("rows", min=16, max=128), 3: Dim("columns", min=16, max=128)},)
    program = export(model, (torch.randn(2, 3, 43, 57),), dynamic_shapes=sides).module()
    for size in ((36, 36), (43, 57), (35, 16), (64, 71)):
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(program(x), model(x), atol=1e-5, rtol=1e-5)
