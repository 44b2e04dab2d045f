"""vitzoo's own layout: the model's tensors as they are. This table is the closed list that every other binds to."""

from vitzoo.spec import MLP, FinalNorm, Head, Norm, Pool, PosEmbed, QKVBias, Shape, ViTSpec


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
    for i in range(spec.depth):
        block = f"blocks.{i}"
        norm(f"{block}.norm1", dim)
        linear(f"{block}.attn.qkv", 3 * spec.attn_dim, dim, spec.qkv_bias is not QKVBias.NONE)
        if spec.qk_norm:
            norm(f"{block}.attn.q_norm", spec.dim_per_head)
            norm(f"{block}.attn.k_norm", spec.dim_per_head)
        linear(f"{block}.attn.proj", dim, spec.attn_dim, spec.proj_bias)
        norm(f"{block}.norm2", dim)
        for name in ("gate", "up") if spec.mlp is MLP.GATED else ("fc1",):
            linear(f"{block}.mlp.{name}", spec.mlp_dim, dim, spec.mlp_bias)
        linear(f"{block}.mlp.fc2", dim, spec.mlp_dim, spec.mlp_bias)
        if spec.layer_scale is not None:
            shapes[f"{block}.ls1.gamma"] = shapes[f"{block}.ls2.gamma"] = (dim,)
    if spec.final_norm is not FinalNorm.NONE:
        norm("norm", spec.pooled_dim if spec.final_norm is FinalNorm.POOLED else dim)
    if spec.pool is Pool.MAP:
        shapes["pool.probe"] = (1, dim)
        linear("pool.q", dim, dim)
        linear("pool.kv", 2 * dim, dim)
        linear("pool.proj", dim, dim)
        norm("pool.norm", dim)
        linear("pool.fc1", spec.mlp_dim, dim)
        linear("pool.fc2", dim, spec.mlp_dim)
    if spec.num_classes:
        linear("head.fc", spec.num_classes, spec.pooled_dim, spec.head_bias)
        if spec.head is Head.DISTILLED:
            linear("head.fc_dist", spec.num_classes, spec.pooled_dim, spec.head_bias)
    if spec.head is Head.PRE_LOGITS:
        linear("head.pre_logits", spec.pooled_dim, spec.pooled_dim)
    return shapes
