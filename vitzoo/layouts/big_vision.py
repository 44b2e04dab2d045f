"""google-research/big_vision's `.npz` files: ViT, FlexiViT, SigLIP, SigLIP 2 (big_vision/models/vit.py).

Positions are added before the class token joins, so that it has no slot. With `scan`, the blocks are stacked along a
leading axis. NaFlex models (models/proj/image_text/naflex_vit.py) project flattened patches and keep the grid's axes.
"""

from torch import Tensor

from vitzoo.layouts.google import (
    CONV,
    DENSE,
    DROPS,
    ENDS,
    FROM_HEADS,
    HALVES,
    LINEN,
    NORM,
    SCOPES,
    TO_HEADS,
    TOKEN,
    Leaves,
    blocks,
)
from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import Implied, Join, Piece, Table, module, positions, same
from vitzoo.model.resample import sincos2d
from vitzoo.spec import Activation, Head, Pool, PosEmbed, PosPrefix, Resample, ViTSpec

GRID = "rows cols d -> (rows cols) d"
PATCHES: Leaves = {
    "weight": ("kernel", "(patch_rows patch_cols in_chans) d -> d in_chans patch_rows patch_cols"),
    "bias": ("bias", None),
}


def fixed(spec: ViTSpec) -> Tensor:
    """Positions (rows * columns, hidden_dim) of `posemb: sincos2d`."""
    return sincos2d(spec.grid, spec.hidden_dim).flatten(0, 1)


ATTENTION = "MAPHead_0/MultiHeadDotProductAttention_0"
MAP_HEAD: Table = (
    same("MAPHead_0/probe", "pool.probe", TOKEN),
    *module(f"{ATTENTION}/query", "pool.q", TO_HEADS, "/"),
    *module((f"{ATTENTION}/key", f"{ATTENTION}/value"), "pool.kv", TO_HEADS, "/"),
    *module(f"{ATTENTION}/out", "pool.proj", FROM_HEADS, "/"),
    *module("MAPHead_0/LayerNorm_0", "pool.norm", NORM, "/"),
    *module("MAPHead_0/MlpBlock_0/Dense_0", "pool.fc1", DENSE, "/"),
    *module("MAPHead_0/MlpBlock_0/Dense_1", "pool.fc2", DENSE, "/"),
)
COMMON: Table = (*ENDS, *MAP_HEAD, *DROPS)
FIXED_SIZE: Table = (
    *module("embedding", "patch_embed.proj", CONV, "/"),
    positions("pos_embedding", pos_embed=PosEmbed.LEARNED),
    Join((Implied(fixed),), (Piece("pos_embed.grid", GRID),), given={"pos_embed": PosEmbed.FIXED}),
)
NAFLEX: Table = (
    *module("embedding", "patch_embed.proj", PATCHES, "/"),
    same("pos_embedding", "pos_embed.grid"),
)
LOOP = blocks("Transformer/encoderblock_{i}", LINEN)
SCAN = blocks("Transformer/encoderblock", LINEN, stacked=True)

HOLDS = {
    "act": (Activation.GELU_TANH,),
    "class_token": ANY,
    "pos_prefix": (PosPrefix.NONE,),
    "pool": (Pool.CLS, Pool.AVG, Pool.MAP),
    "head": (Head.LINEAR, Head.PRE_LOGITS),
}

LAYOUTS: tuple[Layout, ...] = tuple(
    Layout(
        f"{name}{suffix}",
        (*COMMON, *table, *encoder),
        holds=HOLDS | more,
        origin=f"google-research/big_vision, big_vision/models/{origin}, class _Model",
        scopes=SCOPES,
        suffix=".npz",
        resample=Resample.GOOGLE,
        resample_if=({"pos_embed": PosEmbed.FIXED}, Resample.SINCOS2D),
        preprocessing=HALVES,
    )
    for name, table, more, origin in (
        ("big_vision", FIXED_SIZE, {"pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED)}, "vit.py"),
        (
            "big_vision_naflex",
            NAFLEX,
            {"class_token": (False,), "pool": (Pool.AVG, Pool.MAP, Pool.NONE)},
            "proj/image_text/naflex_vit.py",
        ),
    )
    for suffix, encoder in (("", LOOP), ("_scan", SCAN))
)
