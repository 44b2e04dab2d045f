"""A library's own model beside ours: what it gives for pictures, under names that the two share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitzoo.spec import ViTSpec

TOLERANCE = 1e-5
Outputs = Mapping[str, Tensor]
"""By name: "tokens" (batch, tokens, dim), "pooled" (batch, dim), and what `answer` names (batch, outputs)."""


@dataclass(frozen=True)
class Peer:
    """A model under test: `run` gives outputs by name, which two peers share where they mean the same."""

    name: str
    run: Callable[[Tensor], Outputs]
    any_size: bool = True
    tolerance: float = TOLERANCE
    """Largest difference that counts as equal, as a share of the largest value."""


def answer(model: Any, tokens: Tensor, spec: ViTSpec) -> Outputs:
    """What the head of a model in timm's dialect makes of tokens, by the name of what it is; nothing without a head."""
    name = "logits" if spec.num_classes else "embedding" if spec.out_dim else None
    return {} if name is None else {name: model.forward_head(tokens)}
