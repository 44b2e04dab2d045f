"""The arguments of timm's classes as tables (timm/models/{vision_transformer,deit,eva,beit}.py).

Names of the tables' own, which no spec has: `packed` (gate and up in one layer), `split` (query, key and value in
three), `align` (what a gated MLP's width is rounded up to).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitzoo.layouts.config_rules import Always, Computed, Rule, Rules, Same, ratio, remainder, same, word, words
from vitzoo.layouts.timm.tables import EVA_STORED, VIT_STORED
from vitzoo.spec import MLP
from vitzoo.spec.tensors import SOME


@dataclass(frozen=True)
class Class:
    """A class of timm: its arguments, and what it always has."""

    rules: Rules
    always: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Its own values of arguments that an entry point's spec need not say: of a rope that only a file turns on."""

    @property
    def arguments(self) -> frozenset[str]:
        return frozenset(key for rule in self.rules for key in rule.keys)


IN_CODE = frozenset(
    {
        *("model_cls", "block_fn", "attn_layer", "mlp_layer", "norm_layer", "embed_norm_layer"),
        *("norm_cls", "norm_eps"),  # what `norm_layer` has where it is a class
    }
)
"""Arguments that are classes: an entry point sets them, and so can code. JSON names some of them at most."""

BY_NAME = frozenset({"model_cls"})
"""Those that come with the name of the entry point, whatever its caller says."""

HARMLESS = frozenset(
    {
        *("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate"),
        *("weight_init", "fix_init", "head_init_scale"),
        *("dynamic_img_size", "strict_img_size"),
        *("rope_shift_coords", "rope_jitter_coords", "rope_rescale_coords", "rope_mrope_section"),
        *("device", "dtype", "scriptable", "exportable", "no_jit", "cache_dir", "pretrained"),
    }
)
"""Arguments that change no number of a picture of the model's own size, once the weights are loaded: training alone."""

FOLLOWS = {
    "fc_norm": ("global_pool",),
    "use_fc_norm": ("global_pool",),
    "use_post_transformer_norm": ("global_pool", "use_fc_norm"),
}
"""Arguments that a class derives from others where nobody says them."""

NORMS = {"layernorm": "layer", "layernormfp32": "layer", "rmsnorm": "rms", "rmsnormfp32": "rms"}
NAMED_EPS = 1e-6
"""What timm's own norms have where nobody says it."""

_DINOV3 = ("small", "small_plus", "base", "large", "huge_plus")
_PE = {
    14: ("core_base_patch16_224",),
    24: ("core_tiny_patch16_384", "core_small_patch16_384", "core_large_patch14_336"),
    32: (
        *("core_gigantic_patch14_448", "lang_large_patch14_448", "lang_gigantic_patch14_448"),
        *("spatial_tiny_patch16_512", "spatial_small_patch16_512", "spatial_base_patch16_512"),
        *("spatial_large_patch14_448", "spatial_gigantic_patch14_448"),
    ),
}
OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    **{f"vit_{size}_patch16_dinov3{bias}": {"global_pool": "avg"} for size in _DINOV3 for bias in ("", "_qkvb")},
    **{f"vit_{name}": {"global_pool": "avg"} for name in ("tiny_patch16_dinov3_qkvb", "7b_patch16_dinov3")},
    **{
        f"vit_pe_{name}": {"ref_feat_shape": [side, side], "attn_pool_mlp_ratio": 4.0}
        for side, names in _PE.items()
        for name in names
    },
    "vit_huge_patch14_clip_378": {"act_layer": "gelu"},
}
"""Arguments of entry points that build something else than the weights of their name were published for."""

# --- What the classes share ------------------------------------------------------------------------------------------

