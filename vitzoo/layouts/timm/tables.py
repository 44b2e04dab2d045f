"""timm's VisionTransformer, Eva and Beit (timm/models/{vision_transformer,eva,beit}.py).

Eva stores query, key and value fused or apart, and both gate and up apart or packed (gate first): a table for each.
"""

from typing import Any

from vitzoo.layouts.layout import ANY, Implications, Layout
from vitzoo.layouts.rules import Drop, Join, Piece, Table, Zeros, module, positions, same
from vitzoo.spec import (
    MLP,
    Activation,
    AttentionKind,
    BlockKind,
    FinalNorm,
    Head,
    Norm,
    Pool,
    PosEmbed,
    PosPrefix,
    QKVBias,
    RelPos,
    RopeKind,
    RopePairs,
)

BLOCK = "blocks.{i}"
TOKEN = "1 n d -> n d"

# ParallelScalingBlock has names of its own.
SEQUENTIAL: dict[str, Any] = {"block": (BlockKind.PRE_NORM, BlockKind.POST_NORM)}
IN_PARALLEL: dict[str, Any] = {"block": BlockKind.PARALLEL}

# timm calls the width of an embedding num_classes, too.
CLASSIFIER: Table = (*module("head", "head.fc"), *module("head", "head.proj"))
COMMON: Table = (
    same("cls_token", "cls_token", TOKEN),
    same("reg_token", "reg_tokens", TOKEN),
    positions("pos_embed"),
    *module("patch_embed.proj", "patch_embed.proj"),
    *module("norm_pre", "norm_pre"),
    *(
        rule
        for name in ("norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for rule in module(f"{BLOCK}.{name}", f"{BLOCK}.{name}", **SEQUENTIAL)
    ),
    *module("norm", "norm", final_norm=FinalNorm.TOKENS),
    *module("fc_norm", "norm", final_norm=FinalNorm.POOLED),
    same("attn_pool.latent", "pool.probe", TOKEN),
    *(
        rule
        for stored, own in (
            *((name, name) for name in ("q", "kv", "proj", "norm")),
            *((f"mlp.{name}", name) for name in ("fc1", "fc2")),
        )
        for rule in module(f"attn_pool.{stored}", f"pool.{own}")
    ),
    *CLASSIFIER,
)
INNER_NORMS: Table = (
    *module(f"{BLOCK}.attn.norm", f"{BLOCK}.attn.norm"),
    *module(f"{BLOCK}.mlp.norm", f"{BLOCK}.mlp.norm"),
)
FUSED: Table = module(f"{BLOCK}.attn.qkv", f"{BLOCK}.attn.qkv", **SEQUENTIAL)
KEYLESS: Table = (
    same(f"{BLOCK}.attn.qkv.weight", f"{BLOCK}.attn.qkv.weight"),
    same(f"{BLOCK}.attn.qkv.bias", f"{BLOCK}.attn.qkv.bias", qkv_bias=QKVBias.ALL),
    Join(
        (Piece(f"{BLOCK}.attn.q_bias"), Zeros(), Piece(f"{BLOCK}.attn.v_bias")),
        (Piece(f"{BLOCK}.attn.qkv.bias"),),
        given={"qkv_bias": QKVBias.QV},
    ),
)
QK_NORMS: Table = (
    *module(f"{BLOCK}.attn.q_norm", f"{BLOCK}.attn.q_norm", **SEQUENTIAL),
    *module(f"{BLOCK}.attn.k_norm", f"{BLOCK}.attn.k_norm", **SEQUENTIAL),
)
APART: Table = (
    *module(f"{BLOCK}.mlp.fc1_g", f"{BLOCK}.mlp.gate"),
    *module(f"{BLOCK}.mlp.fc1_x", f"{BLOCK}.mlp.up"),
)
PACKED: Table = module(f"{BLOCK}.mlp.fc1", (f"{BLOCK}.mlp.gate", f"{BLOCK}.mlp.up"), mlp=MLP.GATED)
GAMMA: Table = (
    same(f"{BLOCK}.gamma_1", f"{BLOCK}.ls1.gamma"),
    same(f"{BLOCK}.gamma_2", f"{BLOCK}.ls2.gamma"),
)
DIFFERENTIAL = (AttentionKind.DIFF, AttentionKind.DIFF_DUAL)
LAMBDAS = ("lambda_a", "lambda_b", "lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2", "sub_norm.weight")

# With differential attention (DiffParallelScalingBlock) the two output layers are one.
PARALLEL: Table = (
    *module(f"{BLOCK}.in_norm", f"{BLOCK}.norm1", **IN_PARALLEL),
    Join(
        (Piece(f"{BLOCK}.in_proj.weight"),),
        (Piece(f"{BLOCK}.mlp.fc1.weight"), Piece(f"{BLOCK}.attn.qkv.weight")),
        given=IN_PARALLEL,
    ),
    Join(
        (Piece(f"{BLOCK}.in_proj.bias"),),
        (Piece(f"{BLOCK}.mlp.fc1.bias"), Piece(f"{BLOCK}.attn.qkv.bias")),
        given={**IN_PARALLEL, "qkv_bias": QKVBias.ALL},
    ),
    same(f"{BLOCK}.mlp_bias", f"{BLOCK}.mlp.fc1.bias", qkv_bias=QKVBias.NONE, **IN_PARALLEL),
    *module(f"{BLOCK}.q_norm", f"{BLOCK}.attn.q_norm", **IN_PARALLEL),
    *module(f"{BLOCK}.k_norm", f"{BLOCK}.attn.k_norm", **IN_PARALLEL),
    *(same(f"{BLOCK}.{name}", f"{BLOCK}.attn.{name}", **IN_PARALLEL) for name in LAMBDAS),
    *module(f"{BLOCK}.attn_out_proj", f"{BLOCK}.attn.proj", attention=AttentionKind.SOFTMAX, **IN_PARALLEL),
    *module(f"{BLOCK}.mlp_out_proj", f"{BLOCK}.mlp.fc2", attention=AttentionKind.SOFTMAX, **IN_PARALLEL),
    Join(
        (Piece(f"{BLOCK}.out_proj.weight"),),
        (Piece(f"{BLOCK}.attn.proj.weight"), Piece(f"{BLOCK}.mlp.fc2.weight")),
        axis=1,
        given={**IN_PARALLEL, "attention": DIFFERENTIAL},
    ),
    same(f"{BLOCK}.out_proj.bias", f"{BLOCK}.attn.proj.bias", attention=DIFFERENTIAL, **IN_PARALLEL),
    same(f"{BLOCK}.ls.gamma", f"{BLOCK}.ls1.gamma", **IN_PARALLEL),
)

VISION_TRANSFORMER: Table = (
    *COMMON,
    *FUSED,
    *QK_NORMS,
    *INNER_NORMS,
    *PARALLEL,
    same("dist_token", "dist_token", TOKEN),
    *module("patch_embed.norm", "patch_embed.norm"),
    *(same(f"{BLOCK}.attn.{name}", f"{BLOCK}.attn.{name}", **SEQUENTIAL) for name in LAMBDAS),
    same(f"{BLOCK}.ls1.gamma", f"{BLOCK}.ls1.gamma", **SEQUENTIAL),
    same(f"{BLOCK}.ls2.gamma", f"{BLOCK}.ls2.gamma", **SEQUENTIAL),
    *module("head_dist", "head.fc_dist"),
)
BEIT: Table = (
    *COMMON,
    *KEYLESS,
    *APART,
    *GAMMA,
    *module(f"{BLOCK}.mlp.norm", f"{BLOCK}.mlp.norm"),
    *(
        Join(
            (Piece(f"{stored}.relative_position_bias_table"),),
            (Piece(f"{own}.grid", "rel_rows rel_cols h -> (rel_rows rel_cols) h"), Piece(f"{own}.prefix")),
        )
        for stored, own in ((f"{BLOCK}.attn", f"{BLOCK}.attn.rel_pos"), ("rel_pos_bias", "rel_pos"))
    ),
    *(
        Drop(f"{stored}.relative_position_index", "follows from the grid")
        for stored in (f"{BLOCK}.attn", "rel_pos_bias")
    ),
    # microsoft/unilm beit/modeling_pretrain.py and beit2: what predicts the visual tokens of hidden patches.
    Drop("mask_token", "stands for hidden patches while pretraining"),
    Drop("lm_head.*", "predicts visual tokens while pretraining"),
    Drop("cls_pt_layers.*", "blocks that only pretraining runs, on the class token"),
)
SPLIT: Table = (
    Join(
        (
            Piece(f"{BLOCK}.attn.q_proj.weight"),
            Piece(f"{BLOCK}.attn.k_proj.weight", size="kv_dim"),
            Piece(f"{BLOCK}.attn.v_proj.weight", size="kv_dim"),
        ),
        (Piece(f"{BLOCK}.attn.qkv.weight"),),
    ),
    *(
        Join(
            (Piece(f"{BLOCK}.attn.q_proj.bias"), key, Piece(f"{BLOCK}.attn.v_proj.bias", size="kv_dim")),
            (Piece(f"{BLOCK}.attn.qkv.bias"),),
            given={"qkv_bias": bias},
        )
        for bias, key in (
            (QKVBias.ALL, Piece(f"{BLOCK}.attn.k_proj.bias", size="kv_dim")),
            (QKVBias.QV, Zeros(size="kv_dim")),
        )
    ),
)
EVA: Table = (
    *COMMON,
    *QK_NORMS,
    *INNER_NORMS,
    *GAMMA,
    same("rope.freqs", "rope.freqs"),
)

EVERYWHERE = {
    "reg_tokens": ANY,
    "class_token": ANY,
    "norm": (Norm.LAYER, Norm.RMS),
    "norm_eps": ANY,
    "norm_pre": ANY,
    "final_norm": ANY,
    "layer_scale": ANY,
    "mlp": (MLP.PLAIN, MLP.GATED),
    "mlp_norm": ANY,
    "act": ANY,
    "pool": (Pool.CLS, Pool.AVG, Pool.MAP, Pool.NONE),
    "patch_bias": ANY,
    "head": (Head.LINEAR, Head.PROJECTION),
}
EVA_HOLDS = {
    **EVERYWHERE,
    "act": (Activation.GELU, Activation.SILU, Activation.GELU_TANH, Activation.QUICK_GELU),
    "pos_embed": (PosEmbed.LEARNED, PosEmbed.NONE),
    "pos_prefix": ANY,
    "rope": ANY,
    "qkv_bias": ANY,
    "qk_norm": ANY,
    "attn_norm": ANY,
    "layer_scale_mlp": ANY,
    "block": (BlockKind.PRE_NORM, BlockKind.POST_NORM),
    "pool_prefix": ANY,
    "pool_heads": ANY,
    "pool_mlp_dim": ANY,
}

VIT_HOLDS = {
    **EVERYWHERE,
    "dist_token": ANY,
    "pos_embed": ANY,
    "pos_prefix": ANY,
    "patch_norm": ANY,
    "qkv_bias": (QKVBias.ALL, QKVBias.NONE),
    "qk_norm": ANY,
    "attn_norm": ANY,
    "attention": ANY,
    "block": ANY,
    "proj_bias": ANY,
    "mlp_bias": ANY,
    "mlp_out_bias": ANY,
    "pool": (Pool.CLS, Pool.AVG, Pool.MAP, Pool.CLS_DIST, Pool.NONE),
    "pool_prefix": ANY,
    "head": (Head.LINEAR, Head.DISTILLED, Head.PROJECTION),
}

IN_SEQUENCE = (BlockKind.PRE_NORM, BlockKind.POST_NORM)
PATCH_BIAS: Implications = (
    ({"norm_pre": True}, {"patch_bias": (False,)}),
    ({"norm_pre": False}, {"patch_bias": (True,)}),
)
# One switch puts either all prefix tokens into the table of positions or none.
PREFIX_SLOTS: Implications = (
    (
        {"pos_prefix": PosPrefix.CLS, "pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED)},
        {"num_prefix_tokens": (1,)},
    ),
)
VIT_IMPLIES: Implications = (
    *PATCH_BIAS,
    *PREFIX_SLOTS,
    # One switch for the biases of all output layers; the parallel block keeps the bias of the MLP's first layer.
    *(
        ({"proj_bias": bias, "block": IN_SEQUENCE}, {"mlp_bias": (bias,), "mlp_out_bias": (bias,)})
        for bias in (True, False)
    ),
    ({"block": BlockKind.PARALLEL}, {"mlp": (MLP.PLAIN,), "mlp_bias": (True,)}),
    ({"block": BlockKind.PARALLEL}, {"attn_norm": (False,), "mlp_norm": (False,)}),
    *(
        (
            {"block": BlockKind.PARALLEL, "attention": AttentionKind.SOFTMAX, "proj_bias": bias},
            {"mlp_out_bias": (bias,)},
        )
        for bias in (True, False)
    ),
    ({"block": BlockKind.PARALLEL, "attention": DIFFERENTIAL}, {"mlp_out_bias": (False,)}),
    ({"block": BlockKind.POST_NORM}, {"layer_scale": (None,)}),
    (
        {"dist_token": True},
        {
            "pool": (Pool.CLS_DIST,),
            "pos_prefix": (PosPrefix.ALL,),
            "pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED),
            "reg_tokens": (0,),
            "final_norm": (FinalNorm.TOKENS, FinalNorm.NONE),
        },
    ),
)
# The activation is no argument of these two classes.
FIXED_ACTIVATION: Implications = (
    ({"mlp": MLP.PLAIN}, {"act": (Activation.GELU,)}),
    ({"mlp": MLP.GATED}, {"act": (Activation.SILU,)}),
)
EVA_IMPLIES: Implications = (
    *PATCH_BIAS,
    *PREFIX_SLOTS,
    *FIXED_ACTIVATION,
    ({"pool": Pool.MAP}, {"mlp": (MLP.PLAIN,)}),  # its pool is always of GELU
    ({"pool": Pool.MAP, "pool_prefix": False}, {"num_prefix_tokens": (0,)}),
    ({"pool": Pool.AVG}, {"pool_prefix": (False,)}),
    ({"block": BlockKind.POST_NORM}, {"layer_scale": (None,), "qk_norm": (False,), "num_kv_heads": (None,)}),
    ({"qkv_bias": QKVBias.QV}, {"num_kv_heads": (None,)}),
    ({}, {"rope.stored": (False, None)}),  # it computes the periods anew
    ({"rope.kind": RopeKind.MIXED}, {"rope.pairs": (RopePairs.NEIGHBOURS,)}),
)
PACKED_IMPLIES: Implications = (({"mlp": MLP.GATED}, {"mlp_norm": (False,)}),)
APART_IMPLIES: Implications = (({"mlp": MLP.GATED, "block": BlockKind.POST_NORM}, {"mlp_norm": (True,)}),)

VIT_STORED = {"timm": False, "timm_packed": True}
"""Whether gate and up are one layer, by layout."""
EVA_STORED = {
    "timm_eva": (False, False),
    "timm_eva_packed": (False, True),
    "timm_eva_split": (True, False),
    "timm_eva_split_packed": (True, True),
}
"""Whether query, key and value are three layers, and gate and up are one, by layout."""

LAYOUTS = (
    *(
        Layout(
            name,
            (*VISION_TRANSFORMER, *(PACKED if packed else APART)),
            holds=VIT_HOLDS,
            origin="timm/models/vision_transformer.py, class VisionTransformer; deit.py, VisionTransformerDistilled",
            implies=VIT_IMPLIES,
        )
        for name, packed in VIT_STORED.items()
    ),
    *(
        Layout(
            name,
            (*EVA, *(SPLIT if split else KEYLESS), *(PACKED if packed else APART)),
            holds={**EVA_HOLDS, **({"num_kv_heads": ANY} if split else {})},
            origin="timm/models/eva.py, class Eva",
            implies=(*EVA_IMPLIES, *(PACKED_IMPLIES if packed else APART_IMPLIES)),
        )
        for name, (split, packed) in EVA_STORED.items()
    ),
    Layout(
        "timm_beit",
        BEIT,
        holds={
            **EVERYWHERE,
            "norm_pre": (False,),
            "patch_bias": (True,),
            "reg_tokens": (0,),
            "class_token": (True,),
            "pos_embed": (PosEmbed.LEARNED, PosEmbed.NONE),
            "pos_prefix": ANY,
            "rel_pos": (RelPos.NONE, RelPos.BLOCK, RelPos.SHARED),
            "qkv_bias": (QKVBias.QV, QKVBias.NONE),
            "final_norm": (FinalNorm.TOKENS, FinalNorm.POOLED),
            "pool": (Pool.CLS, Pool.AVG, Pool.NONE),
        },
        origin="timm/models/beit.py, class Beit",
        implies=(
            *FIXED_ACTIVATION,
            ({"pos_embed": PosEmbed.LEARNED}, {"pos_prefix": (PosPrefix.CLS, PosPrefix.ALL)}),
        ),
    ),
)
