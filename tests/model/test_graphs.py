"""Graphs for other engines against the model itself: fixed, with an open batch, and with open height and width.

`VITZOO_GRAPHS=all` takes every signature, size and engine, which needs an hour; without it a few stand for them.
"""

import os

import pytest
import torch
from engines import ENGINES, NEEDS, SIZES
from signatures import signatures
from torch import Tensor

from vitzoo import ViT
from vitzoo.spec import About, QKVBias, Resample, ViTSpec

SOME = ("beit_b16.in22k_ft_in22k_in1k", "dinov3_7b16.fb_lvd1689m", "sapiens2_5b16.fb", "vit_b16.google_in21k")
"""A bias by distance, rotary positions with stored periods, shared keys, a table."""
EVERYTHING = os.environ.get("VITZOO_GRAPHS") == "all"
NAMES = tuple(signatures()) if EVERYTHING else SOME


def build(spec: ViTSpec, policy: Resample = Resample.TIMM) -> ViT:
    """One block where all are alike, no parameter at its initial value."""
    spec = spec if isinstance(spec.num_kv_heads, tuple) else spec.replace(depth=1)
    model = ViT(spec, About(resample=policy)).init_weights(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not (spec.qkv_bias is QKVBias.QV and name.endswith("qkv.bias")):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def pictures(spec: ViTSpec, sizes: str) -> list[Tensor]:
    """As many shapes as the graph leaves open: for any size five, two of them rectangular."""
    rows, cols = spec.patch_size
    patches = ((5, 7), (8, 8), (2, 6), (3, 3)) if sizes == "any" else ()
    shapes = [spec.img_size, *((rows * down, cols * across) for down, across in patches)]
    counts = (2,) if sizes == "fixed" else (1, 3)
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(n, spec.in_chans, *shape, generator=generator) for shape in shapes for n in counts]


@torch.no_grad()
def difference(engine: str, spec: ViTSpec, sizes: str, policy: Resample = Resample.TIMM) -> float:
    """The largest difference between the graph and the model with policy `timm`, of its largest value."""
    run, model = ENGINES[engine](build(spec, policy), sizes), build(spec)
    found = 0.0
    for x in pictures(spec, sizes):
        ours, theirs = model(x), run(x)
        assert theirs.shape == ours.shape
        assert ours.isfinite().all()
        found = max(found, float((theirs - ours).abs().max() / ours.abs().max()))
    return found


@pytest.mark.proves(
    claim="graphs of ONNX Runtime and OpenVINO with open batch, height and width",
    against="the model itself, at five sizes",
    tolerance="1e-5 of the largest value",
)
@pytest.mark.parametrize("sizes", SIZES if EVERYTHING else ("any",))
@pytest.mark.parametrize("engine", ENGINES if EVERYTHING else ("ONNX Runtime", "OpenVINO"))
@pytest.mark.parametrize("name", NAMES)
def test_a_graph_gives_the_models_numbers(name: str, engine: str, sizes: str) -> None:
    for package in NEEDS[engine]:
        pytest.importorskip(package)
    assert difference(engine, signatures()[name], sizes) <= 1e-5


@pytest.mark.parametrize("policy", [Resample.HUGGINGFACE, Resample.DINOV2, Resample.TORCHVISION])
def test_a_graph_of_another_policy_is_noticed(policy: Resample) -> None:
    assert difference("torch.export", signatures()["vit_b16.google_in21k"], "any", policy) > 1e-3


@pytest.mark.skipif(not EVERYTHING, reason="VITZOO_GRAPHS=all asks for it")
@pytest.mark.parametrize("policy", Resample)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_policy(engine: str, policy: Resample) -> None:
    for package in NEEDS[engine]:
        pytest.importorskip(package)
    spec = signatures()["vit_b16.google_in21k"]
    with torch.no_grad():
        model = build(spec, policy)
        run = ENGINES[engine](model, "any")
        for x in pictures(spec, "any"):
            ours = model(x)
            torch.testing.assert_close(run(x), ours, atol=1e-5 * float(ours.abs().max()), rtol=0)
