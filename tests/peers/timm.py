"""What a model of timm is, read off the module itself: the fields of our spec, for any size of it."""

from typing import Any

from torch import Tensor, nn

ACTIVATIONS = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
NORMS = {"LayerNorm": "layer", "LayerNormFp32": "layer", "RmsNorm": "rms"}


def spec_fields(model: nn.Module) -> dict[str, Any]:
    """The fields of `ViTSpec` that describe a VisionTransformer, VisionTransformerDistilled, Eva or Beit of timm."""
    block, kind = model.blocks[0], type(model.blocks[0]).__name__
    parallel = "Parallel" in kind
    attn = block if parallel else block.attn
    norm1 = block.in_norm if parallel else block.norm1
    depth = len(model.blocks)
    gamma = next(
        (g for g in (_gamma(block, "1"), getattr(getattr(block, "ls", None), "gamma", None)) if g is not None), None
    )
    norm, fc_norm = (getattr(model, name, nn.Identity()) for name in ("norm", "fc_norm"))
    distilled = type(model).__name__ == "VisionTransformerDistilled"
    positions = model.pos_embed
    patches = model.patch_embed.num_patches
    slots = 0 if positions is None else positions.shape[1] - patches
    prefix = model.num_prefix_tokens
    hidden = model.embed_dim
    kv_heads = tuple(getattr(b.attn, "num_kv_heads", b.attn.num_heads) for b in model.blocks) if not parallel else ()
    fields = {
        "img_size": tuple(model.patch_embed.img_size),
        "patch_size": tuple(model.patch_embed.patch_size),
        "drop_remainder": any(
            a % b for a, b in zip(model.patch_embed.img_size, model.patch_embed.patch_size, strict=True)
        ),
        "in_chans": model.patch_embed.proj.in_channels,
        "hidden_dim": hidden,
        "depth": depth,
        "num_heads": attn.num_heads,
        "class_token": model.cls_token is not None,
        "dist_token": distilled,
        "reg_tokens": 0 if getattr(model, "reg_token", None) is None else model.reg_token.shape[1],
        "pos_embed": "none" if positions is None else "learned",
        "pos_prefix": _pos_prefix(model, slots),
        "patch_bias": model.patch_embed.proj.bias is not None,
        "patch_norm": not isinstance(model.patch_embed.norm, nn.Identity),
        "norm": NORMS[type(norm1).__name__],
        "norm_eps": norm1.eps,
        "norm_pre": not isinstance(getattr(model, "norm_pre", nn.Identity()), nn.Identity),
        "final_norm": "tokens"
        if not isinstance(norm, nn.Identity)
        else "pooled"
        if not isinstance(fc_norm, nn.Identity)
        else "none",
        "layer_scale": None if gamma is None else _layer_scale_init(block),
        "layer_scale_mlp": gamma is None or parallel or _gamma(block, "2") is not None,
        "block": "parallel" if parallel else "post_norm" if "Post" in kind else "pre_norm",
        "attention": _attention(attn),
        "num_kv_heads": None if all(h == attn.num_heads for h in kv_heads) else kv_heads,
        "qkv_bias": _qkv_bias(attn, parallel),
        "qk_norm": not isinstance(getattr(attn, "q_norm", nn.Identity()), nn.Identity),
        "attn_norm": not parallel and not isinstance(getattr(attn, "norm", nn.Identity()), nn.Identity),
        "rel_pos": "shared"
        if getattr(model, "rel_pos_bias", None) is not None
        else "block"
        if getattr(attn, "relative_position_bias_table", None) is not None
        else "none",
        "rope": _rope(model),
        "pool": {"token": "cls_dist" if distilled else "cls", "": "none"}.get(model.global_pool, model.global_pool),
        "head": "distilled" if distilled else "linear",
        "num_classes": model.num_classes,
        **_mlp(block, parallel),
        **_pool(model, block, parallel),
    }
    assert prefix == fields["class_token"] + fields["dist_token"] + fields["reg_tokens"]
    return fields


def _pos_prefix(model: nn.Module, slots: int) -> str:
    if model.pos_embed is None:
        return "cls"  # the default, since there is no table
    return {0: "none", 1: "cls"}.get(slots, "all") if model.cls_token is not None or not slots else "all"


