"""Multi-head self-attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762) and its differential form."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitzoo.model.layers import NORMS, Linear, RMSNorm
from vitzoo.model.position import Place, RelPosTable, rotate
from vitzoo.spec import AttentionKind, QKVBias, RelPos, ViTSpec


class KeylessLinear(Linear):
    """The fused projection of q, k and v where the key has no bias.

    The zeros that stand for it get a zero gradient. A hook on the bias would be lost when a model is copied, pickled
    or given its weights by assignment.
    """

    def __init__(self, dim: int, split: tuple[int, int, int]) -> None:
        super().__init__(dim, sum(split))
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.split(self.bias, list(self.split))
        return F.linear(x, self.weight, torch.cat([q, k.detach(), v]))


class Attention(nn.Module):
    """softmax(q k^T / sqrt(head_dim) + bias) v for each head, with one fused projection for q, k and v.

    The fused weight holds the query's rows, then the key's, then the value's; each of them head by head. With fewer
    heads of keys and values, neighbouring queries share one (https://arxiv.org/abs/2305.13245).
    """

    def __init__(self, spec: ViTSpec, number: int) -> None:
        super().__init__()
        self.head_dim = spec.dim_per_head
        kv_dim = spec.kv_heads[number] * self.head_dim
        self.split = (spec.attn_dim, kv_dim, kv_dim)
        self.sharing = spec.num_heads // spec.kv_heads[number]  # queries that share a head of keys and values
        self.qkv = (
            KeylessLinear(spec.hidden_dim, self.split)
            if spec.qkv_bias is QKVBias.QV
            else Linear(spec.hidden_dim, sum(self.split), bias=spec.qkv_bias is QKVBias.ALL)
        )
        norm = NORMS[spec.norm]
        width = self.normed_dim(spec)
        self.q_norm = norm(width, eps=spec.norm_eps) if spec.qk_norm else nn.Identity()
        self.k_norm = norm(width, eps=spec.norm_eps) if spec.qk_norm else nn.Identity()
        self.rel_pos = RelPosTable(spec) if spec.rel_pos is RelPos.BLOCK else None
        self.norm = norm(spec.attn_dim, eps=spec.norm_eps) if spec.attn_norm else nn.Identity()
        self.proj = Linear(spec.attn_dim, spec.hidden_dim, bias=spec.proj_bias)

    def normed_dim(self, spec: ViTSpec) -> int:
        """Width of one query, which the norm of queries and keys sees."""
        return spec.dim_per_head

    def forward(self, x: Tensor, place: Place) -> Tensor:
        """(batch, tokens, hidden_dim) -> the same; `place` says where the tokens are."""
        x = self.mix(*self.parts(x, place)).transpose(1, 2).flatten(2)
        return self.proj(self.norm(x))  # type: ignore[no-any-return]

    def parts(self, x: Tensor, place: Place) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys and values (batch, heads, tokens, head_dim), and what is added to the logits.

        Queries and keys are turned already, keys and values there for each query's head; the bias is broadcast to
        (batch, heads, tokens, tokens).
        """
        q, k, v = self.qkv(x).split(self.split, -1)
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in (q, k, v))
        bias = place.bias
        if self.rel_pos is not None:
            bias = self.rel_pos(place.grid) if bias is None else self.rel_pos(place.grid) + bias
        q, k = self.normed(q, k)
        if place.turn is not None:
            q, k = rotate(q, place.turn), rotate(k, place.turn)
        if self.sharing > 1:  # not enable_gqa, which OpenVINO does not know
            k, v = (part.unsqueeze(2).expand(-1, -1, self.sharing, -1, -1).flatten(1, 2) for part in (k, v))
        return q, k, v, bias

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys after their norms."""
        return self.q_norm(q), self.k_norm(k)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """What `parts` gives -> the values that each head attends to, (batch, heads, tokens, head_dim)."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        """How much of each token's value (last axis) a token takes: (batch, heads, tokens, tokens)."""
        return _softmax(q, k, bias)


def _softmax(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    logits = q @ k.mT / math.sqrt(q.shape[-1])
    return (logits if bias is None else logits + bias).softmax(-1)


class DiffAttention(Attention):
    """(softmax(q1 k1^T) - lambda softmax(q2 k2^T)) v with RMS norm of each head (https://arxiv.org/abs/2410.05258).

    q1 and q2 are the halves of a head's channels. lambda = exp(a) - exp(b) + init; a and b are products of two learned
    vectors each (equation 2), or learned numbers. init rises with the block's number (section 2.1).
    """

    def __init__(self, spec: ViTSpec, number: int) -> None:
        super().__init__(spec, number)
        half = spec.dim_per_head // 2
        self.init = 0.8 - 0.6 * math.exp(-0.3 * number)
        names = ("lambda_a", "lambda_b") if spec.attention is AttentionKind.DIFF_DUAL else LAMBDA_VECTORS
        shape = () if spec.attention is AttentionKind.DIFF_DUAL else (half,)
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self.dual = spec.attention is AttentionKind.DIFF_DUAL
        self.sub_norm = RMSNorm(spec.dim_per_head, eps=1e-5)

    def normed_dim(self, spec: ViTSpec) -> int:
        return spec.dim_per_head // 2

    def exponents(self) -> tuple[Tensor, Tensor]:
        """a and b of lambda = exp(a) - exp(b) + init."""
        if self.dual:
            return self.lambda_a, self.lambda_b  # type: ignore[return-value]
        q1, k1, q2, k2 = (getattr(self, name) for name in LAMBDA_VECTORS)
        return (q1 * k1).sum().float(), (q2 * k2).sum().float()

    def factor(self) -> Tensor:
        """lambda"""
        a, b = self.exponents()
        return a.exp() - b.exp() + self.init

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Each half has a norm of its own."""
        q, k = (part.unflatten(-1, (2, -1)) for part in (q, k))  # type: ignore[no-untyped-call]
        return self.q_norm(q).flatten(-2), self.k_norm(k).flatten(-2)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The halves of each head's channels."""
        first, second = x.chunk(2, -1)
        return first, second

    def mix(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        (q1, q2), (k1, k2) = self.halves(q), self.halves(k)
        first, second = (F.scaled_dot_product_attention(a, b, v, attn_mask=bias) for a, b in ((q1, k1), (q2, k2)))
        mixed = first - self.factor().to(q.dtype) * second
        return self.sub_norm(mixed) * (1 - self.init)  # type: ignore[no-any-return]

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        """The difference, which may be negative; values are normed by head after it."""
        (q1, q2), (k1, k2) = self.halves(q), self.halves(k)
        first, second = _softmax(q1, k1, bias), _softmax(q2, k2, bias)
        return first - self.factor().to(q.dtype) * second


LAMBDA_VECTORS = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")

ATTENTIONS: dict[AttentionKind, type[Attention]] = {
    AttentionKind.SOFTMAX: Attention,
    AttentionKind.DIFF: DiffAttention,
    AttentionKind.DIFF_DUAL: DiffAttention,
}
