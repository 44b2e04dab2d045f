"""torchvision's VisionTransformer (torchvision/models/vision_transformer.py).

Version 1 of its MLP named the layers linear_1 and linear_2; version 2 numbers them in a sequence with the activation
and the dropouts, and still loads version 1.
"""

from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import Drop, Table, module, positions, same
from vitzoo.spec import Head, Resample

BLOCK, OWN = "encoder.layers.encoder_layer_{i}", "blocks.{i}"

TABLE: Table = (
    same("class_token", "cls_token", "1 n d -> n d"),
    positions("encoder.pos_embedding"),
    *module("conv_proj", "patch_embed.proj"),
    *module(f"{BLOCK}.ln_1", f"{OWN}.norm1"),
    *module(
        f"{BLOCK}.self_attention",
        f"{OWN}.attn.qkv",
        {"weight": ("in_proj_weight", None), "bias": ("in_proj_bias", None)},
    ),
    *module(f"{BLOCK}.self_attention.out_proj", f"{OWN}.attn.proj"),
    *module(f"{BLOCK}.ln_2", f"{OWN}.norm2"),
    *module("encoder.ln", "norm"),
    *module("heads.pre_logits", "head.pre_logits"),
    *module("heads.head", "head.fc"),
    Drop("heads.head.*", "classifier without classes", empty=True),
)

LAYOUTS: tuple[Layout, ...] = tuple(
    Layout(
        name,
        (*TABLE, *module(f"{BLOCK}.mlp.{first}", f"{OWN}.mlp.fc1"), *module(f"{BLOCK}.mlp.{second}", f"{OWN}.mlp.fc2")),
        holds={"in_chans": (3,), "head": (Head.LINEAR, Head.PRE_LOGITS)},
        origin="torchvision/models/vision_transformer.py, class VisionTransformer",
        variants={"norm_eps": ANY},
        head="heads",
        suffix=".pth",
        square=True,
        resample=Resample.TORCHVISION,
    )
    for name, first, second in (("torchvision", "0", "3"), ("torchvision_v1", "linear_1", "linear_2"))
)
