"""transformers' ViT and DeiT as written to disk (transformers/models/{vit,deit}, conversion_mapping.py).

Files of a model with a task head carry `vit.` or `deit.` before all keys but the head's.
"""

from collections.abc import Iterator

from vitzoo.layouts.native import native_shapes
from vitzoo.layouts.rules import Drop, Join, Piece, Rule, Zeros, same
from vitzoo.spec import Head, QKVBias, ViTSpec

BLOCK = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def huggingface(spec: ViTSpec) -> Iterator[Rule]:
    """Query, key and value are three tensors; the class token's position is the table's first row."""
    shapes = native_shapes(spec)
    distilled = spec.head is Head.DISTILLED
    modules = {
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
        "head.pre_logits": "pooler.dense",
        "head.fc": "cls_classifier" if distilled else "classifier",
        "head.fc_dist": "distillation_classifier",
    }
    tokens = {"cls_token": "embeddings.cls_token", "dist_token": "embeddings.distillation_token"}
    table = tuple(key for key in ("pos_embed.prefix", "pos_embed.grid") if key in shapes)
    yield Join((Piece("embeddings.position_embeddings", "1 n d -> n d"),), table, ndim=2)
    for key in shapes:
        module, _, last = key.rpartition(".")
        if key in tokens:
            yield same(tokens[key], key, "1 n d -> n d")
        elif module in modules:
            yield same(f"{modules[module]}.{last}", key)
        elif key.startswith("blocks."):
            _, number, part = module.split(".", 2)
            layer = f"encoder.layer.{number}"
            if part == "attn.qkv":
                q, k, v = (Piece(f"{layer}.attention.attention.{n}.{last}") for n in ("query", "key", "value"))
                keyless = last == "bias" and spec.qkv_bias is QKVBias.QV
                yield Join((q, Zeros(spec.attn_dim) if keyless else k, v), (key,))
            elif part in BLOCK:
                yield same(f"{layer}.{BLOCK[part]}.{last}", key)
    yield Drop("embeddings.mask_token", "only masked pretraining uses it")
    if spec.head is not Head.PRE_LOGITS:
        for last in ("weight", "bias"):
            yield Drop(f"pooler.dense.{last}", "the classifier does not use the pooler")
