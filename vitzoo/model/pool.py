"""From the tokens of the last block to one vector a picture."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitzoo.model.layers import ACTIVATIONS, NORMS, Linear
from vitzoo.spec import Pool, ViTSpec


class TokenPool(nn.Module):
    """Base of all pools: (batch, prefix + patches, hidden_dim) -> (batch, pooled_dim)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.num_prefix_tokens = spec.num_prefix_tokens


class ClsPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class ClsDistPool(TokenPool):
    """(batch, 2, hidden_dim): the class and the distillation token, which have a head each."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]


class AvgPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.num_prefix_tokens :].mean(1)


class AvgAllPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class ClsAvgPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 0], x[:, self.num_prefix_tokens :].mean(1)], dim=-1)


class MapPool(TokenPool):
    """Multi-head attention pooling: one learned query attends to the patches, then a residual MLP
    (Set Transformer, https://arxiv.org/abs/1810.00825; big_vision `models/vit.py`, class MAPHead)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__(spec)
        dim = spec.hidden_dim
        self.num_heads = spec.num_heads
        self.probe = nn.Parameter(torch.empty(1, dim))
        self.q = Linear(dim, dim)
        self.kv = Linear(dim, 2 * dim)
        self.proj = Linear(dim, dim)
        self.norm = NORMS[spec.norm](dim, eps=spec.norm_eps)
        self.fc1 = Linear(dim, spec.mlp_dim)
        self.act = ACTIVATIONS[spec.act]()
        self.fc2 = Linear(spec.mlp_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.num_prefix_tokens :]
        batch, tokens, dim = x.shape
        q = (
            self.q(self.probe)
            .view(1, 1, self.num_heads, dim // self.num_heads)
            .transpose(1, 2)
            .expand(batch, -1, -1, -1)
        )
        k, v = self.kv(x).view(batch, tokens, 2, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4).unbind()
        x = self.proj(F.scaled_dot_product_attention(q, k, v).reshape(batch, dim))
        return x + self.fc2(self.act(self.fc1(self.norm(x))))  # type: ignore[no-any-return]


POOLS: dict[Pool, type[TokenPool]] = {
    Pool.CLS: ClsPool,
    Pool.CLS_DIST: ClsDistPool,
    Pool.AVG: AvgPool,
    Pool.AVG_ALL: AvgAllPool,
    Pool.CLS_AVG: ClsAvgPool,
    Pool.MAP: MapPool,
}
