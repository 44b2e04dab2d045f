"""What a forward pass costs, counted from a spec alone."""

from math import prod

from vitzoo.spec.architecture import MLP, AttentionKind, Head, Pool, ViTSpec


def count_macs(spec: ViTSpec, batch: int = 1) -> int:
    """Multiply-adds of all matrix products of one forward pass, attention's own included."""
    tokens, dim = spec.num_patches + spec.num_prefix_tokens, spec.hidden_dim
    patches = spec.num_patches * spec.in_chans * prod(spec.patch_size) * dim
    mlp = (3 if spec.mlp is MLP.GATED else 2) * dim * spec.mlp_dim
    # Differential attention has two maps, each of queries and keys half as wide.
    attention = tokens * spec.attn_dim * (2 if spec.attention is AttentionKind.SOFTMAX else 3)
    blocks = sum(2 * dim * (spec.attn_dim + heads * spec.dim_per_head) + mlp + attention for heads in spec.kv_heads)
    pool = once = 0
    if spec.pool is Pool.MAP:
        keys = spec.num_patches + (spec.num_prefix_tokens if spec.pool_prefix else 0)
        once = dim * dim  # the one query is projected once a batch
        pool = dim * dim * (1 + 2 * keys) + 2 * keys * dim + 2 * dim * (spec.pool_mlp_dim or spec.mlp_dim)
    head = spec.pooled_dim * (spec.num_classes or spec.out_dim or 0) * (2 if spec.head is Head.DISTILLED else 1)
    if spec.head is Head.PRE_LOGITS:
        head += spec.pooled_dim**2
    if spec.pool is Pool.NONE:
        head *= tokens
    return batch * (patches + tokens * blocks + pool + head) + once
