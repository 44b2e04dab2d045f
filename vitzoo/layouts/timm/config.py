"""The config.json that timm reads beside its weights, written and read (timm/models/{_hub,_builder}.py).

An entry point of timm fixes some things that JSON cannot say (a norm's eps, the class of a block); its arguments say
the rest. `BASES` are entry points with what each fixes, for writing. Reading takes an entry point as the spec of that
name in the registry, written as arguments: those of the file replace some of them, and all is read together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitzoo import registry
from vitzoo.errors import LayoutError
from vitzoo.layouts.config_rules import Fields, misread, read, write
from vitzoo.layouts.tables import GROUPS, layout_for
from vitzoo.layouts.timm import pictures
from vitzoo.layouts.timm.arguments import (
    BY_NAME,
    CLASSES,
    FOLLOWS,
    HARMLESS,
    IN_CODE,
    OTHERWISE,
    Class,
    layouts_of,
    stored,
)
from vitzoo.layouts.timm.tables import EVA_STORED
from vitzoo.spec import MLP, AttentionKind, BlockKind, Head, Norm, Preprocessing, ViTSpec


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
    *(Base(name, layout, norm) for name, norm in EVA_NORMS for layout in EVA_STORED),
    Base("beit_base_patch16_224", "timm_beit", _norm(Norm.LAYER)),
)

OURS = "vitzoo"
"""A key that timm does not read, in files of ours: timm has no word for a head whose outputs are no classes. Nothing of
such a model was set in code."""

UNTOLD = frozenset({"layer_scale", "pos_embed", "drop_path_rate", "pos_prefix"})
"""What changes no output, or what the tensors show."""

WRAPPERS: Mapping[str, Mapping[str, Any]] = {
    "TimmWrapperModel": {"num_classes": 0},
    "TimmWrapperForImageClassification": {},
}
"""transformers' classes around a model of timm, with the arguments that they give it."""


@dataclass(frozen=True)
class Told:
    """What a config.json of timm says: its entry point, fields that it states, and those that are usual there."""

    architecture: str
    fields: Mapping[str, Any]
    usual: Mapping[str, Any]
    layouts: tuple[str, ...]
    """Those of its class; all of timm's where the entry point is not known."""


@dataclass(frozen=True)
class EntryPoint:
    """What an entry point builds: fields that its arguments state, fields that are usual, the layouts of its class."""

    stated: Fields
    usual: Fields
    layouts: tuple[str, ...]


# --- Writing ----------------------------------------------------------------------------------------------------------


def config(
    spec: ViTSpec,
    layout: str,
    preprocessing: Preprocessing,
    labels: Sequence[str] | None = None,
    license: str | None = None,
) -> dict[str, Any]:
    """What `timm.create_model("local-dir:FOLDER", pretrained=True)` reads as FOLDER/config.json.

    Raises:
        LayoutError: no entry point of timm has all that JSON cannot say, or its arguments cannot say the rest.
    """
    base, outputs = _base(spec, layout), spec.num_classes or spec.out_dim or 0
    pretrained: dict[str, Any] = {
        "tag": "vitzoo",
        "custom_load": False,
        "fixed_input_size": True,
        **pictures.config(spec, preprocessing),
        "num_classes": outputs,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if spec.dist_token else "head",
    }
    pretrained |= {"label_names": list(labels)} if labels else {}
    pretrained |= {} if license is None else {"license": license}
    arguments = _arguments(spec, layout, outputs)
    said = {
        "architecture": base.architecture,
        "num_classes": outputs,
        "num_features": spec.hidden_dim,
        "global_pool": arguments["global_pool"],
        "model_args": {
            **{name: arguments[name] for name in arguments if name not in IN_CODE},
            **base.args,
            **pictures.arguments(layout, preprocessing),
        },
        "pretrained_cfg": pretrained,
        OURS: {"head": spec.head.value},
    }
    if wrong := misread(spec, told(said).fields, UNTOLD):
        raise LayoutError(f"timm's config.json cannot say this model: {'; '.join(wrong)}. Choose another layout")
    return said


