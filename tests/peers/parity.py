"""A layout against the peer that writes it: the file read back, outputs, the export, and what a swap does to them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitzoo import ViT
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.placement import view
from vitzoo.spec import About, Resample, ViTSpec
from vitzoo.spec.tensors import native_shapes

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def saved(folder: Path, state: Any) -> Any:
    """What stands on disk after the peer's own `torch.save`."""
    torch.save(state, folder / "weights.pth")
    return torch.load(folder / "weights.pth", weights_only=True)


def imported(layout: Layout, spec: ViTSpec, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Native tensors, and the reason for each one of the file's that was dropped."""
    binding = layout.bind(spec, writing=True)
    placed = view(layout, {key: tuple(t.shape) for key, t in state.items()})
    keys = {**placed.names, **{key: key for key in placed.strange}}
    tensors = {name: state[key] for name, key in keys.items()}
    dropped = binding.check({name: tuple(t.shape) for name, t in tensors.items()}, "the file")
    return binding.import_all(tensors), {**placed.left, **{keys[name]: reason for name, reason in dropped.items()}}


def exported(layout: Layout, spec: ViTSpec, native: dict[str, Tensor]) -> dict[str, Tensor]:
    binding = layout.bind(spec, writing=True)
    names = layout.written(binding.stored)
    return {names[name]: tensor.clone() for name, tensor in binding.export_all(native).items()}


def built(spec: ViTSpec, native: dict[str, Tensor], resample: Resample = Resample.TIMM) -> ViT:
    model = ViT(spec, About(resample=resample))
    model.load_state_dict(native)
    return model.eval()


@torch.no_grad()
def check(
    layout: Layout,
    spec: ViTSpec,
    peer: nn.Module,
    state: dict[str, Tensor],
    expected: Tensor,
    swap: tuple[str, str],
    free: tuple[str, ...] = (),
) -> ViT:
    """Outputs at 1e-5; the export is the peer's state dict byte for byte, but for `free`; a swap of two shows.

    `expected` is what the peer computes from X; `state` is the file, perhaps with more around the peer's tensors.
    """
    native, _ = imported(layout, spec, state)
    model = built(spec, native)
    torch.testing.assert_close(model(X), expected, rtol=1e-5, atol=1e-5)
    back, own = exported(layout, spec, native), peer.state_dict()
    assert back.keys() == own.keys() - {key for key in free if key not in back}
    for key, tensor in back.items():
        assert key in free or torch.equal(tensor, own[key]), key
    peer.load_state_dict({**own, **back} if back.keys() != own.keys() else back, strict=True)
    a, b = swap
    swapped, _ = imported(layout, spec, {**state, a: state[b], b: state[a]})
    assert (built(spec, swapped)(X) - expected).abs().max() > 1e-3
    return model


def random_tensors(spec: ViTSpec) -> dict[str, Tensor]:
    """Bits of every kind, with zeros where the spec says that there is no bias."""
    generator = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in native_shapes(spec).items()}
    for key, tensor in tensors.items():
        if key.endswith("qkv.bias") and spec.qkv_bias == "qv":
            tensor[spec.attn_dim : 2 * spec.attn_dim] = 0.0
        elif key.endswith("weight"):
            odd = torch.tensor([float("nan"), float("inf"), -0.0])
            tensor.view(-1)[:3] = odd[: tensor.numel()]
    return tensors


def round_trip(layout: Layout, spec: ViTSpec) -> None:
    tensors, binding = random_tensors(spec), layout.bind(spec, writing=True)
    stored = binding.export_all(tensors)
    assert {key: tuple(t.shape) for key, t in stored.items()} == binding.stored
    back = binding.import_all(stored)
    assert back.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert torch.equal(back[key].contiguous().view(torch.int32), tensor.view(torch.int32)), key


def largest(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()
