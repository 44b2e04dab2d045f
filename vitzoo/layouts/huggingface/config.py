"""transformers' config.json: one table a model type, read in both directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vitzoo.errors import Argument, LayoutError, shown
from vitzoo.layouts.config_rules import (
    Always,
    Computed,
    Fields,
    Rules,
    misread,
    ratio,
    read,
    remainder,
    same,
    word,
    words,
    write,
)
from vitzoo.spec import Head, ViTSpec

ACT = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
ACT |= {"gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "swish": "silu"}
BIAS = {True: "all", False: "none"}
GATED = {True: "gated", False: "plain"}
LABELS, EMBEDDING = "id2label", "projection_dim"
"""The keys that count what a class gives."""


@dataclass(frozen=True)
class Task:
    """What a class adds to the encoder: fields of the spec, and the key that counts its outputs (none: features).

    The configuration of a class that is `nested` holds the encoder's under `vision_config`.
    """

    counted: str | None = None
    fields: Fields = field(default_factory=dict)
    nested: bool = False


@dataclass(frozen=True)
class Kind:
    """What a model type's configuration says.

    `defaults` are the class's own, which config.json may leave out; `fixed` is what the class computes, whatever the
    configuration. `tasks` are the classes that hold the encoder: of those the first that gives a spec back is written.
    `nested` is the model type whose `vision_config` is one of these.
    """

    layout: str
    rules: Rules
    defaults: Fields
    fixed: Fields
    tasks: Mapping[str, Task]
    nested: str | None = None
    naflex: bool = False
    """Its class takes patches that its processor has cut out, of pictures of any shape."""


ENCODER = Task()
WHOLE = Task(nested=True)
CLASSIFIER = Task(LABELS)
PROJECTION = {"head": Head.PROJECTION}

SIZES: Rules = (
    *same(
        hidden_size="hidden_dim",
        num_hidden_layers="depth",
        num_attention_heads="num_heads",
        num_channels="in_chans",
        patch_size="patch_size",
    ),
    word("hidden_act", "act", ACT),
)
IMAGE, EPS, MLP_DIM = (same(image_size="img_size"), same(layer_norm_eps="norm_eps"), same(intermediate_size="mlp_dim"))
QKV: Rules = (word("qkv_bias", "qkv_bias", BIAS),)
MLP_BIAS: Rules = (words("mlp_bias", "mlp_bias mlp_out_bias", ((True,), (True, True)), ((False,), (False, False))),)
COMMON: Rules = (*SIZES, *IMAGE, *EPS, *MLP_DIM)


def layer_scale(key: str, none: float) -> Computed:
    """The initial value of the layer scale; `none` is written for a model without one."""
    return Computed((key,), ("layer_scale",), lambda value: value or None, lambda value: (value or none,))


def gated_width(ratio: int, dim: int) -> int:
    """DINOv2's gated MLP keeps two thirds, in eights."""
    return (int(int(dim * ratio) * 2 / 3) + 7) // 8 * 8


def _square(patches: int, patch: tuple[int, int]) -> tuple[int, int]:
    side = int(patches**0.5)
    return side * patch[0], side * patch[1]


REMAINDER = remainder("patch_size")
VIT_RULES: Rules = (*COMMON, *QKV)
DINOV2_RULES: Rules = (
    word("use_swiglu_ffn", "mlp", GATED),
    # The activation of the gated MLP is no setting.
    words("use_swiglu_ffn hidden_act", "act", *(((True, said), ("silu",)) for said in ACT), when={"mlp": "gated"}),
    *SIZES,
    *IMAGE,
    *EPS,
    *QKV,
    layer_scale("layerscale_value", 1.0),
    ratio("mlp_ratio", "mlp_dim", gated_width, whole=True, when={"mlp": "gated"}),
    ratio("mlp_ratio", "mlp_dim", lambda ratio, dim: int(dim * ratio), whole=True, when={"mlp": "plain"}),
    Always(("use_mask_token",), (), value=False),
)
REGISTERS = same(num_register_tokens="reg_tokens")
# Without its classifier SigLIP may be without its pool too; the classifier averages the patches, and never pools so.
SIGLIP_POOL: Rules = (
    words("vision_use_head", "pool", ((True,), ("map",)), ((False,), ("none",)), ((False,), ("avg",))),
)
AIMV2_RULES: Rules = (
    *SIZES,
    *IMAGE,
    *MLP_DIM,
    *same(rms_norm_eps="norm_eps"),
    words("qkv_bias", "qkv_bias proj_bias", ((True,), ("all", True)), ((False,), ("none", False))),
    *MLP_BIAS,
    Always(
        ("use_head",),
        (),
        value=False,
        reason="the attention pool of AIMv2 has no query projection and no MLP, and no spec expresses it. Set use_head "
        "to false in config.json for the patches' features without it",
    ),
    Always(
        ("is_native",),
        (),
        value=False,
        reason="it computes the positions, and no spec does. Use weights that store them",
    ),
)

