"""Tiny models: sizes that run in milliseconds, and values that hide nothing."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from vitzoo.spec import ViTSpec

Module = TypeVar("Module", bound=nn.Module)

FIELDS: Mapping[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "hidden_dim": 24,
    "depth": 2,
    "num_heads": 3,
    "mlp_dim": 40,
    "num_classes": 5,
}
SMALLEST: Mapping[str, Any] = {**FIELDS, "img_size": 16, "hidden_dim": 16, "depth": 1, "num_heads": 2, "num_classes": 3}


def spec(**changes: Any) -> ViTSpec:
    """A plain ViT of 16 patches."""
    return ViTSpec(**{**FIELDS, **changes})


def timm_arguments(**changes: Any) -> dict[str, Any]:
    """The same sizes as arguments of timm's classes."""
    names = {"hidden_dim": "embed_dim"}
    sizes = {names.get(name, name): value for name, value in FIELDS.items() if name != "mlp_dim"}
    return {**sizes, "mlp_ratio": FIELDS["mlp_dim"] / FIELDS["hidden_dim"], **changes}


@torch.no_grad()
def randomise(model: Module, seed: int = 0, std: float = 0.15) -> Module:
    """Give every parameter a value of its own: default initialisation hides half of all swaps."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        if "norm" in name and name.endswith("weight"):
            parameter.add_(1.0)
        elif "gamma" in name:
            parameter.add_(0.5)
    return model.eval()


@torch.no_grad()
def disturb(model: Module, std: float, seed: int = 1) -> Module:
    """Add a little to every parameter of an initialised model, so that each of them counts."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(std * torch.randn(parameter.shape, generator=generator))
    return model
