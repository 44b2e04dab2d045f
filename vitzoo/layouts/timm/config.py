"""The config.json that timm reads beside its weights, written and read (timm/models/{_hub,_builder}.py).

An entrypoint of timm fixes some things that JSON cannot say (a norm's eps, the class of a block); its arguments say the
rest. `BASES` are entrypoints with what each fixes; `ARGUMENTS` are the arguments that are one field of the spec.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Any

from vitzoo.errors import LayoutError
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
    Preprocessing,
    QKVBias,
    RelPos,
    RopeKind,
    RopePairs,
    ViTSpec,
)


@dataclass(frozen=True)
class Base:
    """An entrypoint of timm: `fixed` fields of the spec come with it and with the arguments `args`."""

    architecture: str
    layout: str
    fixed: Mapping[str, Any]
    args: Mapping[str, Any] = field(default_factory=dict)


def _norm(norm: Norm, eps: float = 1e-6) -> dict[str, Any]:
    return {"norm": norm, "norm_eps": eps}


PLAIN = {"mlp": MLP.PLAIN, "block": BlockKind.PRE_NORM, "attention": AttentionKind.SOFTMAX}
GATED = {**PLAIN, "mlp": MLP.GATED}
VIT_BLOCKS: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("vit_base_patch16_224", "timm", PLAIN, {}),
    ("vit_dwee_patch16_reg1_gap_256", "timm", {**PLAIN, "attention": AttentionKind.DIFF}, {"attn_layer": "diff"}),
    ("vit_base_patch16_rpn_224", "timm", {**PLAIN, "block": BlockKind.POST_NORM}, {}),
    ("vit_pwee_patch16_reg1_gap_256", "timm", {**PLAIN, "block": BlockKind.PARALLEL}, {}),
    (
        "vit_dpwee_patch16_reg1_gap_256",
        "timm",
        {**PLAIN, "block": BlockKind.PARALLEL, "attention": AttentionKind.DIFF},
        {},
    ),
    ("vit_giant_patch14_dinov2", "timm_packed", GATED, {}),
    ("aimv2_large_patch14_224", "timm", GATED, {"embed_norm_layer": ""}),
)
LAYER5, RMS5 = _norm(Norm.LAYER, 1e-5), _norm(Norm.RMS, 1e-5)
EVA_NORMS = (
    ("eva02_base_patch14_224", _norm(Norm.LAYER)),
    ("vit_base_patch16_dinov3", LAYER5),
    ("vit_base_patch16_sapiens2", _norm(Norm.RMS)),
)

BASES: tuple[Base, ...] = (
    Base(
        "deit_base_distilled_patch16_224",
        "timm",
        {**PLAIN, **_norm(Norm.LAYER), "dist_token": True, "patch_norm": False},
    ),
    # A norm that is named by a string has timm's own eps, 1e-6.
    *(
        Base(name, layout, {**fixed, **_norm(norm), "dist_token": False, "patch_norm": patch_norm}, {**args, **named})
        for norm in (Norm.LAYER, Norm.RMS)
        for patch_norm in (False, True)
        for name, layout, fixed, args in VIT_BLOCKS
        for named in [
            {"norm_layer": f"{norm}norm"} | ({"embed_norm_layer": f"{norm}norm"} if patch_norm else {}),
        ]
    ),
    Base("vit_base_patch16_clip_224", "timm", {**PLAIN, **LAYER5, "dist_token": False, "patch_norm": False}),
    Base("aimv2_large_patch14_224", "timm", {**GATED, **RMS5, "dist_token": False, "patch_norm": True}),
    Base(
        "aimv2_large_patch14_224",
        "timm",
        {**GATED, **RMS5, "dist_token": False, "patch_norm": False},
        {"embed_norm_layer": ""},
    ),
    *(
        Base(name, f"timm_eva{split}{packed}", norm)
        for name, norm in EVA_NORMS
        for split in ("", "_split")
        for packed in ("", "_packed")
    ),
    Base("beit_base_patch16_224", "timm_beit", _norm(Norm.LAYER)),
)

CLASSES = ("norm_layer", "embed_norm_layer", "attn_layer")
"""Arguments that name a class, and so may change what an entrypoint fixes."""

POOLS = {Pool.CLS: "token", Pool.CLS_DIST: "token", Pool.AVG: "avg", Pool.MAP: "map", Pool.NONE: ""}
POOL_NAMES = {"token": Pool.CLS, "avg": Pool.AVG, "map": Pool.MAP, "": Pool.NONE}
ROPE_TYPES = {"cat": RopeKind.AXIAL, "dinov3": RopeKind.DINOV3, "mixed": RopeKind.MIXED}

OURS = "vitzoo"
"""A key that timm does not read: it has no word for a head whose outputs are no classes."""

# timm's argument -> the field of the spec that it is.
SIZES = {
    "img_size": "img_size",
    "patch_size": "patch_size",
    "in_chans": "in_chans",
    "num_classes": "num_classes",
    "embed_dim": "hidden_dim",
    "depth": "depth",
    "num_heads": "num_heads",
    "init_values": "layer_scale",
    "drop_path_rate": "drop_path_rate",
}
VIT = {
    **SIZES,
    "class_token": "class_token",
    "reg_tokens": "reg_tokens",
    "pre_norm": "norm_pre",
    "qk_norm": "qk_norm",
    "scale_attn_norm": "attn_norm",
    "scale_mlp_norm": "mlp_norm",
    "proj_bias": "proj_bias",
    "act_layer": "act",
    "pool_include_prefix": "pool_prefix",
}
EVA = {
    **SIZES,
    "class_token": "class_token",
    "num_reg_tokens": "reg_tokens",
    "num_kv_heads": "num_kv_heads",
    "use_pre_transformer_norm": "norm_pre",
    "qk_norm": "qk_norm",
    "scale_attn_inner": "attn_norm",
    "scale_mlp": "mlp_norm",
    "attn_pool_num_heads": "pool_heads",
}
BEIT = {**SIZES, "scale_mlp": "mlp_norm"}
ROPE = {
    "rope_temperature": "theta",
    "rope_grid_offset": "offset",
    "ref_feat_shape": "ref_grid",
}
ARGUMENTS: dict[str, str] = {**VIT, **EVA, **BEIT}

# Arguments with another form than the field, each way; an argument is the same in all classes that have it.
FORMS: dict[str, tuple[str, Mapping[Any, Any]]] = {
    "swiglu_mlp": ("mlp", {True: MLP.GATED, False: MLP.PLAIN}),
    "attn_only_layer_scale": ("layer_scale_mlp", {True: False, False: True}),
    "use_post_norm": ("block", {True: BlockKind.POST_NORM, False: BlockKind.PRE_NORM}),
    "attn_layer": ("attention", {"diff": AttentionKind.DIFF}),
}
ROPE_FORMS: dict[str, tuple[str, Mapping[Any, Any]]] = {
    "rope_type": ("kind", ROPE_TYPES),
    "rope_rotate_half": ("pairs", {True: RopePairs.HALVES, False: RopePairs.NEIGHBOURS}),
    "rope_grid_indexing": ("columns_first", {"xy": True, "ij": False}),
}


def config(
    spec: ViTSpec, layout: str, preprocessing: Preprocessing, labels: Sequence[str] | None = None
) -> dict[str, Any]:
    """What `timm.create_model("local-dir:FOLDER", pretrained=True)` reads as FOLDER/config.json.

    Raises:
        LayoutError: no entrypoint of timm has all that JSON cannot say.
    """
    base, outputs = _base(spec, layout), spec.num_classes or spec.out_dim or 0
    channels = range(spec.in_chans)
    mean, std = (
        list(values) if len(values) == spec.in_chans else [sum(values) / len(values) for _ in channels]
        for values in (preprocessing.mean, preprocessing.std)
    )
    pretrained: dict[str, Any] = {
        "tag": "vitzoo",
        "custom_load": False,
        "input_size": [spec.in_chans, *spec.img_size],
        "fixed_input_size": True,
        "interpolation": preprocessing.interpolation.value,
        "crop_pct": preprocessing.crop_pct,
        "crop_mode": preprocessing.crop_mode.value,
        "mean": mean,
        "std": std,
        "num_classes": outputs,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if spec.dist_token else "head",
    }
    return {
        "architecture": base.architecture,
        "num_classes": outputs,
        "num_features": spec.hidden_dim,
        "global_pool": POOLS[spec.pool],
        "model_args": {**_arguments(spec, layout), **base.args},
        "pretrained_cfg": pretrained | ({"label_names": list(labels)} if labels else {}),
    } | ({OURS: {"head": Head.PROJECTION.value}} if spec.head is Head.PROJECTION else {})


def _base(spec: ViTSpec, layout: str) -> Base:
    """The entrypoint whose fixed fields are the spec's; a LayoutError that names those of the closest."""
    bases = [base for base in BASES if base.layout == layout]
    if not bases:
        known = ", ".join(dict.fromkeys(base.layout for base in BASES))
        raise LayoutError(f"timm has no config.json for layout '{layout}'; it has one for {known}")

    def differing(base: Base) -> list[str]:
        return [name for name, value in base.fixed.items() if getattr(spec, name) != value]

    best = min(bases, key=lambda base: len(differing(base)))
    if wrong := differing(best):
        found = ", ".join(f"{name} {getattr(spec, name)}" for name in wrong)
        expected = ", ".join(f"{name} {best.fixed[name]}" for name in wrong)
        raise LayoutError(
            f"timm's config.json cannot say {found}: its entrypoints fix it, and {best.architecture}, which comes "
            f"closest, has {expected}; save the weights alone, or choose another layout"
        )
    return best


