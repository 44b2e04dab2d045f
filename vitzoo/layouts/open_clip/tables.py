"""The image towers of CLIP models: OpenAI's and OpenCLIP's own, timm's inside OpenCLIP, Meta's Perception Encoder.

A file holds the whole model, or the tower alone; the tower alone is written.
"""

from vitzoo.layouts.layout import ANY, Implications, Layout
from vitzoo.layouts.rules import Drop, Join, Piece, Rule, Table, Zeros, inside, module, positions, same
from vitzoo.layouts.timm import tables as timm
from vitzoo.spec import Activation, FinalNorm, Head, Pool, PosEmbed, PosPrefix, Resample, Rope, RopeKind

BLOCK = "transformer.resblocks.{i}"
OWN = "blocks.{i}"
PACKED = {"weight": ("in_proj_weight", None), "bias": ("in_proj_bias", None)}

TEXT: Table = (
    *(
        Drop(f"../{name}", "the text tower")
        for name in (
            "transformer.*",
            "token_embedding.*",
            "positional_embedding",
            "ln_final.*",
            "text_projection*",
            "text.*",
            "text_decoder.*",
        )
    ),
    *(Drop(f"../logit_{name}", "scales the similarity of picture and text") for name in ("scale", "bias")),
    *(Drop(f"../{name}", "a size, and no weight") for name in ("input_resolution", "context_length", "vocab_size")),
)
TOWER: Table = (
    same("class_embedding", "cls_token", "d -> 1 d"),
    positions("positional_embedding", "n d -> n d"),
    same("conv1.weight", "patch_embed.proj.weight"),
    *module("ln_pre", "norm_pre"),
    *module(f"{BLOCK}.ln_1", f"{OWN}.norm1"),
    *module(f"{BLOCK}.attn", f"{OWN}.attn.qkv", PACKED),
    *module(f"{BLOCK}.attn.out_proj", f"{OWN}.attn.proj"),
    same(f"{BLOCK}.ls_1.gamma", f"{OWN}.ls1.gamma"),
    *module(f"{BLOCK}.ln_2", f"{OWN}.norm2"),
    *module(f"{BLOCK}.mlp.c_fc", f"{OWN}.mlp.fc1"),
    *module(f"{BLOCK}.mlp.c_proj", f"{OWN}.mlp.fc2"),
    same(f"{BLOCK}.ls_2.gamma", f"{OWN}.ls2.gamma"),
    *module("ln_post", "norm"),
    same("proj", "head.proj.weight", "d out_dim -> out_dim d"),
    Join((Zeros(),), (Piece("head.proj.bias"),)),
    *TEXT,
)
POOL: Table = (
    *(
        Join((Piece(f"attn_pool.attn.in_proj_{leaf}"),), (Piece(f"pool.q.{leaf}"), Piece(f"pool.kv.{leaf}")))
        for leaf in ("weight", "bias")
    ),
    *module("attn_pool.attn.out_proj", "pool.proj"),
    *module("attn_pool.layernorm", "pool.norm"),
    *module("attn_pool.mlp.c_fc", "pool.fc1"),
    *module("attn_pool.mlp.c_proj", "pool.fc2"),
)

HOLDS = {
    "patch_bias": (False,),
    "pos_embed": (PosEmbed.LEARNED, PosEmbed.FIXED),
    "norm_eps": (1e-5,),
    "norm_pre": ANY,
    "layer_scale": ANY,
    "head": (Head.PROJECTION, Head.LINEAR),
    "head_bias": ANY,
}
NO_CLASSES: Implications = (({"head": Head.LINEAR}, {"num_classes": (0,)}),)
PE_HOLDS = {
    **HOLDS,
    "pos_embed": (PosEmbed.LEARNED, PosEmbed.NONE),
    "final_norm": (FinalNorm.TOKENS, FinalNorm.NONE),
    "pool_heads": ANY,
    "pool_mlp_dim": ANY,
}


def pe_rope(offset: float) -> Rope:
    """Raw patch indices, columns first; the class token has index 0, so that patches start at 1 beside it."""
    return Rope(kind=RopeKind.AXIAL, theta=10000.0, columns_first=True, offset=offset, ref_grid=None, stored=False)


def has_head(rule: Rule) -> bool:
    return isinstance(rule, Join) and any(piece.key.startswith("head.") for piece in rule.native)


def timm_tower(table: Layout, projected: bool) -> Layout:
    """OpenCLIP's TimmModel: `trunk` is timm's model, and the projection its own head or one that stands beside it."""
    rules = inside("trunk.", (rule for rule in table.rules if not (projected and has_head(rule))))
    return Layout(
        f"open_clip_{table.name}{'_projected' if projected else ''}",
        (*rules, *(module("head.proj", "head.proj") if projected else ()), *TEXT),
        holds={**table.holds, "head": (Head.PROJECTION, Head.LINEAR), "head_bias": ANY if projected else (True,)},
        origin="open_clip/timm_model.py, class TimmModel",
        suffix=".pt",
        implies=(*table.implies, *NO_CLASSES),
        scopes=("visual.",),
    )


_TOWERS = {table.name: tuple(timm_tower(table, projected) for projected in (True, False)) for table in timm.LAYOUTS}
TIMM_TOWERS = tuple(tower for towers in _TOWERS.values() for tower in towers)
TOWERS_OF = {name: tuple(tower.name for tower in towers) for name, towers in _TOWERS.items()}
"""The layouts of a tower by that of the trunk alone."""
TRUNKS = "open_clip_trunk"
"""The group of timm's towers."""

LAYOUTS = (
    Layout(
        "open_clip",
        TOWER,
        holds={
            **HOLDS,
            "final_norm": (FinalNorm.TOKENS, FinalNorm.POOLED),
            "act": (Activation.GELU, Activation.QUICK_GELU),
            "pool": (Pool.CLS, Pool.AVG),
        },
        # norm_kwargs and act_kwargs, as CLIPA's models have them.
        variants={"norm_eps": ANY, "act": (Activation.GELU, Activation.QUICK_GELU, Activation.GELU_TANH)},
        origin="open_clip/transformer.py, class VisionTransformer; openai/CLIP clip/model.py",
        suffix=".pt",
        implies=NO_CLASSES,
        scopes=("visual.",),
    ),
    Layout(
        "pe",
        # Pooling attends to the class token too.
        (*TOWER, *POOL, same("attn_pool.probe", "pool.probe", timm.TOKEN, pool_prefix=True)),
        holds={
            **PE_HOLDS,
            "rope": (pe_rope(1.0),),
            "pool": (Pool.MAP, Pool.CLS, Pool.NONE),
            "pool_prefix": ANY,
        },
        origin="facebookresearch/perception_models core/vision_encoder/{pe,rope}.py",
        suffix=".pt",
        resample=Resample.PE,
        implies=NO_CLASSES,
        scopes=("visual.",),
    ),
    Layout(
        "pe_no_class",
        (*TOWER, *POOL, same("attn_pool.probe", "pool.probe", timm.TOKEN)),
        holds={
            **PE_HOLDS,
            "class_token": (False,),
            "pos_prefix": (PosPrefix.NONE,),
            "rope": (pe_rope(0.0),),
            "pool": (Pool.MAP, Pool.AVG, Pool.NONE),
            "pool_prefix": ANY,
        },
        origin="facebookresearch/perception_models core/vision_encoder/{pe,rope}.py, use_cls_token=False",
        suffix=".pt",
        resample=Resample.PE,
        implies=NO_CLASSES,
        scopes=("visual.",),
    ),
    *TIMM_TOWERS,
)
