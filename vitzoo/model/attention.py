"""Multi-head self-attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762)."""

import torch.nn.functional as F
from torch import Tensor, nn

from vitzoo.model.layers import NORMS, Linear
from vitzoo.spec import QKVBias, ViTSpec


class Attention(nn.Module):
    """softmax(q k^T / sqrt(head_dim)) v for each head, with one fused projection for q, k and v.

    The fused weight holds the query's rows, then the key's, then the value's; each of them head by head.
    """

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.num_heads, self.head_dim = spec.num_heads, spec.dim_per_head
        self.qkv = Linear(spec.hidden_dim, 3 * spec.attn_dim, bias=spec.qkv_bias is not QKVBias.NONE)
        norm = NORMS[spec.norm]
        self.q_norm = norm(spec.dim_per_head, eps=spec.norm_eps) if spec.qk_norm else None
        self.k_norm = norm(spec.dim_per_head, eps=spec.norm_eps) if spec.qk_norm else None
        self.proj = Linear(spec.attn_dim, spec.hidden_dim, bias=spec.proj_bias)
        if spec.qkv_bias is QKVBias.QV:
            # The key's bias does not exist: the zeros that stand for it must stay zeros while training.
            self.qkv.bias.register_hook(self._without_key)  # type: ignore[no-untyped-call]

    def _without_key(self, grad: Tensor) -> Tensor:
        grad = grad.clone()
        grad[grad.shape[0] // 3 : 2 * grad.shape[0] // 3] = 0
        return grad

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, hidden_dim) -> the same."""
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind()
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, self.num_heads * self.head_dim))  # type: ignore[no-any-return]