NORM: Rules = same(norm_cls="norm", norm_eps="norm_eps")
SIZES: Rules = (
    *same(
        img_size="img_size",
        patch_size="patch_size",
        in_chans="in_chans",
        num_classes="num_classes",
        embed_dim="hidden_dim",
        depth="depth",
        num_heads="num_heads",
        drop_path_rate="drop_path_rate",
    ),
    remainder("patch_size"),
)
PADDED: Rules = (
    Always(
        ("dynamic_img_pad",),
        (),
        value=False,
        reason="pictures are padded to whole patches, and no spec does that. Use weights for whole patches",
        when={"drop_remainder": True},
    ),
)
# Where norms stand after the branches, the value is what these begin with.
LAYER_SCALE: Rules = (
    Same(("init_values",), ("layer_scale",), when={"block": ("pre_norm", "parallel")}),
    Computed(
        ("init_values",), ("layer_scale",), lambda value: None, lambda value: (None,), when={"block": "post_norm"}
    ),
)
TABLE = {"pos_embed": ("learned", "fixed")}
# One switch puts either all prefix tokens into the table of positions or none.
PREFIX: Rules = (
    # The distilled class always has a place for both tokens.
    word("no_embed_class", "pos_prefix", {False: "all", True: "all"}, dist_token=True, **TABLE),
    word(
        "no_embed_class",
        "pos_prefix",
        {True: "none", False: "cls"},
        class_token=True,
        reg_tokens=0,
        dist_token=False,
        **TABLE,
    ),
    word("no_embed_class", "pos_prefix", {True: "none", False: "all"}, class_token=True, reg_tokens=SOME, **TABLE),
    word("no_embed_class", "pos_prefix", {True: "none", False: "all"}, class_token=False, reg_tokens=SOME, **TABLE),
    # Without such tokens and without a table the switch is idle: off, for a class token that a caller adds.
    word("no_embed_class", "pos_prefix", {False: "none", True: "none"}, class_token=False, reg_tokens=0, **TABLE),
    Always(("no_embed_class",), (), value=False, when={"pos_embed": "none"}),
)
POOLS = {"token": "cls", "avg": "avg", "map": "map", "": "none"}
POOL: Rules = (
    words("global_pool", "pool head", (("token",), ("cls_dist", "distilled")), when={"dist_token": True}),
    word("global_pool", "pool", POOLS),
)
AVERAGED, NOT_AVERAGED = {"pool": "avg"}, {"pool": ("cls", "cls_dist", "map", "none")}
TWO_TABLES = (
    ((False, False), ("none",)),
    ((False, True), ("block",)),
    ((True, False), ("shared",)),
    ((True, True), ("shared",)),
)
GATED_BY_SWITCH = words("swiglu_mlp", "mlp act", ((True,), ("gated", "silu")), ((False,), ("plain", "gelu")))


def norm_before(key: str) -> Rule:
    """The patch projection has a bias unless a norm follows it."""
    return words(key, "norm_pre patch_bias", ((True,), (True, False)), ((False,), (False, True)))


def biases(mlp: bool | None, out: bool | None, **when: Any) -> Rule:
    """One switch for output layers; where the MLP's bias does not follow it, it is the value given."""
    rows = (((on,), (on, on if mlp is None else mlp, on if out is None else out)) for on in (True, False))
    return words("proj_bias", "proj_bias mlp_bias mlp_out_bias", *rows, when=when)


def plain_width(ratio: float, dim: int) -> int:
    return int(dim * ratio)


def packed_width(ratio: float, dim: int, packed: bool) -> int:
    """The ratio counts gate and up together where one layer holds them."""
    return int(dim * ratio) // (2 if packed else 1)


def aligned_width(ratio: float, dim: int, mlp: str, align: int) -> int:
    width = int(dim * ratio)
    return width + (-width % align if mlp == MLP.GATED and align else 0)


def pool_width(ratio: float | None, dim: int, mlp_dim: int) -> int | None:
    """Without a ratio of its own the pool's MLP is as wide as the blocks'."""
    return None if ratio is None or int(dim * ratio) == mlp_dim else int(dim * ratio)


# --- The classes ------------------------------------------------------------------------------------------------------

