"""google-research/vision_transformer's `.npz` files (vit_jax/models_vit.py); flax kernels are (in, out).

Old files carry `opt/target/` before every key.
"""

from collections.abc import Iterator

from vitzoo.layouts.native import native_shapes
from vitzoo.layouts.rules import Join, Piece, Rule, same
from vitzoo.spec import QKVBias, ViTSpec

MODULES = {
    "patch_embed.proj": ("embedding", "h w i o -> o i h w"),
    "norm": ("Transformer/encoder_norm", None),
    "head.pre_logits": ("pre_logits", "i o -> o i"),
    "head.fc": ("head", "i o -> o i"),
}
BLOCK = {
    "norm1": "LayerNorm_0",
    "norm2": "LayerNorm_2",
    "mlp.fc1": "MlpBlock_3/Dense_0",
    "mlp.fc2": "MlpBlock_3/Dense_1",
}
NORMS = ("norm", "norm1", "norm2")


def google(spec: ViTSpec) -> Iterator[Rule]:
    """Every head's query, key and value have an axis of their own."""
    shapes = native_shapes(spec)
    if spec.qkv_bias is QKVBias.QV:
        return  # flax attention has a bias on all three or on none: `bind` names what is left over
    heads = {"h": spec.num_heads}
    table = tuple(key for key in ("pos_embed.prefix", "pos_embed.grid") if key in shapes)
    yield Join((Piece("Transformer/posembed_input/pos_embedding", "1 n d -> n d"),), table, ndim=2)
    for key in shapes:
        module, _, last = key.rpartition(".")
        weight = last == "weight"
        if key == "cls_token":
            yield same("cls", key, "1 n d -> n d")
        elif module in MODULES:
            name, pattern = MODULES[module]
            leaf = ("scale" if module in NORMS else "kernel") if weight else "bias"
            yield same(f"{name}/{leaf}", key, pattern if weight else None)
        elif key.startswith("blocks."):
            _, number, part = module.split(".", 2)
            layer = f"Transformer/encoderblock_{number}"
            attention = f"{layer}/MultiHeadDotProductAttention_1"
            if part == "attn.qkv":
                pattern, leaf = ("d h k -> (h k) d", "kernel") if weight else ("h k -> (h k)", "bias")
                names = [f"{attention}/{name}/{leaf}" for name in ("query", "key", "value")]
                yield Join(tuple(Piece(name, pattern, heads) for name in names), (key,))
            elif part == "attn.proj":
                yield (
                    same(f"{attention}/out/kernel", key, "h k d -> d (h k)", **heads)
                    if weight
                    else same(f"{attention}/out/bias", key)
                )
            elif part in NORMS:
                yield same(f"{layer}/{BLOCK[part]}/{'scale' if weight else 'bias'}", key)
            elif part in BLOCK:
                yield same(
                    f"{layer}/{BLOCK[part]}/{'kernel' if weight else 'bias'}", key, "i o -> o i" if weight else None
                )
