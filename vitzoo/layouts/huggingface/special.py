"""What one key of transformers' config.json does not say by itself: how it is read and written, by model type."""

from collections.abc import Callable
from typing import Any

from vitzoo.errors import LayoutError
from vitzoo.spec import ViTSpec

Fields = dict[str, Any]


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _dinov2_read(full: Fields) -> Fields:
    width = int(full["hidden_size"] * full["mlp_ratio"])
    # The gated MLP keeps two thirds, in eights, and its activation is always SiLU.
    return (
        {"mlp_dim": (int(width * 2 / 3) + 7) // 8 * 8, "act": "silu"} if full["use_swiglu_ffn"] else {"mlp_dim": width}
    )


def _dinov2_write(spec: ViTSpec) -> Fields:
    ratio = next(
        (
            ratio
            for ratio in range(1, 33)
            if _dinov2_read(
                {"hidden_size": spec.hidden_dim, "mlp_ratio": ratio, "use_swiglu_ffn": spec.mlp == "gated"}
            )["mlp_dim"]
            == spec.mlp_dim
        ),
        None,
    )
    if ratio is None:
        raise LayoutError(
            f"no integer mlp_ratio of DINOv2 gives mlp_dim {spec.mlp_dim} for hidden_dim {spec.hidden_dim}"
        )
    return {"mlp_ratio": ratio, "use_mask_token": False}


QKV_BIASES = {(True, True, True): "all", (True, False, True): "qv", (False, False, False): "none"}


def _dinov3_read(full: Fields) -> Fields:
    biases = (full["query_bias"], full["key_bias"], full["value_bias"])
    if biases not in QKV_BIASES:
        raise LayoutError(f"config.json: biases of query, key, value are {biases}; expected {list(QKV_BIASES)}")
    rope = {"kind": "dinov3", "theta": float(full["rope_theta"]), "pairs": "halves"}
    return {"qkv_bias": QKV_BIASES[biases], "rope": rope}


def _dinov3_write(spec: ViTSpec) -> Fields:
    query, key, value = next(biases for biases, name in QKV_BIASES.items() if name == spec.qkv_bias)
    theta = spec.rope.theta if spec.rope else None
    return {"query_bias": query, "key_bias": key, "value_bias": value, "rope_theta": theta}


def _siglip_read(full: Fields) -> Fields:
    return {} if full["vision_use_head"] else {"pool": "none"}


def _siglip_write(spec: ViTSpec) -> Fields:
    return {"vision_use_head": spec.pool == "map"}


def _siglip2_read(full: Fields) -> Fields:
    side = int(full["num_patches"] ** 0.5)
    return {"img_size": tuple(side * patch for patch in pair(full["patch_size"])), **_siglip_read(full)}


def _siglip2_write(spec: ViTSpec) -> Fields:
    return {"num_patches": spec.num_patches, **_siglip_write(spec)}


def _beit_read(full: Fields) -> Fields:
    mean = full["use_mean_pooling"]
    rel_pos = "block" if full["use_relative_position_bias"] else "none"
    return {
        "pool": "avg" if mean else "cls",
        "final_norm": "pooled" if mean else "tokens",
        "pos_embed": "learned" if full["use_absolute_position_embeddings"] else "none",
        "rel_pos": "shared" if full["use_shared_relative_position_bias"] else rel_pos,
    }


def _beit_write(spec: ViTSpec) -> Fields:
    if (spec.pool == "avg") != (spec.final_norm == "pooled"):
        raise LayoutError(
            "BEiT in transformers norms the averaged patches or all tokens before the class token is taken"
        )
    return {
        "use_mean_pooling": spec.pool == "avg",
        "use_absolute_position_embeddings": spec.pos_embed == "learned",
        "use_relative_position_bias": spec.rel_pos == "block",
        "use_shared_relative_position_bias": spec.rel_pos == "shared",
    }


Special = tuple[Callable[[Fields], Fields], Callable[[ViTSpec], Fields]]
SPECIAL: dict[str, Special] = {
    "dinov2": (_dinov2_read, _dinov2_write),
    "dinov2_with_registers": (_dinov2_read, _dinov2_write),
    "dinov3_vit": (_dinov3_read, _dinov3_write),
    "siglip_vision_model": (_siglip_read, _siglip_write),
    "siglip2_vision_model": (_siglip2_read, _siglip2_write),
    "beit": (_beit_read, _beit_write),
    "aimv2_vision_model": (lambda full: {}, lambda spec: {"use_head": False, "is_native": False}),
}
"""What one key does not say by itself: read and write."""
