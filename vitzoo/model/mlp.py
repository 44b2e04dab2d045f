"""The token-wise network of a block: plain or gated."""

from torch import Tensor, nn

from vitzoo.model.layers import ACTIVATIONS, NORMS, Linear
from vitzoo.spec import MLP, ViTSpec


class PlainMLP(nn.Module):
    """fc2(norm(act(fc1(x)))); the norm where the spec has one."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.fc1 = Linear(spec.hidden_dim, spec.mlp_dim, bias=spec.mlp_bias)
        self.act = ACTIVATIONS[spec.act]()
        self.norm = NORMS[spec.norm](spec.mlp_dim, eps=spec.norm_eps) if spec.mlp_norm else nn.Identity()
        self.fc2 = Linear(spec.mlp_dim, spec.hidden_dim, bias=spec.mlp_out_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(self.act(self.fc1(x))))  # type: ignore[no-any-return]


class GatedMLP(nn.Module):
    """fc2(norm(act(gate(x)) * up(x))) (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.gate = Linear(spec.hidden_dim, spec.mlp_dim, bias=spec.mlp_bias)
        self.up = Linear(spec.hidden_dim, spec.mlp_dim, bias=spec.mlp_bias)
        self.act = ACTIVATIONS[spec.act]()
        self.norm = NORMS[spec.norm](spec.mlp_dim, eps=spec.norm_eps) if spec.mlp_norm else nn.Identity()
        self.fc2 = Linear(spec.mlp_dim, spec.hidden_dim, bias=spec.mlp_out_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(self.act(self.gate(x)) * self.up(x)))  # type: ignore[no-any-return]


MLPS: dict[MLP, type[nn.Module]] = {MLP.PLAIN: PlainMLP, MLP.GATED: GatedMLP}
