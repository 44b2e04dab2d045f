"""The layouts of Meta's own codes: DINO, DINOv2, DINOv3, MAE, DeiT, DeiT-III and I-JEPA.

DINO, MAE, DeiT and I-JEPA build on timm's VisionTransformer and name their tensors as it does: its table serves them,
with less that it may hold.
"""

import torch
from torch import Tensor

from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import Drop, Fixed, Join, Piece, Table, module, positions, same
from vitzoo.layouts.timm import tables as timm
from vitzoo.spec import (
    MLP,
    Activation,
    FinalNorm,
    Head,
    Pool,
    PosEmbed,
    PosPrefix,
    QKVBias,
    Resample,
    Rope,
    RopeKind,
    RopePairs,
    ViTSpec,
)
from vitzoo.spec.tensors import SOME

BLOCK = timm.BLOCK
TOKEN = timm.TOKEN

MASK_TOKEN = "stands for hidden patches while pretraining"
BACKBONE = ("backbone.", "teacher.backbone.")
# The heads of DINO, DINOv2, DINOv3 and iBOT: an MLP and prototypes. A classifier beside a backbone is none.
PRETRAINING: Table = (
    Drop("../student.*", "the student of a training run, whose teacher is the model"),
    *(
        Drop(f"../{head}.{part}", "projection head of the pretraining loss")
        for head in ("head", "dino_head", "ibot_head")
        for part in ("mlp*", "last_layer*")
    ),
    *(Drop(f"../{loss}.*", "state of the pretraining loss") for loss in ("dino_loss", "ibot_patch_loss")),
)


def no_mask(spec: ViTSpec, block: int) -> Tensor:
    return torch.zeros(1, spec.hidden_dim)


def key_mask(spec: ViTSpec, block: int) -> Tensor:
    """Ones for the biases of query and value, zeros for those of the key."""
    return torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(spec.attn_dim)


def periods(spec: ViTSpec, block: int) -> Tensor:
    """theta^(i / n) for the n bands of an axis, (head_dim / 4,); `layers/rope_position_encoding.py`."""
    bands = spec.dim_per_head // 4
    theta = 1.0 if spec.rope is None else spec.rope.theta
    return theta ** (torch.arange(bands, dtype=torch.float32) / bands)


# What DINOv2 and DINOv3 share. The activation follows from the kind of MLP: GELU if plain, SiLU if gated.
SELF_DISTILLED: Table = (
    same("cls_token", "cls_token", TOKEN),
    Fixed("mask_token", no_mask, MASK_TOKEN, checked=False),
    *module("patch_embed.proj", "patch_embed.proj"),
    *(rule for name in ("norm1", "attn.proj", "norm2") for rule in module(f"{BLOCK}.{name}", f"{BLOCK}.{name}")),
    same(f"{BLOCK}.attn.qkv.weight", f"{BLOCK}.attn.qkv.weight"),
    same(f"{BLOCK}.attn.qkv.bias", f"{BLOCK}.attn.qkv.bias", qkv_bias=QKVBias.ALL),
    same(f"{BLOCK}.ls1.gamma", f"{BLOCK}.ls1.gamma"),
    same(f"{BLOCK}.ls2.gamma", f"{BLOCK}.ls2.gamma"),
    *module(f"{BLOCK}.mlp.fc1", f"{BLOCK}.mlp.fc1", act=Activation.GELU),
    *module(f"{BLOCK}.mlp.fc2", f"{BLOCK}.mlp.fc2", mlp=MLP.PLAIN),
    *module(f"{BLOCK}.mlp.w3", f"{BLOCK}.mlp.fc2", mlp=MLP.GATED),
    *module("norm", "norm"),
    *PRETRAINING,
)
DINOV2: Table = (
    *SELF_DISTILLED,
    positions("pos_embed"),
    same("register_tokens", "reg_tokens", TOKEN),
    *module(f"{BLOCK}.mlp.w12", (f"{BLOCK}.mlp.gate", f"{BLOCK}.mlp.up"), mlp=MLP.GATED, act=Activation.SILU),
)
DINOV3: Table = (
    *SELF_DISTILLED,
    same("storage_tokens", "reg_tokens", TOKEN),
    same("rope_embed.periods", "rope.periods"),
    Fixed("rope_embed.periods", periods, "periods that the spec gives", given={"rope.stored": False}),
    Join(
        (Piece(f"{BLOCK}.attn.qkv.bias", masked=True),),
        (Piece(f"{BLOCK}.attn.qkv.bias"),),
        given={"qkv_bias": QKVBias.QV},
    ),
    Fixed(f"{BLOCK}.attn.qkv.bias_mask", key_mask, "hides the key's bias", given={"qkv_bias": QKVBias.QV}),
    *module(f"{BLOCK}.mlp.w1", f"{BLOCK}.mlp.gate", act=Activation.SILU),
    *module(f"{BLOCK}.mlp.w2", f"{BLOCK}.mlp.up", act=Activation.SILU),
    Drop("local_cls_norm.*", "norms the class tokens of local crops while pretraining"),
)
DEIT: Table = (
    # A model with a distillation token has two heads and a slot for each token; the authors' code knows no other.
    *(rule for rule in timm.VISION_TRANSFORMER if rule != same("dist_token", "dist_token", TOKEN)),
    same("dist_token", "dist_token", TOKEN, pool=Pool.CLS_DIST, pos_prefix=PosPrefix.ALL),
)
DEIT3: Table = (*timm.COMMON, *timm.FUSED, *timm.GAMMA)

