"""An attentive probe: one learned query attends to the tokens of the last block, and a linear classifier follows.

As in CAE (Chen et al. 2022, https://arxiv.org/abs/2202.03026, section 4.1) and V-JEPA (Bardes et al. 2024,
https://arxiv.org/abs/2404.08471, section 4.2): for models whose patches know more than their class token.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitzoo.evaluation.linear import BATCH, batches

RATES = (3e-4, 1e-3, 3e-3)
EPOCHS, STEPS, DECAY = 20, 600, 0.01


class Attentive(nn.Module):
    """(pictures, tokens, dim) -> (pictures, classes)"""

    def __init__(self, dim: int, classes: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(dim), heads
        self.query = nn.Parameter(torch.empty(1, dim))
        self.kv, self.proj, self.fc = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim), nn.Linear(dim, classes)

    def begin(self, generator: torch.Generator) -> "Attentive":
        """Weights of std 0.02, no biases, a classifier of zeros."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("fc.") or name.endswith("bias"):
                    parameter.zero_()
                elif not name.startswith("norm."):
                    parameter.normal_(std=0.02, generator=generator)
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        k, v = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in self.kv(x).chunk(2, -1))
        q = self.query.view(1, self.heads, -1).transpose(0, 1).expand(len(x), -1, -1, -1)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1)
        return self.fc(self.proj(seen))  # type: ignore[no-any-return]


def attended(x: Tensor, targets: Tensor, classes: int, heads: int, rate: float, seed: int) -> Attentive:
    """An attentive probe trained on (pictures, tokens, dim): AdamW, cosine to zero."""
    generator = torch.Generator().manual_seed(seed)
    probe = Attentive(x.shape[-1], classes, heads).begin(generator)
    steps = max(EPOCHS * max(1, len(x) // BATCH), STEPS)
    with torch.enable_grad():
        solver = torch.optim.AdamW(probe.parameters(), lr=rate, weight_decay=DECAY)
        for step, chosen in enumerate(batches(len(x), steps, generator)):
            for group in solver.param_groups:
                group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
            solver.zero_grad()
            F.cross_entropy(probe(x[chosen].float()), targets[chosen]).backward()  # type: ignore[no-untyped-call]
            solver.step()
    return probe.eval()
