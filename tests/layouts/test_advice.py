"""What errors of layouts and of configuration files say to do is done: the same works after it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import tiny
import torch
from advice import check, remedy
from mystery import BASES
from torch import Tensor

import vitzoo
from vitzoo import ViT
from vitzoo.layouts.beside import read_beside
from vitzoo.layouts.huggingface import config as hf_config
from vitzoo.layouts.open_clip import config as open_clip
from vitzoo.layouts.placement import view
from vitzoo.layouts.strangers import STRANGERS
from vitzoo.layouts.tables import LAYOUTS, get_layout
from vitzoo.layouts.timm import config as timm_config

Step = Callable[[Path], object]
State = dict[str, Tensor]
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
PLAIN = {
    **{"layout": "timm", "num_heads": 3, "norm_eps": 1e-6, "act": "gelu", "block": "pre_norm"},
    **{"pool": "cls", "pool_prefix": False},
}


def vit(**fields: Any) -> ViT:
    return tiny.randomise(ViT(tiny.spec(**fields)))


def folder(place: Path, library: str, file: str = CONFIG, **changes: Any) -> Path:
    """What vitzoo writes for a library, with other values in one of its files; none for a key means without it."""
    path = place / f"{library}{len(list(place.iterdir()))}"
    vitzoo.save(vit(norm_eps=1e-12 if library == "huggingface" else 1e-6), path, library)
    said = json.loads((path / file).read_text())
    for key, value in changes.items():
        part, _, inner = key.partition("__")
        if inner:
            said[part][inner] = value
        elif value is None:
            del said[part]
        else:
            said[part] = value
    (path / file).write_text(json.dumps(said))
    return path


def moved(path: Path, file: str = CONFIG) -> Path:
    (path / file).rename(path / "away.json")
    return path


def bare(place: Path, change: Callable[[State], Mapping[str, Tensor]] = dict) -> Path:
    peer = timm.models.VisionTransformer(**tiny.timm_arguments())
    torch.save(dict(change(peer.state_dict())), place / "x.pth")
    return place / "x.pth"


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name != key}


def behind(*prefixes: str) -> Callable[[State], State]:
    return lambda state: {f"{prefix}{key}": value for prefix in prefixes for key, value in state.items()}


def beside(**more: Tensor) -> Callable[[State], State]:
    return lambda state: state | {key.replace("__", "."): value for key, value in more.items()}


def saved(place: Path, layout: str, model: ViT, **options: Any) -> Path:
    return vitzoo.save(model, place / f"out{len(list(place.iterdir()))}", layout, **options)


def pictured(model: ViT, **fields: Any) -> ViT:
    model.preprocessing = model.preprocessing.replace(**fields)
    return model


def key_bias(model: ViT, value: float) -> ViT:
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.bias[24:48] = value
    return model


BEIT = {"qkv_bias": "qv", "rel_pos": "block", "pos_embed": "none", "pool": "avg", "final_norm": "pooled"}
HF = {"norm_eps": 1e-12}
SIGLIP2 = {"class_token": False, "pos_prefix": "none", "pool": "map", "act": "gelu_tanh", "num_classes": 0}
GATED = {"mlp": "gated", "act": "silu"}
CLIP = {"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}}
EVA = BASES["timm_eva"][0]
DINOV2 = {"layer_scale": 1.0, "num_classes": 0}


def told(**changes: Any) -> object:
    return open_clip.told({"model_cfg": {**CLIP, **changes}})


CASES = [
    remedy(
        "; mend it or move it away",
        lambda p: vitzoo.create(folder(p, "timm", model_args=[1])),
        lambda p: (vitzoo.create(folder(p, "timm")), vitzoo.create(moved(p / "timm0") / "model.safetensors", **PLAIN)),
        file="layouts/border.py",
    ),
    remedy(
        "; mend the file or move it away",
        lambda p: vitzoo.create(folder(p, "timm", model_args__depth=2**70)),
        lambda p: (vitzoo.create(folder(p, "timm")), vitzoo.create(moved(p / "timm0") / "model.safetensors", **PLAIN)),
        file="layouts/border.py",
    ),
    remedy(
        ": crop_size is ",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, crop_size={"shortest_edge": 32})),
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, crop_size={"height": 32, "width": 32})),
        file="layouts/huggingface/processor.py:_crop",
    ),
    remedy(
        " beside the checkpoint cannot be read: ",
        lambda p: (folder(p, "timm") / CONFIG).write_text("{") and vitzoo.create(p / "timm0"),
        lambda p: (vitzoo.create(folder(p, "timm")), vitzoo.create(moved(p / "timm0") / "model.safetensors", **PLAIN)),
    ),
    remedy(
        " beside the checkpoint holds no JSON object; mend it or move it away",
        lambda p: (folder(p, "timm") / CONFIG).write_text("[]") and vitzoo.create(p / "timm0"),
        lambda p: (vitzoo.create(folder(p, "timm")), vitzoo.create(moved(p / "timm0") / "model.safetensors", **PLAIN)),
    ),
    remedy(
        "; expected one of ",
        lambda p: vitzoo.create(folder(p, "huggingface", hidden_act="relu")),
        lambda p: vitzoo.create(folder(p, "huggingface", hidden_act="gelu")),
        file="layouts/config_rules.py",
    ),
    remedy(
        ", expected ",
        lambda p: told(vision_cfg={**CLIP["vision_cfg"], "attentional_pool": True}),
        lambda p: told(vision_cfg={**CLIP["vision_cfg"], "attentional_pool": False}),
        file="layouts/config_rules.py",
    ),
    remedy(
        " cannot be read; mend the file, or move it away",
        lambda p: vitzoo.create(folder(p, "timm", model_args__mlp_ratio="wide")),
        lambda p: (vitzoo.create(folder(p, "timm")), vitzoo.create(moved(p / "timm0") / "model.safetensors", **PLAIN)),
        file="layouts/config_rules.py",
    ),
    remedy(
        "; take a whole copy",
        lambda p: vitzoo.create(bare(p, without("blocks.1.mlp.fc2.bias")), **PLAIN),
        lambda p: vitzoo.create(bare(p), **PLAIN),
    ),
    remedy(
        "several models stand in ",
        lambda p: vitzoo.create(bare(p, behind("student.", "teacher.")), **PLAIN),
        lambda p: [vitzoo.create(p / "x.pth", prefix=one, **PLAIN) for one in ("student.", "teacher.")],
    ),
    remedy(
        "; or move it away and give ",
        lambda p: vitzoo.create(folder(p, "huggingface", model_type="swin")),
        lambda p: (
            vitzoo.create(folder(p, "huggingface", model_type="vit")),
            vitzoo.create(moved(p / "huggingface0") / "model.safetensors", **{**PLAIN, **HF, "layout": "hf_vit"}),
        ),
    ),
    remedy(
        " needs vision_config; give the configuration that has it",
        lambda p: vitzoo.create(folder(p, "huggingface", model_type="siglip")),
        lambda p: vitzoo.create(folder(p, "huggingface")),
    ),
    remedy(
        ", which is not read; for model_type ",
        lambda p: vitzoo.create(folder(p, "huggingface", architectures=["ViTForObjectDetection"])),
        lambda p: vitzoo.create(folder(p, "huggingface", architectures=["ViTForImageClassification"])),
    ),
    remedy(
        " names; set labels of as many",
        lambda p: hf_config.config("hf_vit", tiny.spec(**HF), ["a"] * 4),
        lambda p: hf_config.config("hf_vit", tiny.spec(**HF), ["a"] * 5),
    ),
    remedy(
        " cannot say in config.json: ",
        lambda p: saved(p, "hf_dinov2", vit(**DINOV2)),
        lambda p: saved(p, "dinov2", vit(**DINOV2)),
    ),
    remedy(
        "; set crop_mode to 'squash'",
        lambda p: saved(p, "huggingface", vit(**HF, img_size=(32, 64))),
        lambda p: saved(p, "huggingface", pictured(vit(**HF, img_size=(32, 64)), crop_mode="squash")),
    ),
    remedy(
        "pictures are always resized and scaled from 0..255 to 0..1 here",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, do_resize=False)),
        lambda p: (
            vitzoo.create(folder(p, "huggingface", PROCESSOR, do_resize=True)),
            vitzoo.create(moved(p / "huggingface0", PROCESSOR)),
        ),
    ),
    remedy(
        ": no preprocessing of ours can ",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, do_flip=True)),
        lambda p: (vitzoo.create(folder(p, "huggingface")), vitzoo.create(moved(p / "huggingface0", PROCESSOR))),
    ),
    remedy(
        "; expected Pillow's 0, 2 or 3",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, resample=1)),
        lambda p: [vitzoo.create(folder(p, "huggingface", PROCESSOR, resample=one)) for one in (0, 2, 3)],
    ),
    remedy(
        "; add them, or as image_processor_type one of ",
        lambda p: vitzoo.create(
            folder(p, "huggingface", PROCESSOR, image_processor_type="Own", resample=None, image_std=None)
        ),
        lambda p: (
            vitzoo.create(folder(p, "huggingface", PROCESSOR, image_processor_type="Own")),
            vitzoo.create(folder(p, "huggingface", PROCESSOR, resample=None, image_std=None)),
        ),
    ),
    remedy(
        "so that all pictures have one size",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, do_center_crop=False)),
        lambda p: (
            vitzoo.create(folder(p, "huggingface", PROCESSOR, size={"height": 32, "width": 32}, do_center_crop=False)),
            vitzoo.create(folder(p, "huggingface", PROCESSOR, size={"shortest_edge": 36}, do_center_crop=True)),
        ),
    ),
    remedy(
        " from pictures scaled by their shorter side; expected a square",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, crop_size={"height": 32, "width": 16})),
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, crop_size={"height": 32, "width": 32})),
    ),
    remedy(
        ": no one crop_pct, of at most 1, scales to ",
        lambda p: vitzoo.create(folder(p, "huggingface", PROCESSOR, size={"shortest_edge": 16})),
        lambda p: (vitzoo.create(folder(p, "huggingface")), vitzoo.create(moved(p / "huggingface0", PROCESSOR))),
    ),
    remedy(
        "there is no need to drop '",
        lambda p: saved(p, "timm", vit(), drop=["act"]),
        lambda p: saved(p, "timm", vit()),
    ),
    remedy(
        "; leave it out on purpose with ",
        lambda p: saved(p, "torchvision", vit(pool="avg")),
        lambda p: (saved(p, "timm", vit(pool="avg")), saved(p, "torchvision", vit(pool="avg"), drop=["pool"])),
    ),
    remedy(
        "; give the file as open_clip wrote it",
        lambda p: open_clip.told({"model_cfg": {}}),
        lambda p: told(),
    ),
    remedy(
        " in vision_cfg is not known here, and it may change what the model computes. ",
        lambda p: told(vision_cfg={**CLIP["vision_cfg"], "windowed": 7}),
        lambda p: told(),
    ),
    remedy(
        "' stands behind the prefix '",
        lambda p: vitzoo.create(bare(p, behind("model.")), prefix="net.", **PLAIN),
        lambda p: vitzoo.create(p / "x.pth", prefix="model.", **PLAIN),
    ),
    remedy(
        "' stand in the file; choose one with ",
        lambda p: view(LAYOUTS["timm"], {f"{one}patch_embed.proj.weight": (8, 3, 4, 4) for one in ("a.", "b.")}),
        lambda p: [
            view(LAYOUTS["timm"], {f"{one}patch_embed.proj.weight": (8, 3, 4, 4) for one in ("a.", "b.")}, choice)
            for choice in ("a.", "b.")
        ],
    ),
    remedy(
        "', under two names; keep one of them",
        lambda p: view(
            LAYOUTS["timm"],
            dict.fromkeys(("patch_embed.proj.weight", "_orig_mod.patch_embed.proj.weight"), (8, 3, 4, 4)),
        ),
        lambda p: view(LAYOUTS["timm"], {"patch_embed.proj.weight": (8, 3, 4, 4)}),
    ),
    remedy(
        "unknown layout ",
        lambda p: get_layout("tim"),
        lambda p: get_layout("timm"),
    ),
    remedy(
        "; write it into the file",
        lambda p: timm_config.told({"architecture": None}),
        lambda p: timm_config.told({"architecture": "vit_base_patch16_224"}),
    ),
    remedy(
        " in model_args is not known here, and it may ",
        lambda p: vitzoo.create(folder(p, "timm", model_args__own=True)),
        lambda p: vitzoo.create(folder(p, "timm")),
    ),
    remedy(
        "; create the model with that img_size, then save it",
        lambda p: saved(p, "timm_beit", pictured(vit(**BEIT), img_size=(48, 48))),
        lambda p: saved(p, "timm_beit", key_bias(vit(**BEIT, img_size=48), 0.0)),
    ),
    remedy(
        "' has no place for a part of ",
        lambda p: saved(p, "timm_beit", key_bias(vit(**{**BEIT, "qkv_bias": "all"}), 0.5), drop=["qkv_bias"]),
        lambda p: saved(p, "vitzoo", key_bias(vit(**{**BEIT, "qkv_bias": "all"}), 0.5)),
    ),
    remedy(
        "; save the weights alone, as a .safetensors file, or choose another layout",
        lambda p: saved(p, "timm", vit(norm_eps=1e-3)),
        lambda p: (
            vitzoo.save(vit(norm_eps=1e-3), p / "alone.safetensors", "timm"),
            saved(p, "vitzoo", vit(norm_eps=1e-3)),
        ),
    ),
    remedy(
        "timm's config.json cannot say this model: ",
        lambda p: saved(p, "timm_eva", ViT(EVA.replace(pool_heads=2))),
        lambda p: saved(p, "vitzoo", ViT(EVA.replace(pool_heads=2))),
    ),
    remedy(
        "' cannot hold the model's ",
        lambda p: saved(p, "dinov2", vit(**DINOV2, act="silu")),
        lambda p: saved(p, "timm", vit(**DINOV2, act="silu")),
    ),
    remedy(
        "; the preprocessing has to be crop_mode 'squash' and ",
        lambda p: saved(p, "hf_siglip2", vit(**SIGLIP2)),
        lambda p: saved(p, "hf_siglip2", pictured(vit(**SIGLIP2), crop_mode="squash", crop_pct=1.0)),
    ),
    remedy(
        " was removed before it was read; try again",
        lambda p: read_beside(p / "model.safetensors", {CONFIG}),
        lambda p: (p / CONFIG).write_text("{}") and read_beside(p / "model.safetensors", {CONFIG}),
    ),
    remedy(
        "which this layout does ",
        lambda p: vitzoo.create(bare(p, beside(neck__weight=torch.ones(3, 3))), **PLAIN),
        lambda p: vitzoo.create(p / "x.pth", drop=["neck.*"], **PLAIN),
    ),
    remedy(
        " tensors in none of the known layouts; the nearest is ",
        lambda p: vitzoo.create(bare(p, lambda state: {f"{key}_": value for key, value in state.items()}), **PLAIN),
        lambda p: vitzoo.create(bare(p), **PLAIN),
    ),
]


@pytest.mark.parametrize(("fails", "works"), CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_error_says_works(fails: Step, works: Step, tmp_path: Path) -> None:
    check(fails, works, tmp_path)


@pytest.mark.follows(" says of such a model; take the file as it was made")
def test_a_constant_of_the_layout(tmp_path: Path) -> None:
    layout = get_layout("dinov3")
    spec = tiny.spec(
        **{"num_heads": 2, "hidden_dim": 32},
        num_classes=0,
        layer_scale=1e-5,
        reg_tokens=1,
        pos_embed="none",
        pos_prefix="none",
        norm_eps=1e-5,
        rope={"kind": "dinov3", "theta": 100.0, "pairs": "halves"},
        qkv_bias="qv",
    )
    binding = layout.bind(layout.without(spec, layout.refusals(spec)), writing=True)
    whole = binding.export_all({key: torch.zeros(shape) for key, shape in binding.native.items()})
    wrong = {key: torch.full_like(value, 7) if key in binding.fixed else value for key, value in whole.items()}
    check(lambda: binding.import_all(wrong), lambda: binding.import_all(whole))


@pytest.mark.follows("' cannot be dropped by itself; change the model's spec: ")
def test_what_follows_from_several_fields(tmp_path: Path) -> None:
    model = vit(reg_tokens=2)
    check(
        lambda: vitzoo.save(model, tmp_path / "out", "timm", drop=["num_prefix_tokens"]),
        lambda: vitzoo.save(vit(), tmp_path / "out", "timm"),
    )


@pytest.mark.follows("the encoder of Segment Anything or ViTDet")
@pytest.mark.follows("a model of videos or series")
@pytest.mark.follows("quantised: take the file that it was made from")
@pytest.mark.follows("an adapter (LoRA) beside a model")
@pytest.mark.follows("a hybrid, with convolutions in the place of the patch kernel")
@pytest.mark.follows("a Swin: no plain ViT")
@pytest.mark.follows("a ResNet: no ViT")
@pytest.mark.follows("a model with several convolutions in the place of one patch kernel")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_strangers_are_named_and_those_with_a_way_out_take_it(tmp_path: Path) -> None:
    kernel = "patch_embed.proj.weight"
    video = beside(**{kernel.replace(".", "__"): torch.ones(24, 3, 1, 8, 8)})
    named = {
        "blocks__0__attn__rel_pos_h": torch.ones(3, 8),
        "layers__0__blocks__0__attn__qkv__weight": torch.ones(3, 8),
        "layer1__0__conv1__weight": torch.ones(3, 3, 1, 1),
        "patch_embed__backbone__stem__weight": torch.ones(3, 3, 1, 1),
        "patch_embed__proj__0__weight": torch.ones(3, 3, 1, 1),
        "blocks__0__attn__qkv__qweight": torch.ones(3, 8),
        "blocks__0__attn__qkv__lora_A__weight": torch.ones(3, 24),
    }
    changes = [video, *(beside(**{key: value}) for key, value in named.items())]
    assert len(changes) == len(STRANGERS)
    for change in changes:
        check(lambda change=change: vitzoo.create(bare(tmp_path, change), **PLAIN), lambda: None)
    vitzoo.create(bare(tmp_path, lambda state: video(state) | {kernel: video(state)[kernel].squeeze(2)}), **PLAIN)
    merged = bare(tmp_path, lambda state: state | {"blocks.0.attn.qkv.weight": state["blocks.0.attn.qkv.weight"] + 1})
    vitzoo.create(merged, **PLAIN)


@pytest.mark.follows("the patch kernel '")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_turned_kernel(tmp_path: Path) -> None:
    kernel = "patch_embed.proj.weight"
    turned = bare(tmp_path, lambda state: state | {kernel: state[kernel].permute(0, 2, 3, 1)})
    with pytest.raises(vitzoo.VitzooError, match=r"permute\(0, 3, 1, 2\)"):
        vitzoo.create(turned, **PLAIN)
    state = torch.load(turned)
    torch.save(state | {kernel: state[kernel].permute(0, 3, 1, 2)}, turned)
    vitzoo.create(turned, **PLAIN)


def test_an_unknown_layout_is_answered_with_few_names() -> None:
    for name in ("tim", "abacus", 3, ["timm"]):
        with pytest.raises(vitzoo.VitzooError, match=r"did you mean|give one by its name") as error:
            get_layout(name)  # type: ignore[arg-type]
        assert len(str(error.value)) < 300


@pytest.mark.parametrize("more", [{}, {"qkv_fused": False}, {"scale_mlp": True}])
def test_what_a_class_always_has_is_not_laid_at_the_files_door(tmp_path: Path, more: dict[str, Any]) -> None:
    """Eva's pool by attention is always of GELU, which no spec says beside a gated MLP: that is the reason."""
    sizes = {name: value for name, value in tiny.timm_arguments().items() if name not in ("class_token",)}
    peer = timm.models.eva.Eva(
        **sizes, global_pool="map", class_token=False, use_rot_pos_emb=False, swiglu_mlp=True, **more
    )
    torch.save(peer.state_dict(), tmp_path / "x.pth")
    with pytest.raises(vitzoo.VitzooError, match="its models with pool map have mlp plain, and this one has not"):
        vitzoo.create(tmp_path / "x.pth", num_heads=3)


def test_a_part_of_a_block_is_not_to_be_dropped(tmp_path: Path) -> None:
    """Without its biases it would be another model, and load."""
    path = bare(tmp_path, beside(blocks__0__attn__extra=torch.ones(24), blocks__1__attn__extra=torch.ones(24)))
    with pytest.raises(vitzoo.VitzooError, match=r"'timm', but it does not know blocks\.0\.attn\.extra") as error:
        vitzoo.create(path, **PLAIN)
    assert "drop" not in str(error.value)
