"""Initialisation as in the paper's code (google-research/vision_transformer, `vit_jax/models_vit.py`)."""

import torch
from torch import Tensor, nn

from vitzoo.model.layers import LayerNorm, LayerScale, Linear, RMSNorm


@torch.no_grad()
def init_weights(model: nn.Module, generator: torch.Generator | int | None = None) -> None:
    """Fill every parameter of `model` in place.

    Linear layers: Xavier uniform (q, k and v each as a layer of its own), biases normal with std 1e-6.
    Patch projection and pre-logits: LeCun normal. Position table and tokens other than the class token: normal with
    std 0.02. Class token and classifier: zero, the classifier as the paper fine-tunes it (section 3.2).

    `generator` is a torch generator on the parameters' device, or a seed; None draws from torch's global state.
    """
    if isinstance(generator, int):
        generator = torch.Generator(next(model.parameters()).device).manual_seed(generator)
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        match module:
            case nn.Conv2d():
                lecun_normal_(module.weight, generator)
                zero_(module.bias)
            case Linear() if last in ("fc", "fc_dist"):
                zero_(module.weight, module.bias)
            case Linear() if last == "pre_logits":
                lecun_normal_(module.weight, generator)
                zero_(module.bias)
            case Linear():
                # A fused weight holds several square or nearly square layers: each gets its own bounds.
                for part in module.weight.chunk({"qkv": 3, "kv": 2}.get(last, 1)):
                    nn.init.xavier_uniform_(part, generator=generator)
                if module.bias is not None:
                    normal_bias_ = zero_ if last in ("qkv", "q", "kv", "proj") else bias_normal_
                    normal_bias_(module.bias, generator=generator)
            case LayerNorm() | RMSNorm():
                nn.init.ones_(module.weight)
                zero_(getattr(module, "bias", None))
            case LayerScale():
                nn.init.constant_(module.gamma, module.init)
    for name, parameter in model.named_parameters():
        if name == "cls_token":
            zero_(parameter)
        elif name in ("dist_token", "reg_tokens", "pos_embed.grid", "pos_embed.prefix"):
            parameter.normal_(std=0.02, generator=generator)
        elif name.rpartition(".")[2] == "probe":
            nn.init.xavier_uniform_(parameter, generator=generator)


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
