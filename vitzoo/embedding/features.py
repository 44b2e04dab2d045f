"""What is taken of a picture's tokens to be its vector."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

from vitzoo.errors import Argument, SpecError
from vitzoo.model.backbone import Tokens
from vitzoo.publish.dialect import ViT
from vitzoo.spec import Head, Pool, ViTSpec


class Features(StrEnum):
    """What a vector is made of."""

    POOLED = "pooled"  # what the head's last layer sees
    PROJECTION = "projection"  # what a projection head gives, to be compared with those of text
    CLS = "cls"  # the class token
    MEAN = "mean"  # the mean of the patches
    CLS_MEAN = "cls_mean"  # both, one after the other
    PATCHES = "patches"  # all patches, row by row: (rows, columns, hidden_dim)


OF_TOKENS: dict[Features, Callable[[Tokens], Tensor]] = {
    Features.CLS: lambda tokens: _cls(tokens),
    Features.MEAN: lambda tokens: tokens.patches.mean(1),
    Features.CLS_MEAN: lambda tokens: torch.cat([_cls(tokens), tokens.patches.mean(1)], 1),
    Features.PATCHES: lambda tokens: tokens.patches.reshape(len(tokens.patches), *tokens.grid, -1),
}
"""From the tokens of a block to (batch, ...)."""


class Extractor(NamedTuple):
    """From a batch of pictures to their vectors."""

    name: Features
    blocks: tuple[int, ...]
    """Numbers of the blocks whose features stand one after the other; none for those of the model's end."""
    function: Callable[[Tensor], Tensor]
    """(batch, in_chans, height, width) -> (batch, *shape)"""


def extractor(vit: ViT, features: str | None = None, blocks: Sequence[int] = ()) -> Extractor:
    """How a model's vectors are made; of a model with a projection its output, else the pooled features, by default.

    Raises:
        SpecError: features that the model does not have, or blocks of what belongs to the model's end.
    """
    name = _named(features, vit.spec)
    if lacking := _lacking(name, vit.spec):
        raise SpecError(f"the model has {lacking}; give ", Argument("features", _usual(vit.spec).value))
    if not blocks:
        return Extractor(name, (), _of_the_end(vit, name))
    if name not in OF_TOKENS:
        raise SpecError(
            f"'{name}' is of the model's end and not of a block; with ",
            Argument("blocks"),
            f" give {', '.join(OF_TOKENS)} as ",
            Argument("features"),
        )
    depth = vit.spec.depth
    if wrong := [block for block in blocks if not -depth <= block < depth]:
        raise SpecError(f"there is no block {wrong[0]}: the model has blocks 0 to {depth - 1}, and -1 is the last")
    numbers = tuple(sorted({block % depth for block in blocks}))
    return Extractor(name, numbers, _of_blocks(vit, name, numbers))


def _named(features: str | None, spec: ViTSpec) -> Features:
    if features is None:
        return _usual(spec)
    try:
        return Features(features)
    except ValueError:
        raise SpecError(f"unknown features '{features}'; there are {', '.join(Features)}") from None


def _usual(spec: ViTSpec) -> Features:
    if spec.head is Head.PROJECTION:
        return Features.PROJECTION
    if spec.pool in (Pool.NONE, Pool.CLS_DIST):
        return Features.CLS if spec.class_token else Features.MEAN
    return Features.POOLED


def _lacking(name: Features, spec: ViTSpec) -> str | None:
    """What features need and a model does not have, in words."""
    if name is Features.PROJECTION and spec.head is not Head.PROJECTION:
        return "no projection"
    if name is Features.POOLED and spec.pool is Pool.NONE:
        return "no pool"
    if name is Features.POOLED and spec.pool is Pool.CLS_DIST:
        return "two pooled features, of the class token and of the distillation token"
    if name in (Features.CLS, Features.CLS_MEAN) and not spec.class_token:
        return "no class token"
    return None


def _of_the_end(vit: ViT, name: Features) -> Callable[[Tensor], Tensor]:
    if name is Features.PROJECTION:
        return vit
    if name is Features.POOLED:
        return lambda x: vit.forward_head(vit.forward_features(x), pre_logits=True)
    return lambda x: OF_TOKENS[name](vit.tokens(x))


def _of_blocks(vit: ViT, name: Features, blocks: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Of each block through the final norm, as DINOv2's evaluation takes them."""

    def function(x: Tensor) -> Tensor:
        found = vit.forward_intermediates(x, blocks, return_prefix_tokens=True, norm=True, intermediates_only=True)
        return torch.cat([OF_TOKENS[name](_tokens(vit.spec, *one)) for one in found], -1)

    return function


def _tokens(spec: ViTSpec, patches: Tensor, prefix: Tensor) -> Tokens:
    """(batch, hidden_dim, rows, columns) and (batch, prefix tokens, hidden_dim) of a block, each under its name."""
    first_register = spec.class_token + spec.dist_token
    return Tokens(
        cls=prefix[:, 0] if spec.class_token else None,
        dist=prefix[:, 1] if spec.dist_token else None,
        registers=prefix[:, first_register:],
        patches=patches.flatten(2).transpose(1, 2),
        grid=(patches.shape[2], patches.shape[3]),
    )


def _cls(tokens: Tokens) -> Tensor:
    assert tokens.cls is not None, "asked of models with a class token alone"
    return tokens.cls
