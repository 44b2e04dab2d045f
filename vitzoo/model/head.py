"""From the pooled vector to the logits or the embedding. `features` is what `forward_head(pre_logits=True)` returns."""

import torch
from torch import Tensor, nn

from vitzoo.model.layers import Linear
from vitzoo.spec import Head, ViTSpec


def _classifier(spec: ViTSpec) -> Linear | nn.Identity:
    return Linear(spec.pooled_dim, spec.num_classes, bias=spec.head_bias) if spec.num_classes else nn.Identity()


class LinearHead(nn.Module):
    """One linear classifier; with num_classes 0 the features pass through."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.fc = _classifier(spec)

    def features(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))  # type: ignore[no-any-return]


class PreLogitsHead(LinearHead):
    """A tanh layer before the classifier, as ViT was pretrained (ViT, section 3.1: "MLP with one hidden layer")."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__(spec)
        self.pre_logits = Linear(spec.pooled_dim, spec.pooled_dim)

    def features(self, x: Tensor) -> Tensor:
        return torch.tanh(self.pre_logits(x))


class DistilledHead(nn.Module):
    """One classifier for the class token and one for the distillation token; their logits are averaged (DeiT)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.fc = _classifier(spec)
        self.fc_dist = _classifier(spec)

    def features(self, x: Tensor) -> Tensor:
        return x.mean(1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.fc(x[:, 0]) + self.fc_dist(x[:, 1])) / 2  # type: ignore[no-any-return]


class ProjectionHead(nn.Module):
    """One linear layer to an embedding of out_dim, which is compared with others and names no class (CLIP)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        assert spec.out_dim is not None
        self.proj = Linear(spec.pooled_dim, spec.out_dim, bias=spec.head_bias)

    def features(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(batch, pooled_dim) -> (batch, out_dim)."""
        return self.proj(x)  # type: ignore[no-any-return]


LAST = ("fc", "fc_dist", "proj")
"""The layers that give the answer, by their names in a head."""

HEADS: dict[Head, type[nn.Module]] = {
    Head.LINEAR: LinearHead,
    Head.PRE_LOGITS: PreLogitsHead,
    Head.DISTILLED: DistilledHead,
    Head.PROJECTION: ProjectionHead,
}