VISION_TRANSFORMER = Class(
    (
        word("model_cls", "dist_token", {"VisionTransformer": False, "VisionTransformerDistilled": True}),
        *SIZES,
        *PADDED,
        *same(
            class_token="class_token",
            reg_tokens="reg_tokens",
            qk_norm="qk_norm",
            scale_attn_norm="attn_norm",
            scale_mlp_norm="mlp_norm",
            pool_include_prefix="pool_prefix",
        ),
        words(
            "block_fn attn_layer",
            "block attention",
            (("Block", "attn"), ("pre_norm", "softmax")),
            (("Block", ""), ("pre_norm", "softmax")),
            (("Block", "diff"), ("pre_norm", "diff")),
            (("ResPostBlock", "attn"), ("post_norm", "softmax")),
            (("ResPostBlock", "diff"), ("post_norm", "diff")),
            (("ParallelScalingBlock", "attn"), ("parallel", "softmax")),
            (("DiffParallelScalingBlock", "attn"), ("parallel", "diff")),
        ),
        *LAYER_SCALE,
        words(
            "mlp_layer",
            "mlp packed",
            (("Mlp",), ("plain", False)),
            (("Mlp",), ("plain", True)),
            (("SwiGLU",), ("gated", False)),
            (("SwiGLUPacked",), ("gated", True)),
        ),
        words("norm_layer", "norm norm_eps", *(((name,), (norm, NAMED_EPS)) for name, norm in NORMS.items())),
        *NORM,
        *(
            words(
                "embed_norm_layer",
                "patch_norm",
                *(((name,), (True,)) for name, named in NORMS.items() if named == norm),
                (("",), (False,)),
                ((None,), (False,)),
                when={"norm": norm},
            )
            for norm in ("layer", "rms")
        ),
        word(
            "act_layer",
            "act",
            {**{act: act for act in ("gelu", "gelu_tanh", "quick_gelu", "silu")}, "swish": "silu"},
        ),
        ratio("mlp_ratio", "mlp_dim", packed_width, "packed"),
        word("qkv_bias", "qkv_bias", {True: "all", False: "none"}),
        biases(None, None, block=("pre_norm", "post_norm")),
        # The parallel block keeps the bias of the MLP's first layer; with differential attention, one output layer.
        biases(True, None, block="parallel", attention="softmax"),
        biases(True, False, block="parallel", attention=("diff", "diff_dual")),
        norm_before("pre_norm"),
        words(
            "pos_embed",
            "pos_embed",
            (("learn",), ("learned",)),
            (("learn",), ("fixed",)),
            (("none",), ("none",)),
            (("",), ("none",)),
            when={"dist_token": False},
        ),
        # The distilled class always has a table.
        word("pos_embed", "pos_embed", dict.fromkeys(("learn", "none", ""), "learned"), dist_token=True),
        *PREFIX,
        *POOL,
        *(
            words(
                "final_norm fc_norm",
                "final_norm",
                ((True, True), ("pooled",)),
                ((True, False), ("tokens",)),
                ((True, None), (unsaid,)),
                *(((False, after), ("none",)) for after in (False, True, None)),
                when=when,
            )
            for unsaid, when in (("pooled", AVERAGED), ("tokens", NOT_AVERAGED))
        ),
    )
)

