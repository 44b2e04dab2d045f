"""The native tensors as a table: each one's name, its axes, and what a spec has to say for a model to have it.

Read forwards, the table gives the names and shapes of every tensor of a spec, without torch. Read backwards, it says
what names and shapes show of a spec: which fields the presence of a tensor asks for, and which sizes its axes are.
`{i}` in a name runs over the blocks. An axis is a number or a size by name; `RELATIONS` says how sizes hang together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Any, Final

from vitzoo.spec.architecture import (
    MLP,
    AttentionKind,
    BlockKind,
    FinalNorm,
    Head,
    Norm,
    Pool,
    PosEmbed,
    QKVBias,
    RelPos,
    RopeKind,
    ViTSpec,
)
from vitzoo.spec.base import Shape

Axis = str | int


class _Some:
    """Stands for any value but none: more than zero, given, true."""

    def __repr__(self) -> str:
        return "some"


SOME: Final = _Some()
When = Mapping[str, Any]
"""Fields of a spec (`rope.kind` for one of a field), each with a value, a tuple of values, or `SOME`."""


@dataclass(frozen=True)
class Native:
    """A tensor that a model has if its spec has all of `when`."""

    name: str
    axes: tuple[Axis, ...]
    when: When = field(default_factory=dict)


@dataclass(frozen=True)
class Term:
    """A product of sizes, taken `factor` times."""

    factor: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equation:
    """Terms that add up to a number."""

    terms: tuple[Term, ...]
    total: int
    shown: str = ""
    """The tensor that says so, with its shape."""


def admits(allowed: Any, value: Any) -> bool:
    """Whether a value is the one, among those, or some where `SOME` is asked for."""
    if isinstance(allowed, tuple):
        return any(admits(one, value) for one in allowed)
    return bool(value) if allowed is SOME else bool(value == allowed)


def spec_field(spec: ViTSpec, name: str) -> Any:
    """A field of the spec; `rope.kind` for one of a field."""
    value: Any = spec
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    return value


def _linear(name: str, rows: Axis, cols: Axis, bias: When | None = None, **when: Any) -> tuple[Native, ...]:
    return (
        Native(f"{name}.weight", (rows, cols), when),
        Native(f"{name}.bias", (rows,), {**when, **(bias or {})}),
    )


def _norm(name: str, width: Axis, **when: Any) -> tuple[Native, ...]:
    return (
        Native(f"{name}.weight", (width,), when),
        Native(f"{name}.bias", (width,), {**when, "norm": Norm.LAYER}),
    )


def _rel_pos(name: str, kind: RelPos) -> tuple[Native, ...]:
    return (
        Native(f"{name}.grid", ("rel_rows", "rel_cols", "num_heads"), {"rel_pos": kind}),
        Native(f"{name}.prefix", (3, "num_heads"), {"rel_pos": kind}),
    )


BLOCK, DIM = "blocks.{i}", "hidden_dim"
POSITIONS: When = {"pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED)}
DIFFERENTIAL = (AttentionKind.DIFF, AttentionKind.DIFF_DUAL)
IN_SEQUENCE = (BlockKind.PRE_NORM, BlockKind.POST_NORM)

TABLE: tuple[Native, ...] = (
    Native("cls_token", (1, DIM), {"class_token": True}),
    Native("dist_token", (1, DIM), {"dist_token": True}),
    Native("reg_tokens", ("reg_tokens", DIM), {"reg_tokens": SOME}),
    *(
        Native("patch_embed.proj.weight", (DIM, "in_chans", "patch_rows", "patch_cols")),
        Native("patch_embed.proj.bias", (DIM,), {"patch_bias": True}),
        *_norm("patch_embed.norm", DIM, patch_norm=True),
    ),
    Native("pos_embed.grid", ("rows", "cols", DIM), POSITIONS),
    Native("pos_embed.prefix", ("num_pos_prefix", DIM), {**POSITIONS, "num_pos_prefix": SOME}),
    *_norm("norm_pre", DIM, norm_pre=True),
    Native("rope.freqs", (2, "depth", "num_heads", "half_head"), {"rope.kind": RopeKind.MIXED}),
    Native("rope.periods", ("quarter_head",), {"rope.stored": True}),
    *_rel_pos("rel_pos", RelPos.SHARED),
    *_norm(f"{BLOCK}.norm1", DIM),
    *_linear(f"{BLOCK}.attn.qkv", "qkv_dim", DIM, {"qkv_bias": (QKVBias.ALL, QKVBias.QV)}),
    *(
        row
        for width, attention in (("dim_per_head", AttentionKind.SOFTMAX), ("half_head", DIFFERENTIAL))
        for name in ("q_norm", "k_norm")
        for row in _norm(f"{BLOCK}.attn.{name}", width, qk_norm=True, attention=attention)
    ),
    *_rel_pos(f"{BLOCK}.attn.rel_pos", RelPos.BLOCK),
    *_norm(f"{BLOCK}.attn.norm", "attn_dim", attn_norm=True),
    *(
        Native(f"{BLOCK}.attn.{name}", ("half_head",), {"attention": AttentionKind.DIFF})
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")
    ),
    *(Native(f"{BLOCK}.attn.{name}", (), {"attention": AttentionKind.DIFF_DUAL}) for name in ("lambda_a", "lambda_b")),
    Native(f"{BLOCK}.attn.sub_norm.weight", ("dim_per_head",), {"attention": DIFFERENTIAL}),
    *_linear(f"{BLOCK}.attn.proj", DIM, "attn_dim", {"proj_bias": True}),
    *(
        row
        for kind, names in ((MLP.GATED, ("gate", "up")), (MLP.PLAIN, ("fc1",)))
        for name in names
        for row in _linear(f"{BLOCK}.mlp.{name}", "mlp_dim", DIM, {"mlp_bias": True}, mlp=kind)
    ),
    *_norm(f"{BLOCK}.mlp.norm", "mlp_dim", mlp_norm=True),
    *_linear(f"{BLOCK}.mlp.fc2", DIM, "mlp_dim", {"mlp_out_bias": True}),
    Native(f"{BLOCK}.ls1.gamma", (DIM,), {"layer_scale": SOME}),
    *_norm(f"{BLOCK}.norm2", DIM, block=IN_SEQUENCE),
    Native(f"{BLOCK}.ls2.gamma", (DIM,), {"layer_scale": SOME, "layer_scale_mlp": True, "block": IN_SEQUENCE}),
    *_norm("norm", DIM, final_norm=FinalNorm.TOKENS),
    *_norm("norm", "pooled_dim", final_norm=FinalNorm.POOLED),
    Native("pool.probe", (1, DIM), {"pool": Pool.MAP}),
    *_linear("pool.q", DIM, DIM, pool=Pool.MAP),
    *_linear("pool.kv", "double_dim", DIM, pool=Pool.MAP),
    *_linear("pool.proj", DIM, DIM, pool=Pool.MAP),
    *_norm("pool.norm", DIM, pool=Pool.MAP),
    *_linear("pool.fc1", "pool_mlp", DIM, pool=Pool.MAP),
    *_linear("pool.fc2", DIM, "pool_mlp", pool=Pool.MAP),
    *_linear("head.fc", "num_classes", "pooled_dim", {"head_bias": True}, num_classes=SOME),
    *_linear("head.fc_dist", "num_classes", "pooled_dim", {"head_bias": True}, num_classes=SOME, head=Head.DISTILLED),
    *_linear("head.proj", "out_dim", "pooled_dim", {"head_bias": True}, head=Head.PROJECTION),
    *_linear("head.pre_logits", "pooled_dim", "pooled_dim", head=Head.PRE_LOGITS),
)

NAMES: tuple[str, ...] = tuple(dict.fromkeys(row.name for row in TABLE))
"""Every tensor that a model may have."""

BUFFERS = frozenset({"rope.periods"})
"""Native tensors that are not parameters."""


def _relation(size: str, *terms: Term, plus: int = 0) -> Equation:
    return Equation((Term(-1, (size,)), *terms), -plus)


RELATIONS: tuple[Equation, ...] = (
    _relation("attn_dim", Term(1, ("num_heads", "dim_per_head"))),
    _relation("kv_dim", Term(1, ("kv_heads", "dim_per_head"))),
    _relation("qkv_dim", Term(1, ("attn_dim",)), Term(2, ("kv_dim",))),
    _relation("double_dim", Term(2, (DIM,))),
    _relation("pooled_dim", Term(1, ("pooled_tokens", DIM))),
    _relation("rel_rows", Term(2, ("rows",)), plus=-1),
    _relation("rel_cols", Term(2, ("cols",)), plus=-1),
)
"""How sizes hang together: -size + terms = a number."""

PARTS_OF_A_HEAD = (
    _relation("dim_per_head", Term(2, ("half_head",))),
    _relation("dim_per_head", Term(4, ("quarter_head",))),
)
"""The same for heads whose width can be halved or quartered."""


MAY_BE_ZERO = frozenset({"num_pos_prefix"})


class Contradiction(Exception):
    """Sizes, or values of fields, that cannot all be true."""


def solve(equations: Iterable[Equation], known: Mapping[str, int]) -> tuple[dict[str, int], list[Equation]]:
    """`known` and every size that follows from it, one unknown at a time; and the equations that still have several.

    Raises:
        Contradiction: the equations do not hold, or a size would be no whole number above zero.
    """
    sizes, left = dict(known), list(equations)
    while True:
        waiting = []
        for equation in left:
            unknown = {name for term in equation.terms for name in term.names if name not in sizes}
            if len(unknown) > 1:
                waiting.append(equation)
                continue
            rest, factor = equation.total, 0
            for term in equation.terms:
                value = term.factor * prod(sizes.get(name, 1) for name in term.names)
                if unknown & set(term.names):
                    factor += value
                else:
                    rest -= value
            if not factor:
                if rest:
                    raise Contradiction(_in_words(equation, sizes))
                continue
            (name,) = unknown
            if rest % factor or rest // factor < (0 if name in MAY_BE_ZERO else 1):
                raise Contradiction(_in_words(equation, sizes))
            sizes[name] = rest // factor
        if len(waiting) == len(left):
            return sizes, waiting
        left = waiting


def _in_words(equation: Equation, sizes: Mapping[str, int]) -> str:
    names = sorted({name for term in equation.terms for name in term.names if name in sizes})
    known = ", ".join(f"{name} {sizes[name]}" for name in names) or "no size"
    if equation.shown:
        return f"{equation.shown} has another width than {known}, which other tensors show"
    return f"{known} do not go together"


def known_sizes(spec: ViTSpec, block: int) -> dict[str, int]:
    """The sizes that a spec states, which every other follows from."""
    return {
        "hidden_dim": spec.hidden_dim,
        "depth": spec.depth,
        "in_chans": spec.in_chans,
        "patch_rows": spec.patch_size[0],
        "patch_cols": spec.patch_size[1],
        "rows": spec.grid[0],
        "cols": spec.grid[1],
        "num_heads": spec.num_heads,
        "dim_per_head": spec.dim_per_head,
        "kv_heads": spec.kv_heads[block],
        "mlp_dim": spec.mlp_dim,
        "reg_tokens": spec.reg_tokens,
        "num_pos_prefix": spec.num_pos_prefix,
        "pooled_tokens": spec.pooled_dim // spec.hidden_dim,
        "pool_mlp": spec.pool_mlp_dim or spec.mlp_dim,
        "num_classes": spec.num_classes,
        "out_dim": spec.out_dim or 0,
    }


@cache
def native_shapes(spec: ViTSpec) -> Mapping[str, Shape]:
    """Name and shape of every tensor of the model of `spec`, without building it; a test holds the two together."""
    rows = [row for row in TABLE if all(admits(allowed, spec_field(spec, name)) for name, allowed in row.when.items())]
    sizes = {heads: _all_sizes(spec, spec.kv_heads.index(heads)) for heads in set(spec.kv_heads)}
    shapes: dict[str, Shape] = {}
    for repeated in (False, True):
        for i, heads in enumerate(spec.kv_heads if repeated else spec.kv_heads[:1]):
            for row in rows:
                if ("{i}" in row.name) is repeated:
                    shapes[row.name.format(i=i)] = tuple(
                        axis if isinstance(axis, int) else sizes[heads][axis] for axis in row.axes
                    )
    return MappingProxyType(shapes)


def _all_sizes(spec: ViTSpec, block: int) -> dict[str, int]:
    sizes, _ = solve(RELATIONS, known_sizes(spec, block))
    return sizes | {"half_head": spec.dim_per_head // 2, "quarter_head": spec.dim_per_head // 4}


def count_parameters(spec: ViTSpec) -> int:
    """Numbers in all parameters of the model; the zeros that stand for a key's bias that it lacks are none."""
    zeros = sum(spec.kv_heads) * spec.dim_per_head if spec.qkv_bias is QKVBias.QV else 0
    return sum(prod(shape) for key, shape in native_shapes(spec).items() if key not in BUFFERS) - zeros
