"""What a model is, counted from its spec alone: the shape of every stage, parameters, multiply-adds. No torch."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from vitzoo import registry
from vitzoo.errors import RegistryError
from vitzoo.registry.figures import Figure
from vitzoo.registry.reference import Name, parse
from vitzoo.spec import MLP, Head, Pool, Preprocessing, ViTSpec, WeightsEntry
from vitzoo.spec.multiply_adds import count_macs as count_macs
from vitzoo.spec.tensors import count_parameters as count_parameters


class Stage(NamedTuple):
    """One step of the forward pass for one picture."""

    name: str
    shape: str


@dataclass(frozen=True)
class Info:
    """A model or weights of the registry, or a model at hand."""

    name: str
    spec: ViTSpec
    weights: WeightsEntry | None = None
    tags: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    """Of a model at hand; of weights of the registry it stands there."""
    figures: tuple[Figure, ...] = ()
    """What was published of weights, and of their architecture's speed."""

    @property
    def params(self) -> int:
        return count_parameters(self.spec)

    @property
    def macs(self) -> int:
        return count_macs(self.spec)

    @property
    def stages(self) -> list[Stage]:
        return stages(self.spec)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "params": self.params,
            "macs": self.macs,
            "stages": [stage._asdict() for stage in self.stages],
            "spec": self.spec.model_dump(mode="json"),
            "weights": None if self.weights is None else self.weights.model_dump(mode="json"),
            "tags": list(self.tags),
            "figures": [{**one._asdict(), **registry.measures()[one.measure]} for one in self.figures],
        } | ({} if self.preprocessing is None else {"preprocessing": self.preprocessing.model_dump(mode="json")})


def info(name: str) -> Info:
    """Look up a model, `model.tag` or an alias, in any spelling.

    Raises:
        RegistryError: an unknown name, with the nearest known ones; or a checkpoint, which `create` reads.
    """
    reference = parse(name)
    if not isinstance(reference, Name):
        raise RegistryError(f"{reference} is a checkpoint and not a name in the registry; `vitzoo.create` reads it")
    found = registry.resolve(reference.name)
    tags = tuple(registry.entries_of(found.model))
    if found.tag is None:
        return Info(
            found.model, registry.model_spec(found.model), tags=tags, figures=tuple(registry.figures(found.model))
        )
    full = f"{found.model}.{found.tag}"
    return Info(
        full, registry.entry_spec(full), registry.weights_entry(full), tags, figures=tuple(registry.figures(full))
    )


def no_classes(spec: ViTSpec) -> str:
    """What a model without a classifier is for, and what to use instead."""
    what = f"gives a {spec.output} of a picture, for search and comparison, and names no class"
    if spec.head is Head.PROJECTION:
        what = f"gives a {spec.output} of a picture, which is compared with those of other pictures or of texts"
    return (
        f"this model has no classifier: it {what}; choose weights that were trained on classes "
        "(`vitzoo list '*ft_in1k*'`), or make a classifier of it with `vitzoo finetune`"
    )


def stages(spec: ViTSpec) -> list[Stage]:
    """Every stage with its shape, as the paper counts: rows of tokens, columns of channels."""
    (height, width), (rows, cols), dim = spec.img_size, spec.grid, spec.hidden_dim
    prefix = [
        name for name, there in (("class token", spec.class_token), ("distillation token", spec.dist_token)) if there
    ] + ([f"{spec.reg_tokens} registers"] if spec.reg_tokens else [])
    tokens = spec.num_patches + spec.num_prefix_tokens
    result = [
        Stage("picture", f"{height}x{width}x{spec.in_chans}"),
        Stage("patches", f"{rows}x{cols} patches of {spec.patch_size[0]}x{spec.patch_size[1]}x{spec.in_chans}"),
        Stage("patch embedding", f"{spec.num_patches}x{dim}"),
    ]
    if prefix:
        result.append(Stage(f"with {' and '.join(prefix)}", f"{tokens}x{dim}"))
    result += [
        Stage(f"{spec.depth} blocks: attention", f"{spec.num_heads} heads of {tokens}x{spec.dim_per_head}"),
        Stage(f"{spec.depth} blocks: {'gated ' if spec.mlp is MLP.GATED else ''}MLP", f"{tokens}x{spec.mlp_dim}"),
        Stage(f"pool ({spec.pool})", f"2x{dim}" if spec.pool is Pool.CLS_DIST else str(spec.pooled_dim)),
    ]
    if spec.head is Head.PRE_LOGITS:
        result.append(Stage("pre-logits (tanh)", str(spec.pooled_dim)))
    if spec.num_classes:
        result.append(Stage("logits", str(spec.num_classes)))
    if spec.out_dim:
        result.append(Stage("projection", spec.output))
    return result
