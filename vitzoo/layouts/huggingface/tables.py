"""transformers' vision models as save_pretrained writes them (transformers 5.24, models/*/modeling_*.py).

Version 5 renames tensors in memory (conversion_mapping.py) and writes the names of version 4: these are the names here.
A model with a task head keeps its encoder under a scope and its head beside it; a bare encoder has no scope.
"""

import torch

from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import OUTSIDE, Drop, Fixed, Join, Piece, Table, Zeros, module, positions, same
from vitzoo.spec import (
    MLP,
    Activation,
    FinalNorm,
    Head,
    Norm,
    Pool,
    PosEmbed,
    PosPrefix,
    QKVBias,
    Resample,
    Rope,
    RopeKind,
    RopePairs,
)

BLOCK = "blocks.{i}"
LAYER = "encoder.layer.{i}"
LAYERS = "encoder.layers.{i}"
TOKEN = "1 n d -> n d"


def apart(stored: tuple[str, str, str]) -> Table:
    """Query, key and value in three modules."""
    query, _, value = stored
    fused = f"{BLOCK}.attn.qkv"
    return (
        Join(tuple(Piece(f"{name}.weight") for name in stored), (Piece(f"{fused}.weight"),)),
        Join(
            tuple(Piece(f"{name}.bias") for name in stored),
            (Piece(f"{fused}.bias"),),
            given={"qkv_bias": QKVBias.ALL},
        ),
        Join(
            (Piece(f"{query}.bias"), Zeros(), Piece(f"{value}.bias")),
            (Piece(f"{fused}.bias"),),
            given={"qkv_bias": QKVBias.QV},
        ),
    )


def block(layer: str, **names: str) -> Table:
    """Modules of a block that have one counterpart each; `__` stands for a dot."""
    return tuple(
        rule
        for own, stored in names.items()
        for rule in module(f"{layer}.{stored}", f"{BLOCK}.{own.replace('__', '.')}")
    )


def scales(layer: str, first: str, second: str) -> Table:
    return (same(f"{layer}.{first}", f"{BLOCK}.ls1.gamma"), same(f"{layer}.{second}", f"{BLOCK}.ls2.gamma"))


def dropped(reason: str, *keys: str) -> Table:
    return tuple(Drop(key, reason) for key in keys)


MASKED = dropped("only masked pretraining uses it", "embeddings.mask_token")
TEXT = (
    *dropped("belongs to the text tower", f"{OUTSIDE}text_model.*", f"{OUTSIDE}text_projection.*"),
    *dropped("scales the similarity of pictures and texts", f"{OUTSIDE}logit_*"),
)
CLASSIFIER = f"{OUTSIDE}classifier"

