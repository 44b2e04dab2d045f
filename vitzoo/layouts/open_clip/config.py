"""OpenCLIP's open_clip_config.json (open_clip/{model,transformer,timm_model,transform}.py), which is read only.

It is of a model of pictures and texts. A tower of pictures alone, which is what is written here, is none to open_clip.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vitzoo.errors import LayoutError
from vitzoo.layouts.config_rules import Always, Computed, Fields, Rules, ratio, read, remainder, same, word, words
from vitzoo.layouts.open_clip.tables import TOWERS_OF, TRUNKS
from vitzoo.layouts.timm.config import EntryPoint, entry_point

FILE = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls its own weights, which may stand beside those of another library."""

DEFAULTS: Fields = {
    **{"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224},
    **{"ls_init_value": None, "no_ln_pre": False, "pos_embed_type": "learnable", "final_ln_after_pool": False},
    **{"pool_type": "tok", "quick_gelu": False, "act_kwargs.approximate": None, "norm_kwargs.eps": 1e-5},
    **{"timm_model_name": None, "timm_pool": "avg", "timm_proj": "linear", "timm_proj_bias": False},
}
"""What open_clip takes where the file is silent."""

HARMLESS = frozenset(
    {
        *("patch_dropout", "output_tokens", "attn_pooler_queries", "attn_pooler_heads", "n_queries", "block_type"),
        *("timm_model_name", "timm_model_pretrained", "timm_drop", "timm_drop_path"),
    }
)
"""Keys that change no number by themselves."""

ELSEWHERE = "it adds tensors or steps that no layout here reads. Use weights of a plain tower"


EMBEDDING: Rules = same(embed_dim="out_dim")
TOWER: Rules = (
    *same(image_size="img_size", patch_size="patch_size", layers="depth", width="hidden_dim"),
    remainder("patch_size"),
    *same(ls_init_value="layer_scale"),
    *(same(**{"norm_kwargs.eps": "norm_eps"})),
    Computed(
        ("head_width",), ("num_heads",), lambda width, dim: dim // width, lambda n, dim: (dim // n,), ("hidden_dim",)
    ),
    ratio("mlp_ratio", "mlp_dim", lambda ratio, dim: int(dim * ratio)),
    words(
        "quick_gelu act_kwargs.approximate",
        "act",
        ((False, None), ("gelu",)),
        ((False, "none"), ("gelu",)),
        ((False, "tanh"), ("gelu_tanh",)),
        ((True, None), ("quick_gelu",)),
    ),
    word("no_ln_pre", "norm_pre", {False: True, True: False}),
    word("pos_embed_type", "pos_embed", {"learnable": "learned", "sin_cos_2d": "fixed"}),
    word("final_ln_after_pool", "final_norm", {False: "tokens", True: "pooled"}),
    word("pool_type", "pool", {"tok": "cls", "avg": "avg"}),
    *EMBEDDING,
    *(
        Always((key,), (), value=False, reason=ELSEWHERE)
        for key in (
            *("attentional_pool", "qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn"),
            *("scale_fc", "input_patchnorm", "global_average_pool"),
        )
    ),
)
TOWER_HAS: Fields = {"head": "projection", "head_bias": False, "num_classes": 0, "patch_bias": False}
TOWER_HAS |= {"class_token": True, "reg_tokens": 0, "pos_prefix": "cls"}
TRUNK_HEAD: Rules = (
    words(
        "timm_proj timm_proj_bias",
        "head head_bias",
        (("linear", False), ("projection", False)),
        (("linear", True), ("projection", True)),
        # timm's own head is the projection, or there is none.
        *(((none, bias), ("projection", True)) for none in ("", None) for bias in (False, True)),
        *((("none", bias), ("linear", True)) for bias in (False, True)),
    ),
    words("timm_proj", "out_dim", (("none",), (None,)), when={"head": "linear"}),
    *EMBEDDING,
)
PREPROCESSING: Rules = (
    *same(mean="mean", std="std"),
    word("interpolation", "interpolation", {name: name for name in ("bicubic", "bilinear")}),
    word("resize_mode", "crop_mode", {"shortest": "center", "squash": "squash"}),
    Always(("mode",), (), value="RGB", reason="pictures are made RGB here"),
)
PREPROCESSING_DEFAULTS: Fields = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


@dataclass(frozen=True)
class Told:
    """What open_clip_config.json says; see `vitzoo.layouts.beside`."""

    fields: Fields
    usual: Fields
    preprocessing: Fields
    layout: str
    name: str | None = None
    layouts: tuple[str, ...] = ()


def told(config: Mapping[str, Any]) -> Told:
    """What an open_clip_config.json says of the tower of pictures.

    Raises:
        LayoutError: no such tower in it, a key that is not known and may change numbers, or a value without meaning.
    """
    model = config.get("model_cfg")
    vision = model.get("vision_cfg") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(vision, Mapping) or "embed_dim" not in model:
        raise LayoutError(
            f"{FILE}: expected model_cfg with embed_dim and vision_cfg; give the file as open_clip wrote it"
        )
    keys: Fields = {**DEFAULTS, "embed_dim": model["embed_dim"], "quick_gelu": bool(model.get("quick_gelu")), **vision}
    for outer in ("act_kwargs", "norm_kwargs"):
        keys |= {f"{outer}.{key}": value for key, value in (keys.pop(outer, None) or {}).items()}
    known = {key for rule in (*TOWER, *TRUNK_HEAD) for key in rule.keys} | DEFAULTS.keys() | HARMLESS
    if strange := [key for key in keys if key not in known]:
        raise LayoutError(
            f"{FILE}: {', '.join(strange)} in vision_cfg is not known here, and it may change what the model computes. "
            "Take it out of the file if it does not"
        )
    said = read(PREPROCESSING, PREPROCESSING_DEFAULTS | dict(config.get("preprocess_cfg") or {}), FILE)
    pictures = {**said.fields, "crop_pct": 1.0}
    if keys["timm_model_name"]:
        trunk = _trunk(keys)
        layouts = tuple(name for one in trunk.layouts for name in TOWERS_OF[one])
        return Told(trunk.stated, trunk.usual, pictures, TRUNKS, keys["timm_model_name"], layouts)
    if isinstance(keys["layers"], list):
        raise LayoutError(
            f"{FILE}: layers is {keys['layers']}, which is a ResNet; only Vision Transformers are read here"
        )
    return Told(read(TOWER, keys, FILE, TOWER_HAS).spec(), {}, pictures, "open_clip")


def _trunk(keys: Mapping[str, Any]) -> EntryPoint:
    """A tower that timm builds, whose pool open_clip chooses; what projects is told here."""
    said = {"global_pool": keys["timm_pool"]} if keys["timm_pool"] else {}
    found = entry_point(keys["timm_model_name"], said, FILE)
    stated = {**found.stated, **read(TRUNK_HEAD, keys, FILE, {"num_classes": 0}).spec()}
    return replace(
        found, stated=stated, usual={name: value for name, value in found.usual.items() if name not in stated}
    )
