"""Perception Encoder's image tower, in our words (facebookresearch/perception_models,
core/vision_encoder/{pe,rope}.py). Names and shapes of the tensors are the authors'."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(dim: int, hidden: int) -> nn.Sequential:
    layers = [("c_fc", nn.Linear(dim, hidden)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(hidden, dim))]
    return nn.Sequential(OrderedDict(layers))


def angles(rows: int, cols: int, head_dim: int, class_token: bool) -> Tensor:
    """(tokens, head_dim): columns, then rows, neighbours alike; the class token stands at 0 and moves patches by 1."""
    bands = 10000.0 ** -(torch.arange(0, head_dim // 2, 2).float() / (head_dim // 2))
    down, across = (((torch.arange(n) + class_token).float()[:, None] * bands) for n in (rows, cols))
    both = torch.cat([across[None].expand(rows, -1, -1), down[:, None].expand(-1, cols, -1)], -1).flatten(0, 1)
    return F.pad(both, (0, 0, int(class_token), 0)).repeat_interleave(2, -1)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        fused = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in fused.chunk(3, -1))
        q, k = (t * angle.cos() + self.quarter(t) * angle.sin() for t in (q, k))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))

    @staticmethod
    def quarter(x: Tensor) -> Tensor:
        """Each pair of neighbours turned by 90 degrees."""
        pairs = x.unflatten(-1, (-1, 2))
        return torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)


class Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int, scaled: bool) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(dim, heads), mlp(dim, hidden)
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ls_1, self.ls_2 = (Scale(dim) if scaled else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        x = x + self.ls_1(self.attn(self.ln_1(x), angle))
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class Transformer(nn.Module):
    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)


class AttentionPooling(nn.Module):
    """One learned query over all tokens, the class token among them."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, dim))
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.layernorm, self.mlp = nn.LayerNorm(dim), mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.probe.expand(len(x), -1, -1), x, x, need_weights=False)[0][:, 0]
        return x + self.mlp(self.layernorm(x))


class VisionTransformer(nn.Module):
    """pool "attn" with a final norm and a projection (PE-core), or "none" without both (PE-lang, PE-spatial)."""

    def __init__(
        self,
        img: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        out: int,
        class_token: bool,
        core: bool,
    ) -> None:
        super().__init__()
        self.heads, self.class_token, self.core, self.side = heads, class_token, core, img // patch
        self.conv1 = nn.Conv2d(3, dim, patch, patch, bias=False)
        self.ln_pre = nn.LayerNorm(dim)
        self.positional_embedding = nn.Parameter(torch.zeros(self.side**2 + class_token, dim))
        if class_token:
            self.class_embedding = nn.Parameter(torch.zeros(dim))
        self.transformer = Transformer([Block(dim, heads, hidden, scaled=not core) for _ in range(depth)])
        if core:
            self.ln_post, self.attn_pool = nn.LayerNorm(dim), AttentionPooling(dim, heads=2)
            self.proj = nn.Parameter(torch.zeros(dim, out))

    def positions(self, rows: int, cols: int) -> Tensor:
        """Bilinear without antialias, where the grid is not the trained one."""
        table = self.positional_embedding
        prefix, grid = table[: int(self.class_token)], table[int(self.class_token) :]
        if (rows, cols) != (self.side, self.side):
            grid = grid.T.unflatten(-1, (self.side, self.side))[None]
            grid = F.interpolate(grid, (rows, cols), mode="bilinear", align_corners=False)[0].flatten(1).T
        return torch.cat([prefix, grid])

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x)
        rows, cols = patches.shape[-2:]
        x = patches.flatten(2).transpose(1, 2)
        if self.class_token:
            x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1)
        x = self.ln_pre(x + self.positions(rows, cols))
        angle = angles(rows, cols, x.shape[-1] // self.heads, self.class_token)
        for block in self.transformer.resblocks:
            x = block(x, angle)
        return self.attn_pool(self.ln_post(x)) @ self.proj if self.core else x