def _gamma(block: nn.Module, number: str) -> Tensor | None:
    scale = getattr(block, f"ls{number}", None)
    return getattr(block, f"gamma_{number}", None) if scale is None else getattr(scale, "gamma", None)


def _layer_scale_init(block: nn.Module) -> float:
    """Values are not there on the meta device; the initial one matters for training alone."""
    return float(getattr(block, "init_values", None) or 1e-5)


def _attention(attn: nn.Module) -> str:
    if "Diff" not in type(attn).__name__:
        return "softmax"
    return "diff_dual" if attn.dual_lambda else "diff"


def _qkv_bias(attn: nn.Module, parallel: bool) -> str:
    if parallel:
        return "all" if attn.in_proj.bias is not None else "none"
    if attn.qkv is None:
        return "none" if attn.q_proj.bias is None else "qv" if attn.k_proj.bias is None else "all"
    if getattr(attn, "q_bias", None) is not None:
        return "qv"
    return "none" if attn.qkv.bias is None else "all"


def _mlp(block: nn.Module, parallel: bool) -> dict[str, Any]:
    if parallel:
        out = block.out_proj if getattr(block, "out_proj", None) is not None else block.mlp_out_proj
        own_bias = getattr(block, "out_proj", None) is None and out.bias is not None
        proj = block.out_proj if getattr(block, "out_proj", None) is not None else block.attn_out_proj
        return {
            "mlp": "plain",
            "mlp_dim": block.in_split[0],
            "mlp_norm": False,
            "mlp_bias": True,
            "mlp_out_bias": own_bias,
            "proj_bias": proj.bias is not None,
            "act": ACTIVATIONS[type(block.mlp_act).__name__],
        }
    mlp = block.mlp
    kind = type(mlp).__name__
    first = mlp.fc1_g if kind == "SwiGLU" else mlp.fc1
    return {
        "mlp": "plain" if kind == "Mlp" else "gated",
        "mlp_dim": mlp.fc2.in_features,
        "mlp_norm": not isinstance(mlp.norm, nn.Identity),
        "mlp_bias": first.bias is not None,
        "mlp_out_bias": mlp.fc2.bias is not None,
        "proj_bias": block.attn.proj.bias is not None,
        "act": ACTIVATIONS[type(mlp.act).__name__],
    }


def _pool(model: nn.Module, block: nn.Module, parallel: bool) -> dict[str, Any]:
    pool = getattr(model, "attn_pool", None)
    if pool is None:
        return {}
    heads = block.num_heads if parallel else block.attn.num_heads
    width = pool.mlp.fc1.out_features
    # Eva takes all tokens in; VisionTransformer asks its own flag.
    everything = type(model).__name__ == "Eva" or getattr(model, "pool_include_prefix", False)
    return {
        "pool_prefix": everything and model.num_prefix_tokens > 0,
        "pool_heads": None if pool.num_heads == heads else pool.num_heads,
        "pool_mlp_dim": None if width == _mlp(block, parallel)["mlp_dim"] else width,
    }


def _rope(model: nn.Module) -> dict[str, Any] | None:
    rope = getattr(model, "rope", None)
    if rope is None:
        return None
    kind = {"RotaryEmbeddingCat": "axial", "RotaryEmbeddingDinoV3": "dinov3", "RotaryEmbeddingMixed": "mixed"}
    ref = getattr(rope, "ref_feat_shape", None)
    return {
        "kind": kind[type(rope).__name__],
        "theta": float(rope.temperature),
        "pairs": "halves" if getattr(rope, "rotate_half", False) else "neighbours",
        "columns_first": rope.grid_indexing == "xy",
        "offset": float(getattr(rope, "grid_offset", 0.0)),
        "ref_grid": None if ref is None else tuple(ref),
    }


def layout_of(model: nn.Module) -> str:
    """The name of the table that holds the model's state dict."""
    if type(model).__name__ == "Beit":
        return "timm_beit"
    packed = hasattr(model.blocks[0], "mlp") and type(model.blocks[0].mlp).__name__ == "GluMlp"
    if type(model).__name__ != "Eva":
        return f"timm{'_packed' if packed else ''}"
    split = model.blocks[0].attn.qkv is None
    return f"timm_eva{'_split' if split else ''}{'_packed' if packed else ''}"