ROPE: Rules = (
    words("use_rot_pos_emb", "rope", ((False,), (None,)), ((True,), (SOME,))),
    word("rope_type", "rope.kind", {"cat": "axial", "dinov3": "dinov3", "mixed": "mixed"}, rope=SOME),
    Same(("rope_temperature",), ("rope.theta",), when={"rope": SOME}),
    word("rope_rotate_half", "rope.pairs", {True: "halves", False: "neighbours"}, rope=SOME),
    word("rope_grid_indexing", "rope.columns_first", {"xy": True, "ij": False}, rope=SOME),
    Same(("rope_grid_offset",), ("rope.offset",), when={"rope.kind": "axial"}),
    Same(("ref_feat_shape",), ("rope.ref_grid",), when={"rope.kind": "axial"}),
    Always(
        ("rope_grid_offset",),
        (),
        value=0.0,
        reason="no spec moves the coordinates of DINOv3's positions. Use weights without it",
        when={"rope.kind": "dinov3"},
    ),
)
# Its pool by attention takes all tokens in.
EVA_POOL: Rules = (
    word("global_pool", "pool", POOLS),
    words(
        "global_pool",
        "pool_heads pool_mlp_dim pool_prefix",
        *(((name,), (None, None, False)) for name in POOLS),
        when={"pool": ("cls", "avg", "none")},
    ),
    words("global_pool", "pool_prefix", (("map",), (True,)), when={"pool": "map", "class_token": True}),
    words(
        "global_pool",
        "pool_prefix",
        (("map",), (True,)),
        when={"pool": "map", "class_token": False, "reg_tokens": SOME},
    ),
    words(
        "global_pool", "pool_prefix", (("map",), (False,)), when={"pool": "map", "class_token": False, "reg_tokens": 0}
    ),
    Same(("attn_pool_num_heads",), ("pool_heads",), when={"pool": "map"}),
    Computed(
        ("attn_pool_mlp_ratio",),
        ("pool_mlp_dim",),
        pool_width,
        lambda width, dim, mlp_dim: (None,) if width is None else (width / dim, (width + 0.5) / dim),
        ("hidden_dim", "mlp_dim"),
        when={"pool": "map"},
    ),
)
EVA = Class(
    (
        *SIZES,
        *PADDED,
        *NORM,
        *same(
            class_token="class_token",
            num_reg_tokens="reg_tokens",
            num_kv_heads="num_kv_heads",
            qk_norm="qk_norm",
            scale_attn_inner="attn_norm",
            scale_mlp="mlp_norm",
            swiglu_align_to="align",
        ),
        GATED_BY_SWITCH,
        ratio("mlp_ratio", "mlp_dim", aligned_width, "mlp", "align"),
        word("attn_only_layer_scale", "layer_scale_mlp", {True: False, False: True}),
        word("use_post_norm", "block", {True: "post_norm", False: "pre_norm"}),
        *LAYER_SCALE,
        word("qkv_fused", "split", {True: False, False: True}),
        # Grouped queries are of the kind of attention that has a bias for keys.
        words(
            "qkv_bias attn_type",
            "qkv_bias",
            ((True, "rope"), ("all",)),
            ((False, "rope"), ("none",)),
            when={"num_kv_heads": SOME},
        ),
        words(
            "qkv_bias attn_type",
            "qkv_bias",
            ((True, "rope"), ("all",)),
            ((True, "eva"), ("qv",)),
            ((False, "eva"), ("none",)),
            ((False, "rope"), ("none",)),
        ),
        norm_before("use_pre_transformer_norm"),
        word("use_abs_pos_emb", "pos_embed", {True: "learned", False: "none"}),
        *PREFIX,
        *EVA_POOL,
        *(
            words(
                "use_post_transformer_norm use_fc_norm",
                "final_norm",
                ((False, True), ("pooled",)),
                ((True, False), ("tokens",)),
                ((False, False), ("none",)),
                ((None, True), ("pooled",)),
                ((None, False), ("tokens",)),
                *unsaid,
                when=when,
            )
            for unsaid, when in (
                ((((None, None), ("pooled",)), ((False, None), ("pooled",))), AVERAGED),
                ((((None, None), ("tokens",)), ((True, None), ("tokens",)), ((False, None), ("none",))), NOT_AVERAGED),
            )
        ),
        *ROPE,
    ),
    always={"dist_token": False},
    defaults={
        **{"rope_type": "cat", "rope_temperature": 10000.0, "rope_rotate_half": False},
        **{"rope_grid_indexing": "ij", "rope_grid_offset": 0.0, "ref_feat_shape": None},
    },
)
BEIT = Class(
    (
        *SIZES,
        *NORM,
        *same(init_values="layer_scale", scale_mlp="mlp_norm"),
        GATED_BY_SWITCH,
        ratio("mlp_ratio", "mlp_dim", plain_width),
        word("qkv_bias", "qkv_bias", {True: "qv", False: "none"}),
        word("use_abs_pos_emb", "pos_embed", {True: "learned", False: "none"}),
        words("use_shared_rel_pos_bias use_rel_pos_bias", "rel_pos", *TWO_TABLES),
        word("global_pool", "pool", POOLS),
        *(
            word("use_fc_norm", "final_norm", {True: "pooled", False: "tokens", None: unsaid}, **when)
            for unsaid, when in (("pooled", AVERAGED), ("tokens", NOT_AVERAGED))
        ),
    ),
    always={"class_token": True, "reg_tokens": 0, "dist_token": False},
)

CLASSES: Mapping[str, tuple[Class, Mapping[str, Any]]] = {
    **{name: (VISION_TRANSFORMER, {"packed": packed}) for name, packed in VIT_STORED.items()},
    **{name: (EVA, {"split": split, "packed": packed}) for name, (split, packed) in EVA_STORED.items()},
    "timm_beit": (BEIT, {}),
}
"""The class of each layout, and how it stores its layers."""


def layouts_of(kind: Class) -> tuple[str, ...]:
    """The layouts that weights of a class may be in."""
    return tuple(name for name, (one, _) in CLASSES.items() if one is kind)


def stored(layout: str, gated: bool) -> dict[str, Any]:
    """The tables' own names for a model in `layout`: a width that is aligned to 1 keeps gate and up apart."""
    own = CLASSES[layout][1]
    return {**own, "align": int(gated and not own.get("packed", False))}