SELF_DISTILLED_HOLDS = {
    "reg_tokens": ANY,
    "layer_scale": ANY,
    "mlp": (MLP.PLAIN, MLP.GATED),
    "mlp_bias": ANY,
    "mlp_out_bias": ANY,
    "proj_bias": ANY,
    "act": (Activation.GELU, Activation.SILU),
    "num_classes": (0,),
}
# Published DINOv3 models have one base, and periods for it; they differ in whether the files' are rounded.
DINOV3_ROPE = tuple(
    Rope(
        kind=RopeKind.DINOV3,
        theta=100.0,
        pairs=RopePairs.HALVES,
        columns_first=False,
        offset=0.0,
        ref_grid=None,
        stored=stored,
    )
    for stored in (True, False)
)

LAYOUTS = (
    Layout(
        "dino",
        (*timm.VISION_TRANSFORMER, Drop("masked_embed", MASK_TOKEN), *PRETRAINING),
        holds={"qkv_bias": (QKVBias.ALL, QKVBias.NONE)},
        origin="facebookresearch/dino vision_transformer.py, class VisionTransformer; main_dino.py; bytedance/ibot",
        suffix=".pth",
        resample=Resample.DINOV2,
        scopes=BACKBONE,
    ),
    Layout(
        "dinov2",
        DINOV2,
        holds={**SELF_DISTILLED_HOLDS, "qkv_bias": (QKVBias.ALL, QKVBias.NONE)},
        origin="facebookresearch/dinov2 dinov2/models/vision_transformer.py, layers/swiglu_ffn.py",
        suffix=".pth",
        resample=Resample.DINOV2,
        # hubconf.py builds the models with registers with antialias and without the offset.
        resample_if=({"reg_tokens": SOME}, Resample.DINOV2_REG),
        scopes=BACKBONE,
        chunks="blocks",
    ),
    Layout(
        "dinov3",
        DINOV3,
        holds={
            **SELF_DISTILLED_HOLDS,
            "pos_embed": (PosEmbed.NONE,),
            "pos_prefix": ANY,
            "rope": DINOV3_ROPE,
            "norm_eps": (1e-5,),
            "qkv_bias": ANY,
        },
        origin="facebookresearch/dinov3 dinov3/models/vision_transformer.py, layers/{attention,ffn_layers}.py",
        suffix=".pth",
        scopes=BACKBONE,
    ),
    Layout(
        "mae",
        (
            *timm.VISION_TRANSFORMER,
            Drop("mask_token", MASK_TOKEN),
            Drop("decoder_*", "the decoder, which paints hidden patches while pretraining"),
        ),
        holds={
            "pos_embed": (PosEmbed.FIXED, PosEmbed.LEARNED),
            "final_norm": (FinalNorm.TOKENS, FinalNorm.POOLED),
            "pool": (Pool.CLS, Pool.AVG),
        },
        origin="facebookresearch/mae models_mae.py, models_vit.py",
        suffix=".pth",
        resample=Resample.MAE,
    ),
    Layout(
        "deit",
        DEIT,
        holds={
            "dist_token": ANY,
            "pos_prefix": (PosPrefix.CLS, PosPrefix.ALL),
            "pool": (Pool.CLS, Pool.CLS_DIST),
            "head": (Head.LINEAR, Head.DISTILLED),
        },
        origin="facebookresearch/deit models.py, class DistilledVisionTransformer",
        suffix=".pth",
        resample=Resample.MAE,
    ),
    Layout(
        "deit3",
        DEIT3,
        holds={"pos_prefix": (PosPrefix.NONE,), "layer_scale": ANY},
        origin="facebookresearch/deit models_v2.py, class vit_models",
        suffix=".pth",
        resample=Resample.MAE,
    ),
    Layout(
        "ijepa",
        timm.VISION_TRANSFORMER,
        holds={
            "class_token": (False,),
            "pos_embed": (PosEmbed.FIXED, PosEmbed.LEARNED),
            "pos_prefix": (PosPrefix.NONE,),
            "pool": (Pool.AVG, Pool.NONE),
            "num_classes": (0,),
        },
        origin="facebookresearch/ijepa src/models/vision_transformer.py, class VisionTransformer",
        suffix=".pth",
        resample=Resample.MAE,
    ),
)
