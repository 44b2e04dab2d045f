"""torchvision's VisionTransformer (torchvision/models/vision_transformer.py)."""

from collections.abc import Iterator

from vitzoo.layouts.native import native_shapes
from vitzoo.layouts.rules import Join, Piece, Rule, same
from vitzoo.spec import ViTSpec

MODULES = {
    "patch_embed.proj": "conv_proj",
    "norm": "encoder.ln",
    "head.fc": "heads.head",
    "head.pre_logits": "heads.pre_logits",
}
BLOCK = {
    "norm1": "ln_1",
    "attn.proj": "self_attention.out_proj",
    "norm2": "ln_2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}


def torchvision(spec: ViTSpec) -> Iterator[Rule]:
    """The fused projection keeps its weight and bias outside of a linear layer."""
    shapes = native_shapes(spec)
    table = tuple(key for key in ("pos_embed.prefix", "pos_embed.grid") if key in shapes)
    yield Join((Piece("encoder.pos_embedding", "1 n d -> n d"),), table, ndim=2)
    for key in shapes:
        module, _, last = key.rpartition(".")
        if key == "cls_token":
            yield same("class_token", key, "1 n d -> n d")
        elif module in MODULES:
            yield same(f"{MODULES[module]}.{last}", key)
        elif key.startswith("blocks."):
            _, number, part = module.split(".", 2)
            layer = f"encoder.layers.encoder_layer_{number}"
            if part == "attn.qkv":
                yield same(f"{layer}.self_attention.in_proj_{last}", key)
            elif part in BLOCK:
                yield same(f"{layer}.{BLOCK[part]}.{last}", key)