def _base(spec: ViTSpec, layout: str) -> Base:
    """The entry point whose fixed fields are the spec's; a LayoutError that names those of the closest."""
    bases = [base for base in BASES if base.layout == layout]
    if not bases:
        known = ", ".join(dict.fromkeys(base.layout for base in BASES))
        raise LayoutError(f"timm has no config.json for layout '{layout}'; take one of {known}")

    def differing(base: Base) -> list[str]:
        return [name for name, value in base.fixed.items() if getattr(spec, name) != value]

    best = min(bases, key=lambda base: len(differing(base)))
    if wrong := differing(best):
        found = ", ".join(f"{name} {getattr(spec, name)}" for name in wrong)
        expected = ", ".join(f"{name} {best.fixed[name]}" for name in wrong)
        raise LayoutError(
            f"timm's config.json cannot say {found}: its entry points fix it, and {best.architecture}, which comes "
            f"closest, has {expected}; save the weights alone, as a .safetensors file, or choose another layout"
        )
    return best


def _arguments(spec: ViTSpec, layout: str, outputs: int) -> Fields:
    """All arguments, also those that are timm's default: an entry point may have a default of its own."""
    own = {**stored(layout, spec.mlp is MLP.GATED), "num_classes": outputs}
    # A pool as wide as the blocks has no width of its own.
    own |= {"pool_mlp_dim": None} if spec.pool_mlp_dim == spec.mlp_dim else {}
    return write(CLASSES[layout][0].rules, spec, own)


# --- Reading ----------------------------------------------------------------------------------------------------------


def spec_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json of timm states: `architecture`, and fields of `ViTSpec` by name; see `told`."""
    said = told(config)
    return {"architecture": said.architecture, **said.fields}


def told(config: Mapping[str, Any]) -> Told:
    """What a config.json of timm says, or one of transformers around a model of timm.

    Raises:
        LayoutError: no architecture, an argument that is not known and may change numbers, or a value without meaning.
    """
    if not isinstance(config.get("architecture"), str):
        raise LayoutError(
            "a config.json of timm names its 'architecture', and this one does not; write it into the file"
        )
    ours = config.get(OURS) or {}
    found = entry_point(config["architecture"], _said(config), "config.json", whole=bool(ours))
    fields, usual = found.stated, found.usual
    if ours.get("head") == Head.PROJECTION and "num_classes" in fields:
        fields |= {"head": Head.PROJECTION, "out_dim": fields["num_classes"], "num_classes": 0}
    if not _input_is_fixed(config) and "img_size" not in fields and (size := _pretrained(config).get("input_size")):
        usual = {"img_size": tuple(size[1:]), **usual}
    return Told(config["architecture"], fields, usual, found.layouts)


def entry_point(architecture: str, said: Mapping[str, Any], where: str, whole: bool = False) -> EntryPoint:
    """What `timm.create_model(architecture, **said)` is: the fields that `said` states, and those usual there.

    If that is the `whole` of it, what the entry point's classes fix is stated too.

    Raises:
        LayoutError: an argument that is not known and may change numbers, or a value without a meaning.
    """
    if not registry.knows(architecture):
        return EntryPoint(_of_any_class(said, where), {}, tuple(CLASSES))
    name = registry.resolve(architecture)
    full = f"{name.model}.{name.tag}"
    spec = registry.model_spec(name.model) if name.tag is None else registry.entry_spec(full)
    sources = [] if name.tag is None else [source.layout for source in registry.weights_entry(full).sources]
    layout = next((one for one in sources if one in GROUPS["timm"]), None) or layout_for("timm", spec).name
    if layout not in CLASSES:
        return EntryPoint(_of_any_class(said, where), {}, tuple(CLASSES))
    kind = CLASSES[layout][0]
    _known_to([kind], said, where)
    own = _arguments(spec, layout, spec.num_classes or spec.out_dim or 0)
    entry = {**kind.defaults, **own, **OTHERWISE.get(architecture, {})}
    for derived, others in FOLLOWS.items():
        if derived in entry and any(other in said and said[other] != entry.get(other) for other in others):
            entry[derived] = None
    found = read(kind.rules, {**entry, **said}, where, kind.always)
    fields, sure = found.spec(), found.resting_on({*said, *(IN_CODE if whole else BY_NAME)})
    stated = _counted({name: value for name, value in fields.items() if name in sure}, spec)
    everything = _counted({**{name: getattr(spec, name) for name in type(spec).model_fields}, **fields}, spec)
    usual = {name: value for name, value in everything.items() if name not in stated}
    return EntryPoint(stated, usual, layouts_of(kind))


def _counted(stated: Fields, spec: ViTSpec) -> Fields:
    """timm counts an embedding's numbers as classes: as many as the entry point projects to are none."""
    if spec.head is not Head.PROJECTION or "num_classes" not in stated:
        return stated
    classes = {"head": Head.LINEAR, "out_dim": None}
    embedding = {"head": Head.PROJECTION, "out_dim": spec.out_dim, "num_classes": 0}
    return {**stated, **(embedding if stated["num_classes"] == spec.out_dim else classes)}


