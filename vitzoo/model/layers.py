"""Linear layers, norms and small parts that every block uses.

None of them draws random numbers when it is built: parameters stay as they were allocated until weights are
assigned or `ViT.init_weights` is called.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitzoo.spec import Activation, Norm


class Linear(nn.Linear):
    """`torch.nn.Linear` without its initialisation."""

    def reset_parameters(self) -> None:
        """Leave the parameters as they were allocated; `ViT.init_weights` fills them."""


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm`; its scale of ones is cheap and stays."""


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467), computed in fp32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, eps=self.eps).to(x.dtype) * self.weight


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the GELU of the released CLIP weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class GELUTanh(nn.GELU):
    """The tanh approximation of GELU, which flax uses by default."""

    def __init__(self) -> None:
        super().__init__(approximate="tanh")


class LayerScale(nn.Module):
    """A learned factor for each channel (CaiT, https://arxiv.org/abs/2103.17239)."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.init = init
        self.gamma = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth: drops a sample's whole residual branch while training (https://arxiv.org/abs/1603.09382).

    Branches that are kept are divided by the keep rate, so that evaluation needs no change.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], 1, 1).bernoulli_(keep)
        return x * mask / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


NORMS: dict[Norm, type[nn.Module]] = {Norm.LAYER: LayerNorm, Norm.RMS: RMSNorm}

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    Activation.GELU: nn.GELU,
    Activation.GELU_TANH: GELUTanh,
    Activation.QUICK_GELU: QuickGELU,
    Activation.SILU: nn.SiLU,
}
