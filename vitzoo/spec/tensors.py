"""vitzoo's own layout: the model's tensors as they are.

`native_shapes` is the closed list that every table is bound to.
"""

from vitzoo.spec import (
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
    Shape,
    ViTSpec,
)

LAMBDAS: dict[AttentionKind, dict[str, int]] = {
    AttentionKind.SOFTMAX: {},
    AttentionKind.DIFF: dict.fromkeys(("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"), 1),
    AttentionKind.DIFF_DUAL: dict.fromkeys(("lambda_a", "lambda_b"), 0),
}
"""The learned parts of lambda, with their number of axes."""

BUFFERS = frozenset({"rope.periods"})
"""Native tensors that are not parameters."""


def native_shapes(spec: ViTSpec) -> dict[str, Shape]:
    """Name and shape of every tensor of `ViT(spec)`, without building it; a test holds the two together."""
    dim, shapes = spec.hidden_dim, dict[str, Shape]()

    def linear(name: str, rows: int, cols: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (rows, cols)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = (width,)
        if spec.norm is Norm.LAYER:
            shapes[f"{name}.bias"] = (width,)

    def rel_pos(name: str) -> None:
        rows, cols = spec.grid
        shapes[f"{name}.grid"] = (2 * rows - 1, 2 * cols - 1, spec.num_heads)
        shapes[f"{name}.prefix"] = (3, spec.num_heads)

    if spec.class_token:
        shapes["cls_token"] = (1, dim)
    if spec.dist_token:
        shapes["dist_token"] = (1, dim)
    if spec.reg_tokens:
        shapes["reg_tokens"] = (spec.reg_tokens, dim)
    shapes["patch_embed.proj.weight"] = (dim, spec.in_chans, *spec.patch_size)
    if spec.patch_bias:
        shapes["patch_embed.proj.bias"] = (dim,)
    if spec.patch_norm:
        norm("patch_embed.norm", dim)
    if spec.pos_embed is not PosEmbed.NONE:
        shapes["pos_embed.grid"] = (*spec.grid, dim)
        if spec.num_pos_prefix:
            shapes["pos_embed.prefix"] = (spec.num_pos_prefix, dim)
    if spec.norm_pre:
        norm("norm_pre", dim)
    if spec.rope is not None and spec.rope.kind is RopeKind.MIXED:
        shapes["rope.freqs"] = (2, spec.depth, spec.num_heads, spec.dim_per_head // 2)
    if spec.rope is not None and spec.rope.stored:
        shapes["rope.periods"] = (spec.dim_per_head // 4,)
    if spec.rel_pos is RelPos.SHARED:
        rel_pos("rel_pos")
    half = 1 if spec.attention is AttentionKind.SOFTMAX else 2
    for i, kv_heads in enumerate(spec.kv_heads):
        block = f"blocks.{i}"
        norm(f"{block}.norm1", dim)
        linear(
            f"{block}.attn.qkv",
            spec.attn_dim + 2 * kv_heads * spec.dim_per_head,
            dim,
            spec.qkv_bias is not QKVBias.NONE,
        )
        if spec.qk_norm:
            norm(f"{block}.attn.q_norm", spec.dim_per_head // half)
            norm(f"{block}.attn.k_norm", spec.dim_per_head // half)
        if spec.rel_pos is RelPos.BLOCK:
            rel_pos(f"{block}.attn.rel_pos")
        if spec.attn_norm:
            norm(f"{block}.attn.norm", spec.attn_dim)
        for name, width in LAMBDAS[spec.attention].items():
            shapes[f"{block}.attn.{name}"] = (spec.dim_per_head // 2,) if width else ()
        if spec.attention is not AttentionKind.SOFTMAX:
            shapes[f"{block}.attn.sub_norm.weight"] = (spec.dim_per_head,)
        linear(f"{block}.attn.proj", dim, spec.attn_dim, spec.proj_bias)
        for name in ("gate", "up") if spec.mlp is MLP.GATED else ("fc1",):
            linear(f"{block}.mlp.{name}", spec.mlp_dim, dim, spec.mlp_bias)
        if spec.mlp_norm:
            norm(f"{block}.mlp.norm", spec.mlp_dim)
        linear(f"{block}.mlp.fc2", dim, spec.mlp_dim, spec.mlp_out_bias)
        if spec.layer_scale is not None:
            shapes[f"{block}.ls1.gamma"] = (dim,)
        if spec.block is not BlockKind.PARALLEL:
            norm(f"{block}.norm2", dim)
            if spec.layer_scale is not None and spec.layer_scale_mlp:
                shapes[f"{block}.ls2.gamma"] = (dim,)
    if spec.final_norm is not FinalNorm.NONE:
        norm("norm", spec.pooled_dim if spec.final_norm is FinalNorm.POOLED else dim)
    if spec.pool is Pool.MAP:
        shapes["pool.probe"] = (1, dim)
        linear("pool.q", dim, dim)
        linear("pool.kv", 2 * dim, dim)
        linear("pool.proj", dim, dim)
        norm("pool.norm", dim)
        linear("pool.fc1", spec.pool_mlp_dim or spec.mlp_dim, dim)
        linear("pool.fc2", dim, spec.pool_mlp_dim or spec.mlp_dim)
    if spec.num_classes:
        linear("head.fc", spec.num_classes, spec.pooled_dim, spec.head_bias)
        if spec.head is Head.DISTILLED:
            linear("head.fc_dist", spec.num_classes, spec.pooled_dim, spec.head_bias)
    if spec.head is Head.PRE_LOGITS:
        linear("head.pre_logits", spec.pooled_dim, spec.pooled_dim)
    return shapes


def _names() -> tuple[str, ...]:
    """Every tensor that a model may have; `{i}` runs over the blocks."""
    both = ("weight", "bias")
    modules = ["patch_embed.proj", "patch_embed.norm", "norm_pre", "norm", "head.fc", "head.fc_dist", "head.pre_logits"]
    modules += [f"pool.{name}" for name in ("q", "kv", "proj", "norm", "fc1", "fc2")]
    modules += [f"blocks.{{i}}.{name}" for name in ("norm1", "norm2")]
    modules += [f"blocks.{{i}}.attn.{name}" for name in ("qkv", "q_norm", "k_norm", "norm", "sub_norm", "proj")]
    modules += [f"blocks.{{i}}.mlp.{name}" for name in ("fc1", "gate", "up", "norm", "fc2")]
    tensors = ["cls_token", "dist_token", "reg_tokens", "pos_embed.grid", "pos_embed.prefix", "pool.probe"]
    tensors += ["rope.freqs", "rope.periods", "rel_pos.grid", "rel_pos.prefix"]
    tensors += [f"blocks.{{i}}.attn.rel_pos.{name}" for name in ("grid", "prefix")]
    tensors += [f"blocks.{{i}}.ls{number}.gamma" for number in (1, 2)]
    tensors += [f"blocks.{{i}}.attn.{name}" for lambdas in LAMBDAS.values() for name in lambdas]
    return (*tensors, *(f"{name}.{leaf}" for name in modules for leaf in both))


NAMES = _names()