BASE: Fields = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "qkv_bias": True,
}
DINOV2 = {**BASE, "patch_size": 14, "layer_norm_eps": 1e-6, "layerscale_value": 1.0, "mlp_ratio": 4}
DINOV2 |= {"use_swiglu_ffn": False, "num_register_tokens": 4}
SIGLIP = {**BASE, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "vision_use_head": True}
AIMV2 = {**BASE, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 8, "intermediate_size": 2816}
AIMV2 |= {"patch_size": 14, "hidden_act": "silu", "rms_norm_eps": 1e-5, "qkv_bias": False, "mlp_bias": False}
PATCHES = {"class_token": False, "pos_prefix": "none"}

KINDS: dict[str, Kind] = {
    "vit": Kind(
        "hf_vit",
        VIT_RULES,
        BASE,
        {"pool": "cls"},
        {"ViTModel": ENCODER, "ViTForImageClassification": CLASSIFIER, "ViTForMaskedImageModeling": ENCODER},
    ),
    "vit_mae": Kind(
        "hf_vit",
        VIT_RULES,
        BASE,
        {"pool": "cls", "pos_embed": "fixed"},
        {"ViTMAEModel": ENCODER, "ViTMAEForPreTraining": ENCODER},
    ),
    "vit_msn": Kind(
        "hf_vit",
        VIT_RULES,
        BASE | {"layer_norm_eps": 1e-6},
        {"pool": "cls"},
        {"ViTMSNModel": ENCODER, "ViTMSNForImageClassification": CLASSIFIER},
    ),
    "deit": Kind(
        "hf_deit",
        VIT_RULES,
        BASE,
        {"dist_token": True, "pos_prefix": "all", "pool": "cls"},
        {
            "DeiTModel": ENCODER,
            "DeiTForImageClassification": CLASSIFIER,
            "DeiTForImageClassificationWithTeacher": Task(LABELS, {"pool": "cls_dist", "head": "distilled"}),
        },
    ),
    "ijepa": Kind(
        "hf_ijepa",
        VIT_RULES,
        BASE,
        {**PATCHES, "pool": "avg"},
        {"IJepaModel": ENCODER, "IJepaForImageClassification": CLASSIFIER},
    ),
    "dinov2": Kind(
        "hf_dinov2",
        DINOV2_RULES,
        DINOV2,
        {"pool": "cls"},
        {"Dinov2Model": ENCODER, "Dinov2ForImageClassification": Task(LABELS, {"pool": "cls_avg"})},
    ),
    "dinov2_with_registers": Kind(
        "hf_dinov2_with_registers",
        (*DINOV2_RULES, *REGISTERS),
        DINOV2,
        {"pool": "cls"},
        {
            "Dinov2WithRegistersModel": ENCODER,
            "Dinov2WithRegistersForImageClassification": Task(LABELS, {"pool": "cls_avg"}),
        },
    ),
    "dinov3_vit": Kind(
        "hf_dinov3_vit",
        (
            *COMMON,
            layer_scale("layerscale_value", 1.0),
            *REGISTERS,
            *same(proj_bias="proj_bias", rope_theta="rope.theta"),
            *MLP_BIAS,
            word("use_gated_mlp", "mlp", GATED),
            words(
                "query_bias key_bias value_bias",
                "qkv_bias",
                ((True, True, True), ("all",)),
                ((True, False, True), ("qv",)),
                ((False, False, False), ("none",)),
            ),
        ),
        BASE
        | {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "layer_norm_eps": 1e-5}
        | {"rope_theta": 100.0, "layerscale_value": 1.0, "use_gated_mlp": False, "num_register_tokens": 0}
        | {"query_bias": True, "key_bias": False, "value_bias": True, "proj_bias": True, "mlp_bias": True},
        {"pool": "cls", "pos_embed": "none", "rope.kind": "dinov3", "rope.pairs": "halves"},
        {"DINOv3ViTModel": ENCODER},
    ),
    "siglip_vision_model": Kind(
        "hf_siglip",
        (*COMMON, *SIGLIP_POOL),
        SIGLIP,
        PATCHES,
        {
            "SiglipVisionModel": ENCODER,
            "SiglipForImageClassification": Task(LABELS, {"pool": "avg"}, nested=True),
            "SiglipModel": WHOLE,
        },
        nested="siglip",
    ),
    "siglip2_vision_model": Kind(
        "hf_siglip2",
        (
            *SIZES,
            *EPS,
            *MLP_DIM,
            Computed(
                ("num_patches",),
                ("img_size",),
                _square,
                lambda size, patch: (size[0] // patch[0] * (size[1] // patch[1]),),
                ("patch_size",),
            ),
            *SIGLIP_POOL,
        ),
        SIGLIP | {"num_patches": 256},
        PATCHES,
        {
            "Siglip2VisionModel": ENCODER,
            "Siglip2ForImageClassification": Task(LABELS, {"pool": "avg"}, nested=True),
            "Siglip2Model": WHOLE,
        },
        nested="siglip2",
        naflex=True,
    ),
    "clip_vision_model": Kind(
        "hf_clip",
        COMMON,
        BASE | {"patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 512},
        {"patch_bias": False, "norm_pre": True, "final_norm": "pooled", "pool": "cls"},
        {
            "CLIPVisionModel": ENCODER,
            "CLIPVisionModelWithProjection": Task(EMBEDDING, {"head_bias": False}),
            "CLIPModel": Task(EMBEDDING, {"head_bias": False}, nested=True),
        },
        nested="clip",
    ),
    "beit": Kind(
        "hf_beit",
        (
            *COMMON,
            layer_scale("layer_scale_init_value", 0.0),
            words("use_mean_pooling", "pool final_norm", ((True,), ("avg", "pooled")), ((False,), ("cls", "tokens"))),
            word("use_absolute_position_embeddings", "pos_embed", {True: "learned", False: "none"}),
            words(
                "use_shared_relative_position_bias use_relative_position_bias",
                "rel_pos",
                ((False, False), ("none",)),
                ((False, True), ("block",)),
                ((True, False), ("shared",)),
                ((True, True), ("shared",)),
            ),
        ),
        BASE
        | {"layer_scale_init_value": 0.1, "use_mean_pooling": True, "use_absolute_position_embeddings": False}
        | {"use_relative_position_bias": False, "use_shared_relative_position_bias": False},
        {"qkv_bias": "qv"},
        {"BeitModel": ENCODER, "BeitForImageClassification": CLASSIFIER},
    ),
    "aimv2_vision_model": Kind(
        "hf_aimv2",
        AIMV2_RULES,
        {**AIMV2, "use_head": True},
        {**PATCHES, "norm": "rms", "patch_norm": True, "mlp": "gated", "pool": "avg"},
        {"Aimv2VisionModel": ENCODER, "Aimv2Model": WHOLE},
        nested="aimv2",
    ),
}
# As its authors published single towers: the fields of the tower at the top, and a class of their own without a pool.
KINDS["aimv2"] = replace(
    KINDS["aimv2_vision_model"],
    defaults={**AIMV2, "use_head": False},
    tasks={"AIMv2Model": ENCODER, "AIMv2VisionModel": ENCODER, "Aimv2VisionModel": ENCODER, "Aimv2Model": ENCODER},
)
RESAMPLING = frozenset({"dinov2", "dinov2_with_registers", "dinov3_vit", "siglip2_vision_model"})
"""Kinds that take pictures of any size without being asked."""
NESTED = {kind.nested: name for name, kind in KINDS.items() if kind.nested is not None and name != kind.nested}
"""Types of two towers, whose pictures' configuration stands under `vision_config`."""

UNTOLD = frozenset({"layer_scale", "pos_embed", "drop_path_rate", "final_norm", "head_bias"})
"""What changes no output, or what the file beside shows: initial values, a table's training, a norm after the pool."""


def model_kind(config: Mapping[str, Any]) -> tuple[str, Kind, Mapping[str, Any]]:
    """The model type of the picture's encoder, what is known of it, and its own part of `config`.

    Raises:
        LayoutError: a model type that is not a plain ViT of ours.
    """
    outer, inner = str(config.get("model_type")), config.get("vision_config")
    name = NESTED.get(outer, outer) if inner is not None or outer not in KINDS else outer
    if name not in KINDS:
        known = ", ".join(sorted({*KINDS, *NESTED}))
        wrong = f"config.json: model_type {shown(outer)} is unknown; expected one of {known}; or move it away and give "
        raise LayoutError(wrong, Argument("layout", "..."))
    own = inner if name != outer else config
    if not isinstance(own, Mapping):
        raise LayoutError(f"config.json: model_type {outer!r} needs vision_config; give the configuration that has it")
    return name, KINDS[name], own


def layout_name(config: Mapping[str, Any]) -> str:
    """The layout of the weights beside `config`."""
    return model_kind(config)[1].layout


def labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes in the order of the logits, which numbers with gaps between them are not."""
    names = {int(number): name for number, name in (config.get(LABELS) or {}).items()}
    return tuple(names[i] for i in range(len(names))) if names and max(names) < len(names) else None


def spec_fields(config: Mapping[str, Any]) -> Fields:
    """What config.json states of the spec; see `told`."""
    return told(config)[0]


def told(config: Mapping[str, Any]) -> tuple[Fields, Fields, frozenset[str]]:
    """What config.json states of the spec, what is usual where it names no class that holds the encoder, and what of it
    rests on keys that are left out, which have the defaults of their class.

    Raises:
        LayoutError: an unknown model type or class, or a value that no spec expresses.
    """
    _, kind, own = model_kind(config)
    full = kind.defaults | dict(own)
    named = config.get("architectures") or list(kind.tasks)
    if not isinstance(named, list) or named[0] not in kind.tasks:
        raise LayoutError(
            f"config.json: architectures is {named[0]!r}, which is not read; for model_type "
            f"{config.get('model_type')!r} expected one of {', '.join(kind.tasks)}"
        )
    # A file that names no class may be of any: only what all of them say is certain, and usual is the bare encoder.
    tasks = [kind.tasks[name] for name in (named[:1] if config.get("architectures") else named)]
    said = [_with_task(kind, task, config if task.nested else full, full) for task in tasks]
    silent = read(kind.rules, full, "config.json").resting_on(kind.defaults.keys() - own.keys()) - kind.fixed.keys()
    agreed = {name: v for name, v in said[0].items() if all(name in other and other[name] == v for other in said)}
    return agreed, {name: value for name, value in said[0].items() if name not in agreed}, silent


def _with_task(kind: Kind, task: Task, outer: Mapping[str, Any], full: Mapping[str, Any]) -> Fields:
    count = _count(task.counted, outer)
    outputs: Fields = {"num_classes": count, "out_dim": None}
    if task.counted == EMBEDDING:
        outputs = {"head": Head.PROJECTION, "num_classes": 0, "out_dim": count}
    return {**read((*kind.rules, REMAINDER), full, "config.json", kind.fixed | task.fields).spec(), **outputs}


def _count(key: str | None, told: Mapping[str, Any]) -> int:
    """How many outputs there are; transformers leaves out its own default, and null says nothing."""
    said = {name: value for name, value in told.items() if value is not None}
    if key == LABELS:
        return len(said[LABELS]) if LABELS in said else said.get("num_labels", 2)
    return said.get(EMBEDDING, 512) if key == EMBEDDING else 0


def _outputs(key: str | None, spec: ViTSpec, labels: Sequence[str] | None) -> Fields:
    """What a class says of its outputs, by the key that counts them."""
    if key == LABELS:
        names = list(labels or (f"LABEL_{i}" for i in range(spec.num_classes)))
        return {
            LABELS: {str(i): label for i, label in enumerate(names)},
            "label2id": {label: i for i, label in enumerate(names)},
        }
    return {EMBEDDING: spec.out_dim} if key == EMBEDDING else {}


def config(layout: str, spec: ViTSpec, labels: Sequence[str] | None = None) -> Fields:
    """The config.json to write beside weights in `layout`.

    Raises:
        LayoutError: a field of the spec that reading the result would not give back; names of other than all classes.
    """
    name, kind = kind_of(layout)
    if labels is not None and len(labels) != spec.num_classes:
        raise LayoutError(f"the model has {spec.num_classes} classes, and {len(labels)} names; set labels of as many")
    said = {key: _scalar(value) for key, value in write(kind.rules, spec).items()}
    encoder: Fields = {"model_type": name, **said}
    ways: list[list[str]] = []
    for architecture, task in kind.tasks.items():
        out = {"model_type": kind.nested, "vision_config": encoder} if task.nested else encoder
        out = {**out, **_outputs(task.counted, spec, labels), "architectures": [architecture]}
        wrong = misread(spec, spec_fields(out), UNTOLD)
        if not wrong:
            return out
        ways.append(wrong)
    nearest = min(ways, key=len)
    raise LayoutError(f"layout '{layout}' cannot say in config.json: {'; '.join(nearest)}; choose another layout")


def kind_of(layout: str) -> tuple[str, Kind]:
    """The first model type that is stored so."""
    return next((name, kind) for name, kind in KINDS.items() if kind.layout == layout)


def _scalar(value: Any) -> Any:
    """A square as one number."""
    return value[0] if isinstance(value, list) and value[0] == value[1] else value
