"""google-research/vision_transformer's `.npz` files (vit_jax/models_vit.py, vit_jax/checkpoint.py).

flax kernels are (in, out), and the heads of queries, keys and values have an axis of their own. Modules are numbered:
before linen in one row for all of a block (LayerNorm_0, MultiHeadDotProductAttention_1, LayerNorm_2, MlpBlock_3), in
linen for each class. The released ViT and AugReg files are of the first kind, LiT and what the code saves today of the
second.
"""

from dataclasses import replace

from vitzoo.layouts.layout import ANY, Layout
from vitzoo.layouts.rules import Drop, Join, Table, module, positions, same
from vitzoo.spec import Activation, CropMode, Head, Pool, PosPrefix, Preprocessing, Resample

Leaves = dict[str, tuple[str, str | None]]

TOKEN = "1 n d -> n d"
NORM: Leaves = {"weight": ("scale", None), "bias": ("bias", None)}
DENSE: Leaves = {"weight": ("kernel", "i o -> o i"), "bias": ("bias", None)}
CONV: Leaves = {"weight": ("kernel", "h w i o -> o i h w"), "bias": ("bias", None)}
TO_HEADS: Leaves = {
    "weight": ("kernel", "d num_heads k -> (num_heads k) d"),
    "bias": ("bias", "num_heads k -> (num_heads k)"),
}
FROM_HEADS: Leaves = {"weight": ("kernel", "num_heads k d -> d (num_heads k)"), "bias": ("bias", None)}

LINEN = ("LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")
BEFORE_LINEN = ("LayerNorm_0", "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")

HALVES = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop_mode=CropMode.SQUASH)
"""Pixels from -1 to 1 of a picture squashed into a square (vit_jax/input_pipeline.py; big_vision/pp/ops_image.py)."""

# An image tower stands beside a text tower, a temperature and perhaps a bias (LiT, SigLIP).
SCOPES = ("img/",)
DROPS: Table = (
    Drop("../txt/*", "text tower"),
    Drop("../t", "temperature of the contrastive loss"),
    Drop("../b", "bias of the contrastive loss"),
    Drop("head/*", "classifier without classes", empty=True),
)


def blocks(stored: str, names: tuple[str, str, str, str], stacked: bool = False) -> Table:
    """The encoder's blocks: norm, attention, norm, MLP, by the numbers that flax gave them."""
    norm1, attention, norm2, mlp = (f"{stored}/{name}" for name in names)
    own = "blocks.{i}"
    heads = [f"{attention}/{name}" for name in ("query", "key", "value")]
    rules: tuple[Join, ...] = (
        *module(norm1, f"{own}.norm1", NORM, "/"),
        *module(heads, f"{own}.attn.qkv", TO_HEADS, "/"),
        *module(f"{attention}/out", f"{own}.attn.proj", FROM_HEADS, "/"),
        *module(norm2, f"{own}.norm2", NORM, "/"),
        *module(f"{mlp}/Dense_0", f"{own}.mlp.fc1", DENSE, "/"),
        *module(f"{mlp}/Dense_1", f"{own}.mlp.fc2", DENSE, "/"),
    )
    return tuple(replace(rule, stacked=stacked) for rule in rules)


ENDS: Table = (
    # Only the classifier "token" has a class token (and in big_vision, the pool "tok").
    same("cls", "cls_token", TOKEN, pool=Pool.CLS),
    *module("Transformer/encoder_norm", "norm", NORM, "/"),
    *module("pre_logits", "head.pre_logits", DENSE, "/"),
    *module("head", "head.fc", DENSE, "/"),
)
TABLE: Table = (
    *ENDS,
    *module("embedding", "patch_embed.proj", CONV, "/"),
    # The class token joins before positions are added, so it always has a slot.
    positions("Transformer/posembed_input/pos_embedding", class_token=True, pos_prefix=PosPrefix.CLS),
    positions("Transformer/posembed_input/pos_embedding", class_token=False),
)

LAYOUTS: tuple[Layout, ...] = tuple(
    Layout(
        name,
        (*TABLE, *blocks("Transformer/encoderblock_{i}", numbers), *DROPS),
        # flax.linen.gelu is the tanh form unless told otherwise, and flax norms have an epsilon of 1e-6.
        holds={
            "act": (Activation.GELU_TANH,),
            "class_token": ANY,
            "pos_prefix": (PosPrefix.CLS, PosPrefix.NONE),
            "pool": (Pool.CLS, Pool.AVG, Pool.NONE),
            "head": (Head.LINEAR, Head.PRE_LOGITS),
        },
        origin="google-research/vision_transformer, vit_jax/models_vit.py, class VisionTransformer",
        scopes=SCOPES,
        suffix=".npz",
        resample=Resample.GOOGLE,
        preprocessing=HALVES,
    )
    for name, numbers in (("google", BEFORE_LINEN), ("google_linen", LINEN))
)
