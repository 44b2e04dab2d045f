"""Initialisation as in the paper's code (google-research/vision_transformer, `vit_jax/models_vit.py`)."""

import torch
from torch import Tensor, nn

from vitzoo.model.attention import LAMBDA_VECTORS, Attention
from vitzoo.model.layers import LayerNorm, LayerScale, Linear, RMSNorm
from vitzoo.model.position import RelPosTable, Rotary
from vitzoo.spec import RopeKind


@torch.no_grad()
def init_weights(model: nn.Module, generator: torch.Generator | int | None = None) -> None:
    """Fill every parameter of `model` in place.

    Linear layers: Xavier uniform (q, k and v each as a layer of its own), biases normal with std 1e-6.
    Patch projection and pre-logits: LeCun normal. Position table and tokens other than the class token: normal with
    std 0.02. Class token, relative positions and classifier: zero, the classifier as the paper fine-tunes it
    (section 3.2).

    `generator` is a torch generator on the parameters' device, or a seed; None draws from torch's global state.
    """
    if isinstance(generator, int):
        generator = torch.Generator(next(model.parameters()).device).manual_seed(generator)
    for name, module in model.named_modules():
        init_module_(module, name.rpartition(".")[2], generator)
    for name, parameter in model.named_parameters():
        init_parameter_(parameter, name, generator)


def init_module_(module: nn.Module, name: str, generator: torch.Generator | None) -> None:
    """Fill the parameters of one module, which its parent calls `name`."""
    match module:
        case nn.Conv2d():
            lecun_normal_(module.weight, generator)
            zero_(module.bias)
        case Linear():
            init_linear_(module, name, generator)
        case Attention():
            # The fused weight holds three square or nearly square layers: each gets its own bounds.
            for part in torch.split(module.qkv.weight, list(module.split)):
                nn.init.xavier_uniform_(part, generator=generator)
        case Rotary():
            init_rotary_(module, generator)
        case RelPosTable():
            zero_(module.grid, module.prefix)
        case LayerNorm() | RMSNorm():
            nn.init.ones_(module.weight)
            zero_(getattr(module, "bias", None))
        case LayerScale():
            nn.init.constant_(module.gamma, module.init)


def init_linear_(layer: Linear, name: str, generator: torch.Generator | None) -> None:
    """Fill a linear layer; the weight of `qkv` is filled with its attention."""
    if name in ("fc", "fc_dist"):
        zero_(layer.weight, layer.bias)
        return
    if name == "pre_logits":
        lecun_normal_(layer.weight, generator)
        zero_(layer.bias)
        return
    if name != "qkv":
        for part in layer.weight.chunk(2 if name == "kv" else 1):
            nn.init.xavier_uniform_(part, generator=generator)
    if layer.bias is not None:
        normal_bias_ = zero_ if name in ("qkv", "q", "kv", "proj") else bias_normal_
        normal_bias_(layer.bias, generator=generator)


def init_parameter_(parameter: Tensor, name: str, generator: torch.Generator | None) -> None:
    """Fill a parameter that stands in no layer of its own, by its name in the model."""
    last = name.rpartition(".")[2]
    if name == "cls_token" or last in ("lambda_a", "lambda_b"):
        zero_(parameter)
    elif name in ("dist_token", "reg_tokens", "pos_embed.grid", "pos_embed.prefix"):
        parameter.normal_(std=0.02, generator=generator)
    elif last == "probe":
        nn.init.xavier_uniform_(parameter, generator=generator)
    elif last in LAMBDA_VECTORS:
        parameter.normal_(std=0.1, generator=generator)


def init_rotary_(rotary: Rotary, generator: torch.Generator | None) -> None:
    """Mixed: one plane wave a band, turned at random for each block and head (RoPE-ViT, `init_random_2d_freqs`)."""
    if rotary.rope.stored:
        rotary.periods.copy_(rotary.default_periods(rotary.periods))
    if rotary.rope.kind is RopeKind.MIXED:
        _, depth, heads, _ = rotary.freqs.shape
        device = rotary.freqs.device
        lengths = rotary.rope.theta ** -(torch.arange(rotary.bands, device=device) / rotary.bands)
        angles = 2 * torch.pi * torch.rand(depth, heads, 1, device=device, generator=generator)
        angles = torch.stack([angles, angles - torch.pi / 2])  # the second: rows of the first
        waves = torch.cat([angles.cos(), (angles + torch.pi / 2).cos()], -1)
        rotary.freqs.copy_(waves.repeat_interleave(rotary.bands, -1) * lengths.repeat(2))


def lecun_normal_(weight: Tensor, generator: torch.Generator | None) -> None:
    """Truncated normal with variance 1 / fan_in, flax's default for kernels."""
    # flax divides by the standard deviation of a unit normal truncated at 2.
    std = weight[0].numel() ** -0.5 / 0.87962566
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)


def bias_normal_(bias: Tensor, generator: torch.Generator | None) -> None:
    bias.normal_(std=1e-6, generator=generator)


def zero_(*tensors: Tensor | None, generator: torch.Generator | None = None) -> None:
    for tensor in tensors:
        if tensor is not None:
            tensor.zero_()