def _ratio(width: int, dim: int) -> float:
    """A ratio of which timm's int(dim * ratio) is `width`."""
    ratio = width / dim
    return ratio if int(dim * ratio) == width else nextafter(ratio, inf)


def _arguments(spec: ViTSpec, layout: str) -> dict[str, Any]:
    """All arguments, also those that are timm's default: an entrypoint may have a default of its own."""
    tell = {"timm_beit": _beit, "timm": _vit, "timm_packed": _vit}.get(layout, _eva)
    return {"global_pool": POOLS[spec.pool], **tell(spec, layout)}


def _fields(spec: ViTSpec, arguments: Mapping[str, str]) -> dict[str, Any]:
    values = spec.model_dump(mode="json")
    values["num_classes"] = spec.num_classes or spec.out_dim or 0
    return {argument: values[name] for argument, name in arguments.items()}


def _forms(value: Any, *arguments: str, forms: Mapping[str, tuple[str, Mapping[Any, Any]]] = FORMS) -> dict[str, Any]:
    return {
        argument: said
        for argument in arguments
        for said, meant in forms[argument][1].items()
        if meant == getattr(value, forms[argument][0])
    }


def _vit(spec: ViTSpec, layout: str) -> dict[str, Any]:
    packed = 2 if layout == "timm_packed" else 1
    return {
        **_fields(spec, VIT),
        "mlp_ratio": _ratio(packed * spec.mlp_dim, spec.hidden_dim),
        "qkv_bias": spec.qkv_bias is QKVBias.ALL,
        "pos_embed": "none" if spec.pos_embed is PosEmbed.NONE else "learn",
        "no_embed_class": not spec.num_pos_prefix,
        "final_norm": spec.final_norm is not FinalNorm.NONE,
        "fc_norm": spec.final_norm is FinalNorm.POOLED,
    }


