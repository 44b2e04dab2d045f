"""timm's VisionTransformer (timm/models/vision_transformer.py), which DeiT, DINO, MAE and others share."""

from collections.abc import Iterable, Iterator

from vitzoo.layouts.native import native_shapes
from vitzoo.layouts.rules import Join, Piece, Rule, same
from vitzoo.spec import FinalNorm, ViTSpec

TOKENS = {"cls_token": "cls_token", "dist_token": "dist_token", "reg_tokens": "reg_token"}
POOL = {
    "pool.q": "attn_pool.q",
    "pool.kv": "attn_pool.kv",
    "pool.proj": "attn_pool.proj",
    "pool.norm": "attn_pool.norm",
    "pool.fc1": "attn_pool.mlp.fc1",
    "pool.fc2": "attn_pool.mlp.fc2",
}
HEADS = {"head.fc": "head", "head.fc_dist": "head_dist", "head.pre_logits": "pre_logits.fc"}
GATED = {"gate": "fc1_g", "up": "fc1_x"}


def timm(spec: ViTSpec) -> Iterable[Rule]:
    """One rule a tensor; only tokens and positions have other axes."""
    modules = {**POOL, **HEADS, "norm": "fc_norm" if spec.final_norm is FinalNorm.POOLED else "norm"}
    return _rules(spec, modules)


def _rules(spec: ViTSpec, modules: dict[str, str]) -> Iterator[Rule]:
    table = tuple(key for key in ("pos_embed.prefix", "pos_embed.grid") if key in native_shapes(spec))
    if table:
        yield Join((Piece("pos_embed", "1 n d -> n d"),), table, ndim=2)
    for key in native_shapes(spec):
        module, _, last = key.rpartition(".")
        if key in table:
            continue
        if key in TOKENS:
            yield same(TOKENS[key], key, "1 n d -> n d")
        elif key == "pool.probe":
            yield same("attn_pool.latent", key, "1 n d -> n d")
        elif module in modules:
            yield same(f"{modules[module]}.{last}", key)
        else:
            parent, _, name = module.rpartition(".")
            yield same(f"{parent}.{GATED[name]}.{last}" if name in GATED else key, key)
