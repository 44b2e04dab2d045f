"""A model as one traced program, which every engine starts from."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vitzoo.engines.record import Precision, Sizes
from vitzoo.errors import Argument, ExportError, VitzooError
from vitzoo.model import TimmDialect
from vitzoo.spec import Pool, Size, ViTSpec

INPUT = "pictures"
TOKENS, POOLED = "tokens", "pooled"
FEWEST, MOST = 2, 1024
"""Rows and columns of patches: torch takes an axis of length 1 for one that never changes."""
MOST_PICTURES = 1 << 20
CAST = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


class Graph(NamedTuple):
    """A traced program and the names of what it gives."""

    program: ExportedProgram
    outputs: tuple[str, ...]


def answer_of(spec: ViTSpec) -> str:
    """The name of what a model gives when it is called."""
    return "logits" if spec.num_classes else "embedding" if spec.out_dim else POOLED


def outputs_of(spec: ViTSpec, features: bool) -> tuple[str, ...]:
    """The names of the outputs, the answer first; `pooled`, where there is a pool, is what the last layer sees."""
    pooled = () if spec.pool is Pool.NONE else (POOLED,)
    return tuple(dict.fromkeys((answer_of(spec), *((TOKENS, *pooled) if features else ()))))


class Outputs(nn.Module):
    """A model that gives several of its outputs at once, float32, whatever it computes with."""

    def __init__(self, model: TimmDialect, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        tokens = self.model.forward_features(pictures.to(next(self.model.parameters()).dtype))
        found = {answer_of(self.model.spec): self.model.forward_head(tokens), TOKENS: tokens}
        if POOLED in self.names and POOLED not in found:
            found[POOLED] = self.model.forward_head(tokens, pre_logits=True)
        return tuple(found[name].float() for name in self.names)


def traced(model: TimmDialect, sizes: Sizes, names: tuple[str, ...]) -> Graph:
    """Trace the named outputs of a model in evaluation mode, on the CPU.

    Raises:
        ExportError: what the model computes is no graph with these open sizes.
    """
    spec = model.spec
    x = torch.zeros(1 if sizes is Sizes.FIXED else 2, spec.in_chans, *_example(spec, sizes))
    try:
        with torch.no_grad():
            program = torch.export.export(Outputs(model, names).eval(), (x,), dynamic_shapes=(_open(spec, sizes),))
    except VitzooError:
        raise
    except Exception as error:
        first = " ".join(str(error).split())[:200]
        raise ExportError(
            f"this model is no graph for pictures of {_WORDS[sizes]}: {type(error).__name__}: {first}; give ",
            Argument("sizes", (Sizes.BATCH if sizes is Sizes.ANY else Sizes.FIXED).value),
        ) from error
    return Graph(program, names)


_WORDS = {Sizes.ANY: "any size", Sizes.BATCH: "one size in batches", Sizes.FIXED: "one size, one by one"}


def _example(spec: ViTSpec, sizes: Sizes) -> Size:
    """Pixels to trace with: of the model's own size where that is the only one, else of another grid."""
    if sizes is not Sizes.ANY:
        return spec.img_size
    (rows, columns), (down, across) = spec.grid, spec.patch_size
    return (rows + 1) * down, (columns + 3) * across


def _open(spec: ViTSpec, sizes: Sizes) -> dict[int, Any]:
    """The axes of a batch of pictures that stay open."""
    if sizes is Sizes.FIXED:
        return {}
    batch = {0: Dim("batch", min=1, max=MOST_PICTURES)}
    if sizes is Sizes.BATCH:
        return batch
    sides: dict[int, Any] = {}
    for axis, (name, patch) in enumerate(zip(("rows", "columns"), spec.patch_size, strict=True), 2):
        if spec.drop_remainder:
            sides[axis] = Dim(name, min=FEWEST * patch, max=MOST * patch)
        else:
            sides[axis] = patch * Dim(name, min=FEWEST, max=MOST)
    return batch | sides
