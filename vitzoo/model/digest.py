"""The digest of a network's tensors, in whatever file they came."""

import hashlib

import torch
from torch import nn


def tensors_digest(module: nn.Module) -> str:
    """The sha256 of all tensors of a module with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        whole = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {whole.dtype} {list(whole.shape)}\n".encode())
        digest.update(whole.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