def _of_any_class(said: Mapping[str, Any], where: str) -> Fields:
    """What the arguments of an entry point that nobody knows say, whatever class it builds."""
    kinds = list({id(kind): kind for kind, _ in CLASSES.values()}.values())
    readings = [read(kind.rules, said, where).spec() for kind in _known_to(kinds, said, where)]
    first, *others = readings
    return {name: v for name, v in first.items() if all(name in o and o[name] == v for o in others)}


def _known_to(kinds: Sequence[Class], said: Mapping[str, Any], where: str) -> list[Class]:
    """Those of the classes that have all the arguments, but for those that change no number."""
    strange = [[name for name in said if name not in kind.arguments | HARMLESS] for kind in kinds]
    if fits := [kind for kind, names in zip(kinds, strange, strict=True) if not names]:
        return fits
    nearest = min(strange, key=lambda names: len(names))
    raise LayoutError(
        f"{where}: timm's argument {', '.join(nearest)} in model_args is not known here, and it may "
        "change what the model computes. Take it out of the file if it does not"
    )


def _said(config: Mapping[str, Any]) -> Fields:
    """The arguments that a file gives: timm takes some from what it says of the weights."""
    pretrained, size = _pretrained(config), _pretrained(config).get("input_size")
    said: Fields = {
        name: value
        for where in (config, pretrained, {"num_classes": config.get("num_classes")})
        for name in ("num_classes", "global_pool")
        if (value := where.get(name)) is not None
    }
    if size:
        said |= {"in_chans": size[0]} | ({"img_size": list(size[1:])} if _input_is_fixed(config) else {})
    wrapped = config.get("model_type") is not None
    named = (config.get("architectures") or [None])[0]
    if wrapped and named not in WRAPPERS:  # with a classifier or without
        said.pop("num_classes", None)
    return {**said, **(config.get("model_args") or {}), **(WRAPPERS.get(named, {}) if wrapped else {})}


def _pretrained(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("pretrained_cfg") or config


def _input_is_fixed(config: Mapping[str, Any]) -> bool:
    """Whether a model is built for the size of the pictures; one that takes any has the entry point's table."""
    args = config.get("model_args") or {}
    return bool(_pretrained(config).get("fixed_input_size")) and not args.get("dynamic_img_size")


def license(config: Mapping[str, Any]) -> Any:
    """The licence, as timm's description of the weights names it."""
    return _pretrained(config).get("license")


def labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes in the order of the logits."""
    names = config.get("label_names") or _pretrained(config).get("label_names")
    if isinstance(names, Mapping):  # numbers with gaps between them are no order of the logits
        numbers = sorted(names, key=int)
        names = [names[key] for key in numbers] if [int(key) for key in numbers] == list(range(len(names))) else None
    return tuple(names) if isinstance(names, list) else None
