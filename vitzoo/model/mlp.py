"""The two-layer perceptron of a block, plain or gated."""

from torch import Tensor, nn

from vitzoo.model.layers import ACTIVATIONS, Linear
from vitzoo.spec import MLP, ViTSpec


class PlainMLP(nn.Module):
    """fc2(act(fc1(x)))."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.fc1 = Linear(spec.hidden_dim, spec.mlp_dim, bias=spec.mlp_bias)
        self.act = ACTIVATIONS[spec.act]()
        self.fc2 = Linear(spec.mlp_dim, spec.hidden_dim, bias=spec.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class GatedMLP(nn.Module):
    """fc2(act(gate(x)) * up(x)) (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.gate = Linear(spec.hidden_dim, spec.mlp_dim, bias=spec.mlp_bias)
        self.up = Linear(spec.hidden_dim, spec.mlp_dim, bias=spec.mlp_bias)
        self.act = ACTIVATIONS[spec.act]()
        self.fc2 = Linear(spec.mlp_dim, spec.hidden_dim, bias=spec.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


MLPS: dict[MLP, type[nn.Module]] = {MLP.PLAIN: PlainMLP, MLP.GATED: GatedMLP}