EMBEDDINGS: Table = (
    same("embeddings.cls_token", "cls_token", TOKEN),
    positions("embeddings.position_embeddings"),
    *module("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    *MASKED,
)
LAYERS_OF_VIT: Table = (
    *apart(tuple(f"{LAYER}.attention.attention.{name}" for name in ("query", "key", "value"))),  # type: ignore[arg-type]
    *block(
        LAYER,
        norm1="layernorm_before",
        attn__proj="attention.output.dense",
        norm2="layernorm_after",
        mlp__fc1="intermediate.dense",
        mlp__fc2="output.dense",
    ),
)
# The pooler is a tanh layer that only a bare model applies; no classifier reads it.
POOLER: Table = (
    *module("pooler.dense", "head.pre_logits", num_classes=0),
    *dropped("the classifier does not use the pooler", "pooler.dense.weight", "pooler.dense.bias"),
)
VIT: Table = (
    *EMBEDDINGS,
    *LAYERS_OF_VIT,
    *POOLER,
    *module("layernorm", "norm"),
    *module(CLASSIFIER, "head.fc"),
    Drop("decoder.*", "the decoder only serves masked pretraining (ViTMAE)"),
)
DEIT: Table = (
    *EMBEDDINGS,
    *LAYERS_OF_VIT,
    *POOLER,
    same("embeddings.distillation_token", "dist_token", TOKEN),
    *module("layernorm", "norm"),
    *module(CLASSIFIER, "head.fc", head=Head.LINEAR),
    *module(f"{OUTSIDE}cls_classifier", "head.fc", head=Head.DISTILLED),
    *module(f"{OUTSIDE}distillation_classifier", "head.fc_dist"),
)
REL_POS: Table = tuple(
    Join(
        (Piece(f"{stored}.relative_position_bias.relative_position_bias_table"),),
        (Piece(f"{own}.grid", "rel_rows rel_cols h -> (rel_rows rel_cols) h"), Piece(f"{own}.prefix")),
    )
    for stored, own in ((f"{LAYER}.attention.attention", f"{BLOCK}.attn.rel_pos"), ("encoder", "rel_pos"))
)
BEIT: Table = (
    *EMBEDDINGS,
    *LAYERS_OF_VIT,
    *REL_POS,
    *scales(LAYER, "lambda_1", "lambda_2"),
    *module("layernorm", "norm", final_norm=FinalNorm.TOKENS),
    *module("pooler.layernorm", "norm", final_norm=FinalNorm.POOLED),
    *module(CLASSIFIER, "head.fc"),
    *dropped(
        "follows from the grid",
        *(
            f"{stored}.relative_position_bias.relative_position_index"
            for stored in (f"{LAYER}.attention.attention", "encoder")
        ),
    ),
)


def unscaled(layer: str) -> Table:
    """The class always has a layer scale: one of ones is none."""
    return tuple(
        Fixed(
            f"{layer}.layer_scale{number}.lambda1",
            lambda spec, _: torch.ones(spec.hidden_dim),
            "a model without layer scale",
            given={"layer_scale": None},
        )
        for number in (1, 2)
    )


DINOV2: Table = (
    *EMBEDDINGS,
    same("embeddings.register_tokens", "reg_tokens", TOKEN),
    *apart(tuple(f"{LAYER}.attention.attention.{name}" for name in ("query", "key", "value"))),  # type: ignore[arg-type]
    *block(LAYER, norm1="norm1", attn__proj="attention.output.dense", norm2="norm2", mlp__fc1="mlp.fc1"),
    *module(f"{LAYER}.mlp.fc2", f"{BLOCK}.mlp.fc2", mlp=MLP.PLAIN),
    *module(f"{LAYER}.mlp.weights_in", (f"{BLOCK}.mlp.gate", f"{BLOCK}.mlp.up")),
    *module(f"{LAYER}.mlp.weights_out", f"{BLOCK}.mlp.fc2", mlp=MLP.GATED),
    *scales(LAYER, "layer_scale1.lambda1", "layer_scale2.lambda1"),
    *unscaled(LAYER),
    *module("layernorm", "norm"),
    *module(CLASSIFIER, "head.fc", pool=Pool.CLS_AVG),
)
# Its class always has one, and asks for it.
MASK_TOKEN = "embeddings.mask_token"
DINOV2_WITH_REGISTERS: Table = (
    *(rule for rule in DINOV2 if rule not in MASKED),
    Fixed(
        MASK_TOKEN, lambda spec, _: torch.zeros(1, spec.hidden_dim), "only masked pretraining uses it", checked=False
    ),
)
DINOV3: Table = (
    same("embeddings.cls_token", "cls_token", TOKEN),
    same("embeddings.register_tokens", "reg_tokens", TOKEN),
    Fixed(
        "embeddings.register_tokens",
        lambda spec, _: torch.zeros(1, 0, spec.hidden_dim),
        "a table of no registers",
        given={"reg_tokens": 0},
    ),
    Fixed(
        "embeddings.mask_token",
        lambda spec, _: torch.zeros(1, 1, spec.hidden_dim),
        "only masked pretraining uses it",
        checked=False,
    ),
    *module("embeddings.patch_embeddings", "patch_embed.proj"),
    *apart(tuple(f"layer.{{i}}.attention.{name}_proj" for name in "qkv")),  # type: ignore[arg-type]
    *block(
        "layer.{i}",
        norm1="norm1",
        attn__proj="attention.o_proj",
        norm2="norm2",
        mlp__fc1="mlp.up_proj",
        mlp__gate="mlp.gate_proj",
        mlp__up="mlp.up_proj",
        mlp__fc2="mlp.down_proj",
    ),
    *scales("layer.{i}", "layer_scale1.lambda1", "layer_scale2.lambda1"),
    *unscaled("layer.{i}"),
    *module("norm", "norm"),
)
TOWER: Table = (
    *apart(tuple(f"{LAYERS}.self_attn.{name}_proj" for name in "qkv")),  # type: ignore[arg-type]
    *block(
        LAYERS,
        norm1="layer_norm1",
        attn__proj="self_attn.out_proj",
        norm2="layer_norm2",
        mlp__fc1="mlp.fc1",
        mlp__fc2="mlp.fc2",
    ),
    positions("embeddings.position_embedding.weight", "n d -> n d"),
    *module("post_layernorm", "norm"),
    Drop("embeddings.position_ids", "counts the positions"),
    *TEXT,
)
CLIP: Table = (
    *TOWER,
    same("embeddings.class_embedding", "cls_token", "d -> 1 d"),
    same("embeddings.patch_embedding.weight", "patch_embed.proj.weight"),
    *module("pre_layrnorm", "norm_pre"),  # transformers' own spelling
    same(f"{OUTSIDE}visual_projection.weight", "head.proj.weight", head_bias=False),
)
MAP: Table = (
    same("head.probe", "pool.probe", TOKEN),
    *(
        Join((Piece(f"head.attention.in_proj_{leaf}"),), (Piece(f"pool.q.{leaf}"), Piece(f"pool.kv.{leaf}")))
        for leaf in ("weight", "bias")
    ),
    *module("head.attention.out_proj", "pool.proj"),
    *module("head.layernorm", "pool.norm"),
    *module("head.mlp.fc1", "pool.fc1"),
    *module("head.mlp.fc2", "pool.fc2"),
    Drop("head.*", "the classifier averages the patches instead of pooling by attention"),
    *module(CLASSIFIER, "head.fc", pool=Pool.AVG),
)
SIGLIP: Table = (*TOWER, *MAP, *module("embeddings.patch_embedding", "patch_embed.proj"))
# The projection is a linear layer over patches that were cut out before.
SIGLIP2: Table = (
    *TOWER,
    *MAP,
    same(
        "embeddings.patch_embedding.weight",
        "patch_embed.proj.weight",
        "d (patch_rows patch_cols c) -> d c patch_rows patch_cols",
    ),
    same("embeddings.patch_embedding.bias", "patch_embed.proj.bias"),
)
AIMV2: Table = (
    positions("embeddings.position_embedding.weight", "n d -> n d"),
    *module("embeddings.patch_embed", "patch_embed.proj"),
    *module("embeddings.rms_norm", "patch_embed.norm"),
    *apart(tuple(f"{LAYERS}.attention.{name}_proj" for name in "qkv")),  # type: ignore[arg-type]
    *block(
        LAYERS,
        norm1="rms_norm1",
        attn__proj="attention.out_proj",
        norm2="rms_norm2",
        mlp__gate="ffn.gate_proj",
        mlp__up="ffn.up_proj",
        mlp__fc2="ffn.down_proj",
    ),
    *module("rms_norm", "norm"),
    Drop("head.*", "this attention pool has no query projection and no MLP; the patches are averaged"),
    Drop(f"{OUTSIDE}visual_projection.weight", "projects what the attention pool gives"),
    *TEXT,
)

# What every class takes from its configuration, and what a spec says that a class does not use at all.
ALWAYS = {"norm_eps": ANY, "act": ANY, "drop_remainder": ANY}
PATCHES_ONLY = {"class_token": (False,), "pos_prefix": (PosPrefix.NONE,)}
TRAINED_OR_NOT = {"pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED)}
FUSED_BIAS = {"qkv_bias": (QKVBias.ALL, QKVBias.NONE)}
DINOV2_HOLDS = {
    **ALWAYS,
    **FUSED_BIAS,
    "act": ANY,
    "layer_scale": ANY,
    "mlp": (MLP.PLAIN, MLP.GATED),
    "pool": (Pool.CLS, Pool.CLS_AVG),
}
# SiglipForImageClassification pools by the mean; without a classifier only the encoder is left, which does not.
SIGLIP_IMPLIES = (({"num_classes": 0}, {"pool": (Pool.MAP, Pool.NONE)}),)
SIGLIP_HOLDS = {**ALWAYS, **PATCHES_ONLY, **TRAINED_OR_NOT, "pool": (Pool.MAP, Pool.AVG, Pool.NONE)}
DINOV3_ROPE = Rope.model_validate({"kind": RopeKind.DINOV3, "theta": 100.0, "pairs": RopePairs.HALVES})

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "hf_vit",
        VIT,
        holds={**ALWAYS, **TRAINED_OR_NOT, **FUSED_BIAS, "head": (Head.LINEAR, Head.PRE_LOGITS)},
        origin="transformers/models/vit, vit_mae, vit_msn",
        resample=Resample.HUGGINGFACE,
        scopes=("vit.",),
        # ViTMSNForImageClassification is written with the scope before some of the encoder's keys alone.
        prefixes=("vit.",),
    ),
    Layout(
        "hf_deit",
        DEIT,
        holds={
            **ALWAYS,
            **TRAINED_OR_NOT,
            **FUSED_BIAS,
            "dist_token": (True,),
            "pos_prefix": (PosPrefix.ALL,),
            "pool": (Pool.CLS, Pool.CLS_DIST),
            "head": (Head.LINEAR, Head.PRE_LOGITS, Head.DISTILLED),
        },
        origin="transformers/models/deit",
        resample=Resample.HUGGINGFACE,
        scopes=("deit.",),
    ),
    Layout(
        "hf_ijepa",
        VIT,
        holds={**ALWAYS, **PATCHES_ONLY, **TRAINED_OR_NOT, **FUSED_BIAS, "pool": (Pool.AVG,)},
        origin="transformers/models/ijepa",
        resample=Resample.HUGGINGFACE,
        scopes=("ijepa.",),
    ),
    Layout(
        "hf_dinov2",
        DINOV2,
        holds=DINOV2_HOLDS,
        origin="transformers/models/dinov2",
        resample=Resample.HUGGINGFACE,
        scopes=("dinov2.",),
    ),
    Layout(
        "hf_dinov2_with_registers",
        DINOV2_WITH_REGISTERS,
        holds={**DINOV2_HOLDS, "reg_tokens": ANY},
        origin="transformers/models/dinov2_with_registers",
        resample=Resample.DINOV2_REG,
        scopes=("dinov2_with_registers.",),
    ),
    Layout(
        "hf_dinov3_vit",
        DINOV3,
        holds={
            **ALWAYS,
            "reg_tokens": ANY,
            "pos_embed": (PosEmbed.NONE,),
            "pos_prefix": ANY,
            "rope": (DINOV3_ROPE,),
            "layer_scale": ANY,
            "qkv_bias": ANY,
            "proj_bias": ANY,
            "mlp": (MLP.PLAIN, MLP.GATED),
            "mlp_bias": ANY,
            "mlp_out_bias": ANY,
        },
        origin="transformers/models/dinov3_vit",
        resample=Resample.HUGGINGFACE,
    ),
    Layout(
        "hf_siglip",
        SIGLIP,
        holds=SIGLIP_HOLDS,
        origin="transformers/models/siglip; SigLIP 2 for pictures of one size is stored so too",
        resample=Resample.HUGGINGFACE,
        scopes=("vision_model.",),
        implies=SIGLIP_IMPLIES,
    ),
    Layout(
        "hf_siglip2",
        SIGLIP2,
        holds=SIGLIP_HOLDS,
        origin="transformers/models/siglip2 (NaFlex)",
        resample=Resample.BIG_VISION,
        scopes=("vision_model.",),
        implies=SIGLIP_IMPLIES,
    ),
    Layout(
        "hf_clip",
        CLIP,
        # The class norms the class token alone, which the pool takes: both orders give the same features.
        holds={
            **ALWAYS,
            "patch_bias": (False,),
            "norm_pre": (True,),
            "final_norm": (FinalNorm.POOLED, FinalNorm.TOKENS),
            "head": (Head.PROJECTION, Head.LINEAR),
            "head_bias": ANY,
        },
        implies=(({"head": Head.LINEAR}, {"num_classes": (0,)}),),
        origin="transformers/models/clip",
        resample=Resample.HUGGINGFACE,
        scopes=("vision_model.",),
    ),
    Layout(
        "hf_beit",
        BEIT,
        holds={
            **ALWAYS,
            "pos_embed": (PosEmbed.LEARNED, PosEmbed.NONE),
            "rel_pos": ANY,
            "qkv_bias": (QKVBias.QV,),
            "layer_scale": ANY,
            "final_norm": (FinalNorm.TOKENS, FinalNorm.POOLED),
            "pool": (Pool.CLS, Pool.AVG),
        },
        origin="transformers/models/beit",
        resample=Resample.HUGGINGFACE,
        scopes=("beit.",),
    ),
    Layout(
        "hf_aimv2",
        AIMV2,
        holds={
            **ALWAYS,
            **PATCHES_ONLY,
            **TRAINED_OR_NOT,
            **FUSED_BIAS,
            "patch_norm": (True,),
            "norm": (Norm.RMS,),
            "proj_bias": ANY,
            "mlp": (MLP.GATED,),
            "mlp_bias": ANY,
            "mlp_out_bias": ANY,
            "pool": (Pool.AVG, Pool.NONE),
            "act": (Activation.SILU, Activation.GELU, Activation.GELU_TANH, Activation.QUICK_GELU),
        },
        origin="transformers/models/aimv2",
        resample=Resample.HUGGINGFACE,
        scopes=("vision_model.",),
    ),
)

GROUP: tuple[str, ...] = (
    "hf_vit",
    "hf_deit",
    "hf_dinov2",
    "hf_dinov2_with_registers",
    "hf_dinov3_vit",
    "hf_siglip",
    "hf_clip",
    "hf_beit",
    "hf_ijepa",
    "hf_aimv2",
    "hf_siglip2",
)
"""The order in which layouts are tried for a model to be written for transformers."""
