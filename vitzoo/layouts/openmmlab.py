"""MMPretrain's VisionTransformer, MMClassification's before it (mmpretrain/models/backbones/vision_transformer.py).

A checkpoint is the whole classifier: `backbone`, and beside it a `head` (heads/vision_transformer_head.py, or a linear
layer alone). With an average pool there is a norm behind it, `ln2`. One that has `ln1` as well is not held.
"""

from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import OUTSIDE, Table, module, positions, same
from vitzoo.spec import MLP, Activation, FinalNorm, Head, Pool, QKVBias, Resample

LAYER, OWN = "layers.{i}", "blocks.{i}"

TABLE: Table = (
    same("cls_token", "cls_token", "1 n d -> n d"),
    positions("pos_embed"),
    *module("patch_embed.projection", "patch_embed.proj"),
    *module("pre_norm", "norm_pre"),
    *module(f"{LAYER}.ln1", f"{OWN}.norm1"),
    *module(f"{LAYER}.attn.qkv", f"{OWN}.attn.qkv"),
    *module(f"{LAYER}.attn.proj", f"{OWN}.attn.proj"),
    same(f"{LAYER}.attn.gamma1.weight", f"{OWN}.ls1.gamma"),
    *module(f"{LAYER}.ln2", f"{OWN}.norm2"),
    *module(f"{LAYER}.ffn.layers.0.0", f"{OWN}.mlp.fc1"),
    *module(f"{LAYER}.ffn.layers.1", f"{OWN}.mlp.fc2", mlp=MLP.PLAIN),
    *module(f"{LAYER}.ffn.w12", (f"{OWN}.mlp.gate", f"{OWN}.mlp.up")),
    *module(f"{LAYER}.ffn.w3", f"{OWN}.mlp.fc2", mlp=MLP.GATED),
    same(f"{LAYER}.ffn.gamma2.weight", f"{OWN}.ls2.gamma"),
    *module("ln1", "norm", final_norm=FinalNorm.TOKENS),
    *module("ln2", "norm", final_norm=FinalNorm.POOLED),
    *module(f"{OUTSIDE}head.layers.pre_logits", "head.pre_logits"),
    *module(f"{OUTSIDE}head.layers.head", "head.fc"),
)

LAYOUTS = (
    Layout(
        "mmpretrain",
        TABLE,
        holds={
            "norm_pre": ANY,
            "patch_bias": ANY,
            "layer_scale": ANY,
            "mlp": (MLP.PLAIN, MLP.GATED),
            "act": (Activation.GELU, Activation.QUICK_GELU, Activation.SILU),
            "qkv_bias": (QKVBias.ALL, QKVBias.NONE),
            "final_norm": (FinalNorm.TOKENS, FinalNorm.POOLED, FinalNorm.NONE),
            "pool": (Pool.CLS, Pool.AVG),
            "head": (Head.LINEAR, Head.PRE_LOGITS),
        },
        origin="open-mmlab/mmpretrain mmpretrain/models/{backbones/vision_transformer,utils/attention}.py",
        suffix=".pth",
        resample=Resample.MAE,
        scopes=("backbone.",),
        head=f"{OUTSIDE}head",
        implies=(
            ({"mlp": MLP.GATED}, {"act": (Activation.SILU,)}),
            ({"mlp": MLP.PLAIN}, {"act": (Activation.GELU, Activation.QUICK_GELU)}),
            ({"final_norm": FinalNorm.POOLED}, {"pool": (Pool.AVG,)}),
            ({"pool": Pool.AVG}, {"final_norm": (FinalNorm.POOLED,)}),
        ),
    ),
)