def _eva(spec: ViTSpec, layout: str) -> dict[str, Any]:
    rope = spec.rope
    gated_apart = spec.mlp is MLP.GATED and "_packed" not in layout
    turns: dict[str, Any] = {}
    if rope is not None:
        values = rope.model_dump(mode="json")
        turns = {argument: values[name] for argument, name in ROPE.items()}
        turns |= _forms(rope, *ROPE_FORMS, forms=ROPE_FORMS)
    return {
        **_fields(spec, EVA),
        **_forms(spec, "swiglu_mlp", "attn_only_layer_scale", "use_post_norm"),
        "mlp_ratio": _ratio(spec.mlp_dim, spec.hidden_dim),
        "attn_pool_mlp_ratio": _ratio(spec.pool_mlp_dim or spec.mlp_dim, spec.hidden_dim),
        "swiglu_align_to": int(gated_apart),  # 1 aligns nothing, and keeps gate and up apart
        "qkv_fused": "_split" not in layout,
        "qkv_bias": spec.qkv_bias is not QKVBias.NONE,
        "attn_type": "rope" if spec.qkv_bias is QKVBias.ALL or spec.num_kv_heads else "eva",
        "no_embed_class": not spec.num_pos_prefix,
        "use_abs_pos_emb": spec.pos_embed is not PosEmbed.NONE,
        "use_rot_pos_emb": rope is not None,
        "use_post_transformer_norm": spec.final_norm is FinalNorm.TOKENS,
        "use_fc_norm": spec.final_norm is FinalNorm.POOLED,
        **turns,
    }


