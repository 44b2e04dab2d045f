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
        self.first = 0 if spec.pool_prefix else spec.num_prefix_tokens  # of the tokens that are averaged or attended to


class ClsPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class ClsDistPool(TokenPool):
    """(batch, 2, hidden_dim): the class and the distillation token, which have a head each."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]


class AvgPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.first :].mean(1)


class ClsAvgPool(TokenPool):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 0], x[:, self.first :].mean(1)], dim=-1)


class MapPool(TokenPool):
    """Multi-head attention pooling: one learned query attends to the patches, then a residual MLP
    (Set Transformer, https://arxiv.org/abs/1810.00825; big_vision `models/vit.py`, class MAPHead)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__(spec)
        dim, mlp_dim = spec.hidden_dim, spec.pool_mlp_dim or spec.mlp_dim
        self.head_dim = dim // (spec.pool_heads or spec.num_heads)
        self.probe = nn.Parameter(torch.empty(1, dim))
        self.q = Linear(dim, dim)
        self.kv = Linear(dim, 2 * dim)
        self.proj = Linear(dim, dim)
        self.norm = NORMS[spec.norm](dim, eps=spec.norm_eps)
        self.fc1 = Linear(dim, mlp_dim)
        self.act = ACTIVATIONS[spec.act]()
        self.fc2 = Linear(mlp_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.first :]
        q = self.q(self.probe).unflatten(-1, (-1, self.head_dim)).transpose(0, 1).expand(x.shape[0], -1, -1, -1)
        k, v = self.kv(x).chunk(2, -1)
        k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in (k, v))
        x = self.proj(F.scaled_dot_product_attention(q, k, v).flatten(1))
        return x + self.fc2(self.act(self.fc1(self.norm(x))))  # type: ignore[no-any-return]


class NoPool(TokenPool):
    """(batch, prefix + patches, hidden_dim): the head sees every token."""

    def forward(self, x: Tensor) -> Tensor:
        return x


POOLS: dict[Pool, type[TokenPool]] = {
    Pool.CLS: ClsPool,
    Pool.CLS_DIST: ClsDistPool,
    Pool.AVG: AvgPool,
    Pool.CLS_AVG: ClsAvgPool,
    Pool.MAP: MapPool,
    Pool.NONE: NoPool,
}
