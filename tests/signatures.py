"""Every distinct computation of the registry, shrunk so that it runs in milliseconds.

A signature is all that a spec says except sizes and magnitudes: two entries that differ in width, in picture size or
in the initial value of a layer scale run the same code.
"""

from enum import Enum
from functools import cache

from vitzoo import registry
from vitzoo.spec import Frozen, Rope, ViTSpec

Choices = frozenset[tuple[str, object]]

UNPUBLISHED: dict[str, dict[str, object]] = {
    "shared relative positions": {"rel_pos": "shared"},
    "lambda of two numbers": {"attention": "diff_dual"},
    "fixed positions": {"pos_embed": "fixed"},
    "fixed positions with registers": {"pos_embed": "fixed", "pos_prefix": "all", "reg_tokens": 2},
    "no pool": {"pool": "none"},
    "width of a head": {"head_dim": 12},
}
"""Computations that the spec offers beside those of the registry's entries, as changes of the smallest plain model."""


def shrink(spec: ViTSpec) -> ViTSpec:
    """The same computation at depth 2 and width 32, on pictures of 4x4 patches."""
    heads = spec.num_kv_heads
    if isinstance(heads, tuple):
        heads = (4, 2) if len(set(heads)) > 1 else (2, 2)
    elif heads is not None:
        heads = 4 if heads == spec.num_heads else 2
    return spec.replace(
        img_size=36 if spec.drop_remainder else 32,
        patch_size=8,
        hidden_dim=32,
        depth=2,
        num_heads=4,
        head_dim=None if spec.head_dim is None else 12,
        num_kv_heads=heads,
        mlp_dim=48,
        reg_tokens=min(spec.reg_tokens, 2),
        # A grid other than the picture's own, or the scaling of patch indices would be the identity.
        rope=None if spec.rope is None else _shrink_rope(spec.rope),
        norm_eps=1e-6,
        layer_scale=None if spec.layer_scale is None else 0.5,
        pool_heads=None if spec.pool_heads is None else 2,
        pool_mlp_dim=None if spec.pool_mlp_dim is None else 40,
        **({"num_classes": min(spec.num_classes, 5)} if spec.out_dim is None else {"out_dim": 5}),
        drop_path_rate=0.0,
    )


def _shrink_rope(rope: Rope) -> Rope:
    ref_grid = None if rope.ref_grid is None else (3, 6)
    return rope.model_copy(update={"theta": 100.0, "offset": float(bool(rope.offset)), "ref_grid": ref_grid})


@cache
def signatures() -> dict[str, ViTSpec]:
    """The distinct shrunk specs, each under the name of the first entry that has it."""
    found: dict[ViTSpec, str] = {}
    for name in registry.list_pretrained():
        found.setdefault(shrink(registry.entry_spec(name)), name)
    plain = shrink(ViTSpec(hidden_dim=32, depth=2, num_heads=4, mlp_dim=48))
    for name, changes in UNPUBLISHED.items():
        found.setdefault(plain.replace(**changes), name)
    return {name: spec for spec, name in found.items()}


def choices(spec: Frozen, prefix: str = "") -> Choices:
    """(field, value) of everything that a signature decides."""
    result: set[tuple[str, object]] = set()
    for field, value in spec:
        if isinstance(value, Frozen):
            result |= choices(value, f"{prefix}{field}.")
        else:
            result.add((prefix + field, value))
    return frozenset(result)


def members(spec: Frozen) -> set[Enum]:
    """The enum values that a spec holds."""
    return {value for _, value in choices(spec) if isinstance(value, Enum)}


@cache
def representatives() -> dict[str, ViTSpec]:
    """A few signatures in which every choice of every signature occurs: each time the one that adds most."""
    rest = {name: choices(spec) for name, spec in signatures().items()}
    missing = frozenset().union(*rest.values())
    taken = {}
    while missing:
        best = max(rest, key=lambda name: len(rest[name] & missing))
        missing -= rest.pop(best)
        taken[best] = signatures()[best]
    return taken
