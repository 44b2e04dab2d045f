"""transformers' config.json: one table a model type, read in both directions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitzoo.errors import LayoutError, SpecError
from vitzoo.layouts.huggingface.special import SPECIAL, Fields, pair
from vitzoo.spec import Head, ViTSpec

ACT = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
ACT_ALIASES = {"gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh", "swish": "silu"}
BIAS = {True: "all", False: "none"}
GATED = {True: "gated", False: "plain"}
SIZES = (
    ("hidden_size", "hidden_dim", None),
    ("num_hidden_layers", "depth", None),
    ("num_attention_heads", "num_heads", None),
    ("num_channels", "in_chans", None),
    ("patch_size", "patch_size", None),
    ("hidden_act", "act", ACT),
)
IMAGE = ("image_size", "img_size", None)
EPS = ("layer_norm_eps", "norm_eps", None)
MLP_DIM = ("intermediate_size", "mlp_dim", None)
QKV = ("qkv_bias", "qkv_bias", BIAS)
LAYER_SCALE = ("layerscale_value", "layer_scale", None)
COMMON = (*SIZES, IMAGE, EPS, MLP_DIM)
Row = tuple[str, str, Mapping[Any, Any] | None]


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

    `rows` pair a key with a field of the spec and, where the values differ, a conversion; `defaults` are the class's
    own, which config.json may leave out; `fixed` is what the class computes, whatever the configuration. `tasks` are
    the classes that hold the encoder: the first stands for a config.json that names none, and the first that gives a
    spec back is written. `nested` is the model type whose `vision_config` is one of these.
    """

    layout: str
    rows: tuple[Row, ...]
    defaults: Fields
    fixed: Fields
    tasks: Mapping[str, Task]
    nested: str | None = None
    naflex: bool = False
    """Its class takes patches that its processor has cut out, of pictures of any shape."""


