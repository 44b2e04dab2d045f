"""DINOv3's network, in our words (facebookresearch/dinov3, dinov3/models/vision_transformer.py,
dinov3/layers/{attention,ffn_layers,rope_position_encoding}.py), with the settings of its hub.

Names and shapes of the tensors are the authors'; masking and stochastic depth are left out.
"""

import math

import torch
import torch.nn.functional as F
from peers.dinov2 import Mlp, PatchEmbed, Scale
from torch import Tensor, nn


class KeyMaskedLinear(nn.Linear):
    """The bias is multiplied by a stored mask, NaN until the model is initialised."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3 * dim)
        self.register_buffer("bias_mask", torch.full((3 * dim,), math.nan))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias * self.bias_mask)


class SwiGLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = nn.Linear(dim, hidden), nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.w3(F.silu(self.w1(x)) * self.w2(x))


class Rope(nn.Module):
    """Cell centres in [-1, 1] on both axes, turned by 2 pi over the stored periods."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("periods", 100.0 ** (2 * torch.arange(head_dim // 4) / (head_dim // 2)))

    def forward(self, rows: int, cols: int) -> tuple[Tensor, Tensor]:
        down, across = (((torch.arange(n) + 0.5) / n) * 2 - 1 for n in (rows, cols))
        places = torch.cartesian_prod(down, across)
        angles = (2 * math.pi * places[:, :, None] / self.periods).flatten(1).tile(2)
        return angles.sin(), angles.cos()


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = KeyMaskedLinear(dim), nn.Linear(dim, dim)

    def turn(self, x: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
        sin, cos = waves
        first = x.shape[2] - len(sin)
        a, b = x[:, :, first:].chunk(2, -1)
        turned = x[:, :, first:] * cos + torch.cat([-b, a], -1) * sin
        return torch.cat([x[:, :, :first], turned], 2)

    def forward(self, x: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        q, k = self.turn(q, waves), self.turn(k, waves)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-5), nn.LayerNorm(dim, eps=1e-5)
        self.attn, self.mlp = Attention(dim, heads), (SwiGLU if gated else Mlp)(dim, hidden)
        self.ls1, self.ls2 = Scale(dim), Scale(dim)

    def forward(self, x: Tensor, waves: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.ls1.gamma * self.attn(self.norm1(x), waves)
        return x + self.ls2.gamma * self.mlp(self.norm2(x))


class DinoVisionTransformer(nn.Module):
    """Tokens after the final norm; the authors' features are the first of them, the class token."""

    def __init__(
        self, patch: int, dim: int, depth: int, heads: int, hidden: int, gated: bool, registers: int, local_norm: bool
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.storage_tokens = nn.Parameter(torch.zeros(1, registers, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.rope_embed = Rope(dim // heads)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, gated) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        if local_norm:
            self.local_cls_norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed.proj(x)
        waves = self.rope_embed(*patches.shape[-2:])
        prefix = (token.expand(len(x), -1, -1) for token in (self.cls_token, self.storage_tokens))
        x = torch.cat([*prefix, patches.flatten(2).transpose(1, 2)], 1)
        for block in self.blocks:
            x = block(x, waves)
        return self.norm(x)
