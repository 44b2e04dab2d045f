"""torchvision's own model of a file that it reads."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from vitzoo.extras import needs
from vitzoo.layouts.peer import Outputs, Peer
from vitzoo.spec import Head, ViTSpec


def peer(file: Path, spec: ViTSpec) -> Peer:
    """torchvision's class with the tensors of the file. Without classes its classifier, which is always there, is cut.

    Raises:
        MissingExtra: torchvision is not installed.
    """
    with needs("torchvision"):
        import torchvision

    model = torchvision.models.VisionTransformer(
        spec.img_size[0],
        spec.patch_size[0],
        spec.depth,
        spec.num_heads,
        spec.hidden_dim,
        spec.mlp_dim,
        num_classes=spec.num_classes or 1,
        norm_layer=partial(nn.LayerNorm, eps=spec.norm_eps),
        representation_size=spec.hidden_dim if spec.head is Head.PRE_LOGITS else None,
    ).eval()
    if not spec.num_classes:
        del model.heads.head
    model.load_state_dict(torch.load(file, weights_only=True))
    classifier = model.heads.head if spec.num_classes else nn.Identity()
    model.heads.head = nn.Identity()

    def run(x: Tensor) -> Outputs:
        seen: list[Tensor] = []
        with model.encoder.register_forward_hook(lambda module, given, tokens: seen.append(tokens)):
            pooled = model(x)
        return {"tokens": seen[0], "pooled": pooled} | ({"logits": classifier(pooled)} if spec.num_classes else {})

    return Peer(f"torchvision {torchvision.__version__}, VisionTransformer", run, any_size=False)
