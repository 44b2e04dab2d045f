"""The same ViT-B/16 from the same weights, made by vitzoo, its peers and the floor. Imports nothing until asked.

The floor is the least that any of them has to do: map the file, and call torch's functions on the mapped tensors.
"""

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "vit_base_patch16_224.augreg2_in21k_ft_in1k"
SPEC = {"hidden_dim": 768, "depth": 12, "num_heads": 12, "mlp_dim": 3072}
MODULES = {
    "floor": ("torch", "safetensors"),
    "vitzoo": ("vitzoo.checkpoints.create",),
    "timm": ("timm",),
    "transformers": ("transformers.models.vit.modeling_vit",),
}


def import_modules(contender: str) -> None:
    """Import what a program that uses the contender imports at its top."""
    for name in MODULES[contender]:
        importlib.import_module(name)


def use_cache(folder: Path) -> None:
    """Point huggingface_hub, here and in child processes, at the cache in `folder`, without a network."""
    os.environ |= {"HF_HOME": str(folder), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}


def checkpoint(folder: Path) -> Path:
    """The file that vitzoo, timm and the floor read, where huggingface_hub keeps it."""
    return folder / "hub" / f"models--timm--{NAME}" / "snapshots" / ("0" * 40) / "model.safetensors"


def write_checkpoints(folder: Path) -> None:
    """One random ViT-B/16 in the layouts of timm (as a hub cache), torchvision and transformers."""
    import timm
    import torch
    from safetensors.torch import save_file

    import vitzoo

    torch.manual_seed(0)
    model = timm.create_model(NAME)
    with torch.no_grad():
        for parameter in model.parameters():  # timm starts biases and tokens at zero, which would hide mistakes
            parameter.add_(0.02 * torch.randn_like(parameter))
    file = checkpoint(folder)
    file.parent.mkdir(parents=True)
    save_file(model.state_dict(), file, {"format": "pt"})
    (file.parent / "config.json").write_text(json.dumps({"architecture": NAME.partition(".")[0]}))
    refs = file.parents[2] / "refs"
    refs.mkdir()
    (refs / "main").write_text(file.parent.name)

    ours = vitzoo.create(file, like=NAME)
    vitzoo.save(ours, folder / "torchvision.safetensors", layout="torchvision")
    vitzoo.save(ours, folder / "transformers", layout="huggingface")


def create(contender: str, folder: Path) -> Any:
    """A pretrained model in evaluation mode; `logits` calls it."""
    if contender == "vitzoo":
        import vitzoo

        return vitzoo.create(NAME, pretrained=True)
    if contender == "timm":
        import timm

        return timm.create_model(NAME, pretrained=True).eval()
    if contender == "transformers":
        from transformers import ViTForImageClassification

        return ViTForImageClassification.from_pretrained(folder / "transformers").eval()
    if contender == "torchvision":
        from safetensors.torch import load_file
        from torchvision.models import vit_b_16

        model = vit_b_16()
        model.load_state_dict(load_file(folder / "torchvision.safetensors"))
        return model.eval()
    return Floor(checkpoint(folder))


def logits(model: Callable[[Any], Any], x: Any) -> Any:
    """(batch, 3, 224, 224) -> (batch, 1000)."""
    output = model(x)
    return getattr(output, "logits", output)


class Floor:
    """The matrix products of a ViT-B/16 and nothing else, on the tensors of timm's file as they are mapped."""

    def __init__(self, file: Path) -> None:
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            self.tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118

    def to(self, device: str, dtype: Any) -> "Floor":
        self.tensors = {key: tensor.to(device, dtype) for key, tensor in self.tensors.items()}
        return self

    def __call__(self, x: Any) -> Any:
        import torch
        import torch.nn.functional as F

        t, batch, dim = self.tensors, x.shape[0], SPEC["hidden_dim"]

        def linear(name: str, x: Any) -> Any:
            return F.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])

        def norm(name: str, x: Any) -> Any:
            return F.layer_norm(x, (dim,), t[f"{name}.weight"], t[f"{name}.bias"], 1e-6)

        x = F.conv2d(x, t["patch_embed.proj.weight"], t["patch_embed.proj.bias"], stride=16)
        x = torch.cat([t["cls_token"].expand(batch, -1, -1), x.flatten(2).transpose(1, 2)], 1) + t["pos_embed"]
        for block in (f"blocks.{i}" for i in range(SPEC["depth"])):
            qkv = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x))
            q, k, v = qkv.view(batch, -1, 3, SPEC["num_heads"], 64).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
            x = x + linear(f"{block}.attn.proj", mixed)
            x = x + linear(f"{block}.mlp.fc2", F.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))))
        return linear("head", norm("norm", x)[:, 0])
