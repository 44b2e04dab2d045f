"""DINOv2's network, in our words (facebookresearch/dinov2, dinov2/models/vision_transformer.py and dinov2/layers).

Names and shapes of the tensors are the authors'; masking, stochastic depth and resampling are left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """layers/swiglu_ffn.py: one packed layer, of which the first half goes through SiLU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.w12(x).tensor_split(2, -1)
        return self.w3(up * F.silu(gate))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, ffn: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), ffn
        self.ls1, self.ls2 = Scale(dim), Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1.gamma * self.attn(self.norm1(x))
        return x + self.ls2.gamma * self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)


class DinoVisionTransformer(nn.Module):
    """Tokens after the final norm. With `chunks`, blocks stand in lists that are padded to keep their numbers."""

    def __init__(
        self,
        img: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        gated: bool,
        registers: int,
        chunks: int,
    ) -> None:
        super().__init__()
        self.chunked = chunks > 0
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (img // patch) ** 2, dim))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim))
        self.registers = registers
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        blocks = [Block(dim, heads, (SwiGLU if gated else Mlp)(dim, hidden)) for _ in range(depth)]
        if chunks:
            size = depth // chunks
            blocks = [
                nn.ModuleList([nn.Identity()] * first + blocks[first : first + size]) for first in range(0, depth, size)
            ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        if self.registers:
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], 1)
        for block in [b for chunk in self.blocks for b in chunk] if self.chunked else self.blocks:
            x = block(x)
        return self.norm(x)