ENCODER = Task()
WHOLE = Task(nested=True)
CLASSIFIER = Task("id2label")
BASE = {
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
PATCHES = {"class_token": False, "pos_prefix": "none"}
VIT_ROWS = (*COMMON, QKV)
DINOV2_ROWS = (*SIZES, IMAGE, EPS, QKV, LAYER_SCALE, ("use_swiglu_ffn", "mlp", GATED))

KINDS: dict[str, Kind] = {
    "vit": Kind(
        "hf_vit",
        VIT_ROWS,
        BASE,
        {"pool": "cls"},
        {"ViTModel": ENCODER, "ViTForImageClassification": CLASSIFIER, "ViTForMaskedImageModeling": ENCODER},
    ),
    "vit_mae": Kind(
        "hf_vit",
        VIT_ROWS,
        BASE,
        {"pool": "cls", "pos_embed": "fixed"},
        {"ViTMAEModel": ENCODER, "ViTMAEForPreTraining": ENCODER},
    ),
    "vit_msn": Kind(
        "hf_vit",
        VIT_ROWS,
        BASE | {"layer_norm_eps": 1e-6},
        {"pool": "cls"},
        {"ViTMSNModel": ENCODER, "ViTMSNForImageClassification": CLASSIFIER},
    ),
    "deit": Kind(
        "hf_deit",
        VIT_ROWS,
        BASE,
        {"dist_token": True, "pos_prefix": "all", "pool": "cls"},
        {
            "DeiTModel": ENCODER,
            "DeiTForImageClassification": CLASSIFIER,
            "DeiTForImageClassificationWithTeacher": Task("id2label", {"pool": "cls_dist", "head": "distilled"}),
        },
    ),
    "ijepa": Kind(
        "hf_ijepa",
        VIT_ROWS,
        BASE,
        {**PATCHES, "pool": "avg"},
        {"IJepaModel": ENCODER, "IJepaForImageClassification": CLASSIFIER},
    ),
    "dinov2": Kind(
        "hf_dinov2",
        DINOV2_ROWS,
        DINOV2,
        {"pool": "cls"},
        {"Dinov2Model": ENCODER, "Dinov2ForImageClassification": Task("id2label", {"pool": "cls_avg"})},
    ),
    "dinov2_with_registers": Kind(
        "hf_dinov2_with_registers",
        (*DINOV2_ROWS, ("num_register_tokens", "reg_tokens", None)),
        DINOV2,
        {"pool": "cls"},
        {
            "Dinov2WithRegistersModel": ENCODER,
            "Dinov2WithRegistersForImageClassification": Task("id2label", {"pool": "cls_avg"}),
        },
    ),
    "dinov3_vit": Kind(
        "hf_dinov3_vit",
        (
            *COMMON,
            LAYER_SCALE,
            ("num_register_tokens", "reg_tokens", None),
            ("proj_bias", "proj_bias", None),
            ("mlp_bias", "mlp_bias", None),
            ("mlp_bias", "mlp_out_bias", None),
            ("use_gated_mlp", "mlp", GATED),
        ),
        BASE
        | {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "layer_norm_eps": 1e-5}
        | {"rope_theta": 100.0, "layerscale_value": 1.0, "use_gated_mlp": False, "num_register_tokens": 0}
        | {"query_bias": True, "key_bias": False, "value_bias": True, "proj_bias": True, "mlp_bias": True},
        {"pool": "cls", "pos_embed": "none"},
        {"DINOv3ViTModel": ENCODER},
    ),
    "siglip_vision_model": Kind(
        "hf_siglip",
        COMMON,
        SIGLIP,
        {**PATCHES, "pool": "map"},
        {
            "SiglipVisionModel": ENCODER,
            "SiglipForImageClassification": Task("id2label", {"pool": "avg"}, nested=True),
            "SiglipModel": WHOLE,
        },
        nested="siglip",
    ),
    "siglip2_vision_model": Kind(
        "hf_siglip2",
        (*SIZES, EPS, MLP_DIM),
        SIGLIP | {"num_patches": 256},
        {**PATCHES, "pool": "map"},
        {
            "Siglip2VisionModel": ENCODER,
            "Siglip2ForImageClassification": Task("id2label", {"pool": "avg"}, nested=True),
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
            "CLIPVisionModelWithProjection": Task("projection_dim", {"head_bias": False}),
            "CLIPModel": Task("projection_dim", {"head_bias": False}, nested=True),
        },
        nested="clip",
    ),
    "beit": Kind(
        "hf_beit",
        (*COMMON, ("layer_scale_init_value", "layer_scale", None)),
        BASE
        | {"layer_scale_init_value": 0.1, "use_mean_pooling": True, "use_absolute_position_embeddings": False}
        | {"use_relative_position_bias": False, "use_shared_relative_position_bias": False},
        {"qkv_bias": "qv"},
        {"BeitModel": ENCODER, "BeitForImageClassification": CLASSIFIER},
    ),
    "aimv2_vision_model": Kind(
        "hf_aimv2",
        (
            *SIZES,
            IMAGE,
            MLP_DIM,
            QKV,
            ("rms_norm_eps", "norm_eps", None),
            ("qkv_bias", "proj_bias", None),
            ("mlp_bias", "mlp_bias", None),
            ("mlp_bias", "mlp_out_bias", None),
        ),
        BASE
        | {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 8, "intermediate_size": 2816}
        | {"patch_size": 14, "hidden_act": "silu", "rms_norm_eps": 1e-5, "qkv_bias": False, "mlp_bias": False},
        {**PATCHES, "norm": "rms", "patch_norm": True, "mlp": "gated", "pool": "avg"},
        {"Aimv2VisionModel": ENCODER, "Aimv2Model": WHOLE},
        nested="aimv2",
    ),
}
NESTED = {kind.nested: name for name, kind in KINDS.items() if kind.nested is not None}
"""Types of two towers, whose pictures' configuration stands under `vision_config`."""


def model_kind(config: Mapping[str, Any]) -> tuple[str, Kind, Fields]:
    """The model type of the picture's encoder, what is known of it, and its own part of `config` with all defaults.

    Raises:
        LayoutError: a model type that is not a plain ViT of ours, or one of its settings that no spec expresses.
    """
    outer = config.get("model_type")
    name = NESTED.get(str(outer), str(outer))
    if name not in KINDS:
        known = ", ".join(sorted([*KINDS, *NESTED]))
        raise LayoutError(f"config.json: model_type {outer!r} is unknown; expected one of {known}")
    own = config.get("vision_config") if outer in NESTED else config
    if not isinstance(own, Mapping):
        raise LayoutError(f"config.json: model_type {outer!r} needs vision_config; give the configuration that has it")
    full = KINDS[name].defaults | dict(own)
    if full.get("is_native"):
        raise LayoutError(
            "config.json: is_native computes the positions, and no spec does; use weights that store them"
        )
    full["hidden_act"] = ACT_ALIASES.get(full["hidden_act"], full["hidden_act"])
    return name, KINDS[name], full


def layout_name(config: Mapping[str, Any]) -> str:
    """The layout of the weights beside `config`."""
    return model_kind(config)[1].layout


def labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes in the order of the logits."""
    names = config.get("id2label")
    return tuple(names[key] for key in sorted(names, key=int)) if names else None


def _labels_told(told: Mapping[str, Any]) -> int:
    return len(told["id2label"]) if "id2label" in told else told.get("num_labels", 2)


# How many outputs a class has, by the key that tells; transformers leaves out its own default.
COUNTS: dict[str, Callable[[Mapping[str, Any]], int]] = {
    "id2label": _labels_told,
    "projection_dim": lambda told: told.get("projection_dim", 512),
}


def spec_fields(config: Mapping[str, Any]) -> Fields:
    """What config.json says of the spec; a field that it does not tell is not named.

    Raises:
        LayoutError: an unknown model type or class, or a value that no spec expresses.
    """
    name, kind, full = model_kind(config)
    fields: Fields = dict(kind.fixed)
    for key, own, values in kind.rows:
        value = full[key]
        if values is not None and value not in values:
            raise LayoutError(f"config.json: {key} is {value!r}; expected one of {', '.join(map(str, values))}")
        fields[own] = values[value] if values is not None else tuple(value) if isinstance(value, list) else value
    fields |= SPECIAL[name][0](full) if name in SPECIAL else {}
    fields["layer_scale"] = fields.get("layer_scale") or None
    architecture = (config.get("architectures") or list(kind.tasks))[0]
    if architecture not in kind.tasks:
        raise LayoutError(
            f"config.json: architectures is {architecture!r}, which is not read; for model_type "
            f"{config.get('model_type')!r} expected one of {', '.join(kind.tasks)}"
        )
    task = kind.tasks[architecture]
    fields |= task.fields
    count = 0 if task.counted is None else COUNTS[task.counted](config if task.nested else full)
    projected = task.counted == "projection_dim"
    fields |= {"head": Head.PROJECTION} if projected else {}
    fields |= {"num_classes": 0 if projected else count, "out_dim": count if projected else None}
    sizes = [pair(fields[key]) for key in ("img_size", "patch_size")]
    fields["drop_remainder"] = any(size % patch for size, patch in zip(*sizes, strict=True))
    return fields


def config(layout: str, spec: ViTSpec, labels: Sequence[str] | None = None) -> Fields:
    """The config.json to write beside weights in `layout`.

    Raises:
        LayoutError: a field of the spec that reading the result would not give back; names of other than all classes.
    """
    name, kind = kind_of(layout)
    if labels is not None and len(labels) != spec.num_classes:
        raise LayoutError(f"the model has {spec.num_classes} classes, and {len(labels)} names of classes were given")
    plain = spec.model_dump(mode="json")
    encoder: Fields = {"model_type": name}
    for key, own, values in kind.rows:
        value = plain[own]
        back = {new: old for old, new in values.items()} if values is not None else {_key(value): value}
        encoder[key] = _scalar(back.get(_key(value), value))
    encoder |= SPECIAL[name][1](spec) if name in SPECIAL else {}
    encoder |= {key: 0.0 for key in ("layer_scale_init_value",) if key in encoder and encoder[key] is None}
    encoder |= {key: 1.0 for key in ("layerscale_value",) if key in encoder and encoder[key] is None}
    ways: list[list[str]] = []
    for architecture, task in kind.tasks.items():
        outputs = {} if task.counted is None else OUTPUTS[task.counted](spec, labels)
        out = {"model_type": kind.nested, "vision_config": encoder} if task.nested else encoder
        out = {**out, **outputs, "architectures": [architecture]}
        wrong = _misread(spec, spec_fields(out))
        if not wrong:
            return out
        ways.append(wrong)
    nearest = min(ways, key=len)
    raise LayoutError(f"layout '{layout}' cannot say in config.json: {'; '.join(nearest)}")


def kind_of(layout: str) -> tuple[str, Kind]:
    """The first model type that is stored so."""
    return next((name, kind) for name, kind in KINDS.items() if kind.layout == layout)


def _misread(spec: ViTSpec, read: Fields) -> list[str]:
    """Where `read` is not what `spec` says, in words."""
    try:
        told = spec.replace(**{key: value for key, value in read.items() if key not in UNTOLD})
    except SpecError as error:
        return [f"nothing could read it back: {error}"]
    return [
        f"{key} is {getattr(spec, key)}, and would be read as {getattr(told, key)}"
        for key in read
        if getattr(told, key) != getattr(spec, key)
    ]


def _names(spec: ViTSpec, labels: Sequence[str] | None) -> Fields:
    names = list(labels or (f"LABEL_{i}" for i in range(spec.num_classes)))
    return {
        "id2label": {str(i): label for i, label in enumerate(names)},
        "label2id": {label: i for i, label in enumerate(names)},
    }


OUTPUTS: dict[str, Callable[[ViTSpec, Sequence[str] | None], Fields]] = {
    "id2label": _names,
    "projection_dim": lambda spec, labels: {"projection_dim": spec.out_dim},
}
"""What a class with outputs says of them, by the key that counts them: the way back of `COUNTS`."""

# What changes no output, or what the file beside shows: initial values, whether a table was trained, where a norm
# stands that sees the pooled token alone.
UNTOLD = frozenset({"layer_scale", "pos_embed", "drop_path_rate", "final_norm", "head_bias"})


def _scalar(value: Any) -> Any:
    """A square as one number."""
    return value[0] if isinstance(value, list) and value[0] == value[1] else value


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