def _beit(spec: ViTSpec, layout: str) -> dict[str, Any]:
    return {
        **_fields(spec, BEIT),
        **_forms(spec, "swiglu_mlp"),
        "mlp_ratio": _ratio(spec.mlp_dim, spec.hidden_dim),
        "qkv_bias": spec.qkv_bias is not QKVBias.NONE,
        "use_abs_pos_emb": spec.pos_embed is not PosEmbed.NONE,
        "use_rel_pos_bias": spec.rel_pos is RelPos.BLOCK,
        "use_shared_rel_pos_bias": spec.rel_pos is RelPos.SHARED,
        "use_fc_norm": spec.final_norm is FinalNorm.POOLED,
    }


def spec_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json of timm says of the spec outright: `architecture`, and fields of `ViTSpec` by name.

    What the architecture's entrypoint adds is not here: its name is an alias in the registry.

    Raises:
        LayoutError: no architecture.
    """
    if not isinstance(config.get("architecture"), str):
        raise LayoutError(
            "a config.json of timm names its 'architecture', and this one does not; write it into the file"
        )
    args: Mapping[str, Any] = config.get("model_args") or {}
    pretrained: Mapping[str, Any] = config.get("pretrained_cfg") or config
    fields: dict[str, Any] = {"architecture": config["architecture"]}
    if size := pretrained.get("input_size"):
        fields |= {"in_chans": size[0], "img_size": tuple(size[1:])}
    for said in (pretrained, config):
        if said.get("num_classes") is not None:
            fields["num_classes"] = said["num_classes"]
    for argument, name in ARGUMENTS.items():
        if argument in args:
            value = args[argument]
            square = name in ("img_size", "patch_size") and isinstance(value, int)
            fields[name] = (value, value) if square else tuple(value) if isinstance(value, list) else value
    if isinstance(args.get("act_layer"), str):
        fields["act"] = _activation(args["act_layer"])
    for argument, (name, meanings) in FORMS.items():
        if argument in args:
            fields[name] = meanings[args[argument]]
    pool = args.get("global_pool", config.get("global_pool"))
    if pool in POOL_NAMES:
        distilled = "distilled" in config["architecture"]
        fields |= {"pool": Pool.CLS_DIST, "head": Head.DISTILLED} if distilled else {"pool": POOL_NAMES[pool]}
    fields |= _fixed(fields["architecture"], args)
    if (config.get(OURS) or {}).get("head") == Head.PROJECTION and "num_classes" in fields:
        fields |= {"head": Head.PROJECTION, "out_dim": fields["num_classes"], "num_classes": 0}
    return fields | _composed(args, fields)


def _activation(name: str) -> Activation:
    if name not in list(Activation):
        raise LayoutError(
            f"config.json has act_layer '{name}', expected one of {', '.join(Activation)}; the model has no other"
        )
    return Activation(name)


def _fixed(architecture: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What an entrypoint of `BASES` fixes with these arguments; nothing for one that is not there."""
    same = [
        base
        for base in BASES
        if base.architecture == architecture and all(args.get(name) == base.args.get(name) for name in CLASSES)
    ]
    return {name: value for base in same[:1] for name, value in base.fixed.items()}


def _composed(args: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that several arguments say together."""
    said: dict[str, Any] = {}
    base = next((base for base in BASES if base.architecture == fields["architecture"]), None)
    if "mlp_ratio" in args and "hidden_dim" in fields and base is not None:
        # timm counts gate and up together where VisionTransformer packs them.
        said["mlp_dim"] = int(fields["hidden_dim"] * args["mlp_ratio"]) // (2 if base.layout == "timm_packed" else 1)
    if base is not None and "swiglu_mlp" in args:  # Eva and Beit have no argument for it
        said["act"] = Activation.SILU if args["swiglu_mlp"] else Activation.GELU
    if base is not None and base.layout.startswith("timm_eva") and "pool" in fields:
        mapped = fields["pool"] is Pool.MAP
        said["pool_prefix"] = mapped and bool(fields.get("class_token", True) or fields.get("reg_tokens"))
        said |= {} if mapped else {"pool_heads": None}
        if mapped and "attn_pool_mlp_ratio" in args and args["attn_pool_mlp_ratio"] != args.get("mlp_ratio"):
            said["pool_mlp_dim"] = int(fields["hidden_dim"] * args["attn_pool_mlp_ratio"])
    if base is not None and base.layout == "timm_beit" and isinstance(args.get("use_fc_norm"), bool):
        said["final_norm"] = FinalNorm.POOLED if args["use_fc_norm"] else FinalNorm.TOKENS
    said |= _positions(args, fields) | _biases(args, base)
    for argument in ("pre_norm", "use_pre_transformer_norm"):
        if argument in args:
            said["patch_bias"] = not args[argument]
    if args.get("use_rot_pos_emb") is False:
        said["rope"] = None
    elif args.get("use_rot_pos_emb"):
        rope = {name: args[argument] for argument, name in ROPE.items() if argument in args}
        rope |= {
            name: meanings[args[argument]] for argument, (name, meanings) in ROPE_FORMS.items() if argument in args
        }
        if {"kind", "theta"} <= rope.keys():
            said["rope"] = rope
    for whole, final in (("final_norm", "fc_norm"), ("use_post_transformer_norm", "use_fc_norm")):
        if isinstance(args.get(whole), bool) and isinstance(args.get(final), bool):
            pooled = args[final] and (whole != "final_norm" or args[whole])
            said["final_norm"] = FinalNorm.POOLED if pooled else FinalNorm.TOKENS if args[whole] else FinalNorm.NONE
    return said


def _positions(args: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if "no_embed_class" in args and "class_token" in fields and "reg_tokens" in fields:
        alone = fields["class_token"] and not fields["reg_tokens"] and not fields.get("dist_token")
        said["pos_prefix"] = PosPrefix.NONE if args["no_embed_class"] else PosPrefix.CLS if alone else PosPrefix.ALL
    if args.get("pos_embed") == "none" or args.get("use_abs_pos_emb") is False:
        said = {"pos_embed": PosEmbed.NONE}  # without a table there are no slots to speak of
    if "use_rel_pos_bias" in args and "use_shared_rel_pos_bias" in args:
        shared, block = args["use_shared_rel_pos_bias"], args["use_rel_pos_bias"]
        said["rel_pos"] = RelPos.SHARED if shared else RelPos.BLOCK if block else RelPos.NONE
    return said


def _biases(args: Mapping[str, Any], base: Base | None) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if args.get("qkv_bias") is False:
        said["qkv_bias"] = QKVBias.NONE
    elif args.get("qkv_bias") and base is not None:
        keyed = base.layout in ("timm", "timm_packed") or args.get("attn_type") == "rope"
        said["qkv_bias"] = QKVBias.ALL if keyed else QKVBias.QV
    if "proj_bias" in args and base is not None:
        parallel = base.fixed.get("block") is BlockKind.PARALLEL
        joint = parallel and base.fixed["attention"] is not AttentionKind.SOFTMAX
        said["mlp_bias"] = parallel or args["proj_bias"]
        said["mlp_out_bias"] = args["proj_bias"] and not joint
    return said


def preprocessing_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Preprocessing` that a config.json of timm says."""
    pretrained: Mapping[str, Any] = config.get("pretrained_cfg") or config
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name in Preprocessing.model_fields
        if (value := pretrained.get(name)) is not None
    }
