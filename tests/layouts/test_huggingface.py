"""transformers' own classes, tiny and random, saved by their own save_pretrained: equal outputs, both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitzoo import ViT
from vitzoo.errors import LayoutError
from vitzoo.images.transform import Transform
from vitzoo.layouts.huggingface import config as hf_config
from vitzoo.layouts.huggingface import processor as hf_processor
from vitzoo.layouts.huggingface.tables import LAYOUTS
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.tables import get_layout
from vitzoo.model.resample import Resample
from vitzoo.spec import About, Preprocessing, ViTSpec

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TINY |= {"image_size": 32, "patch_size": 8}
CLASSES = {"num_labels": 5}
TABLES = {layout.name: layout for layout in LAYOUTS}

# name -> (class, its configuration, keyword arguments of the class)
PEERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "vit": (hf.ViTModel, hf.ViTConfig(**TINY), {}),
    "vit_classifier": (hf.ViTForImageClassification, hf.ViTConfig(**TINY, **CLASSES), {}),
    "vit_no_bias": (hf.ViTForImageClassification, hf.ViTConfig(**TINY, **CLASSES, qkv_bias=False), {}),
    "msn": (hf.ViTMSNModel, hf.ViTMSNConfig(**TINY), {}),
    "msn_classifier": (hf.ViTMSNForImageClassification, hf.ViTMSNConfig(**TINY, **CLASSES), {}),
    "deit": (hf.DeiTModel, hf.DeiTConfig(**TINY), {}),
    "deit_classifier": (hf.DeiTForImageClassification, hf.DeiTConfig(**TINY, **CLASSES), {}),
    "deit_teacher": (hf.DeiTForImageClassificationWithTeacher, hf.DeiTConfig(**TINY, **CLASSES), {}),
    "ijepa": (hf.IJepaModel, hf.IJepaConfig(**TINY), {}),
    "ijepa_classifier": (hf.IJepaForImageClassification, hf.IJepaConfig(**TINY, **CLASSES), {}),
    "dinov2": (hf.Dinov2Model, hf.Dinov2Config(**TINY), {}),
    "dinov2_gated": (hf.Dinov2Model, hf.Dinov2Config(**TINY, use_swiglu_ffn=True), {}),
    "dinov2_classifier": (hf.Dinov2ForImageClassification, hf.Dinov2Config(**TINY, **CLASSES), {}),
    "dinov2_reg": (hf.Dinov2WithRegistersModel, hf.Dinov2WithRegistersConfig(**TINY, num_register_tokens=3), {}),
    "dinov2_reg_classifier": (
        hf.Dinov2WithRegistersForImageClassification,
        hf.Dinov2WithRegistersConfig(**TINY, **CLASSES, num_register_tokens=3, use_swiglu_ffn=True),
        {},
    ),
    "dinov3": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**TINY, num_register_tokens=4), {}),
    "dinov3_plain": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**TINY, key_bias=True), {}),
    "dinov3_gated": (
        hf.DINOv3ViTModel,
        hf.DINOv3ViTConfig(**TINY, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"),
        {},
    ),
    "siglip": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**TINY), {}),
    "siglip_classifier": (
        hf.SiglipForImageClassification,
        hf.SiglipConfig(vision_config=TINY, text_config={**TINY, "vocab_size": 9}, **CLASSES),
        {},
    ),
    "siglip2": (
        hf.Siglip2VisionModel,
        hf.Siglip2VisionConfig(**{k: v for k, v in TINY.items() if k != "image_size"}, num_patches=16),
        {},
    ),
    "clip": (hf.CLIPVisionModel, hf.CLIPVisionConfig(**TINY), {}),
    "clip_projection": (hf.CLIPVisionModelWithProjection, hf.CLIPVisionConfig(**TINY, projection_dim=7), {}),
    "beit": (hf.BeitModel, hf.BeitConfig(**TINY, use_relative_position_bias=True), {}),
    "beit_shared": (hf.BeitModel, hf.BeitConfig(**TINY, use_shared_relative_position_bias=True), {}),
    "beit_classifier": (
        hf.BeitForImageClassification,
        hf.BeitConfig(**TINY, **CLASSES, use_relative_position_bias=True, use_absolute_position_embeddings=True),
        {},
    ),
    "beit_cls": (hf.BeitForImageClassification, hf.BeitConfig(**TINY, **CLASSES, use_mean_pooling=False), {}),
    "aimv2": (hf.Aimv2VisionModel, hf.Aimv2VisionConfig(**TINY, use_head=False), {}),
}


def saved(name: str, folder: Path) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """A random model of the peer, and its configuration and tensors as they are on disk."""
    cls, config, given = PEERS[name]
    generator = torch.Generator().manual_seed(7)
    model = cls(config, **given).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + ("norm" in key) * 0.7)
    model.save_pretrained(folder)
    return model, json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")


def imported(config: dict[str, Any], disk: dict[str, Tensor]) -> tuple[ViT, Layout]:
    fields = hf_config.spec_fields(config)
    if any("pooler.dense" in key for key in disk):
        fields["head"] = "pre_logits"
    spec, table = ViTSpec(**fields), TABLES[hf_config.layout_name(config)]
    binding = table.bind(spec)
    native = binding.import_all({n: disk[k] for n, k in table.view(disk, binding.stored).items()})
    ours = ViT(spec, About(resample=get_layout(hf_config.layout_name(config)).resample)).eval()
    ours.load_state_dict(native)
    return ours, table


@torch.no_grad()
def compare(peer: Any, ours: ViT, size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    kind, extra = type(peer).__name__, {}
    if size != 32 and not kind.startswith(("Dinov2", "DINOv3")):
        extra["interpolate_pos_encoding"] = True
    if kind.startswith("Siglip2"):
        rows = size // 8
        cut = x.unflatten(2, (rows, 8)).unflatten(4, (rows, 8)).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        shape = torch.tensor([[rows, rows]] * 2)
        out = peer(cut, pixel_attention_mask=torch.ones(2, rows * rows), spatial_shapes=shape)
    else:
        out = peer(x, **extra)
    features = ours.forward_features(x)
    if "last_hidden_state" in out:
        torch.testing.assert_close(features, out["last_hidden_state"], atol=1e-5, rtol=1e-5)
    answer = next((out[key] for key in ("logits", "image_embeds", "pooler_output") if out.get(key) is not None), None)
    if answer is not None:
        torch.testing.assert_close(ours(x), answer, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PEERS)
def test_outputs_are_equal_and_the_way_back_is_exact(name: str, tmp_path: Path) -> None:
    peer, config, disk = saved(name, tmp_path / "theirs")
    ours, table = imported(config, disk)
    sizes = (32,) if name == "aimv2" else (32, 48)  # its class takes its own size alone
    for size in sizes:
        compare(peer, ours, size)
    binding = table.bind(ours.spec, writing=True)
    names = table.written(binding.stored)
    back = {names[n]: t for n, t in binding.export_all(ours.state_dict()).items()}
    disk = {f"vit.{key}" if name == "msn_classifier" and key.startswith("encoder.") else key: disk[key] for key in disk}
    lost = {key for key in disk if key not in back}
    assert all(any(word in key for word in ("mask_token", "vision_model.head.")) for key in lost)
    assert back.keys() <= disk.keys()
    for key, tensor in back.items():
        assert "mask_token" in key or torch.equal(tensor, disk[key]), key
    folder = tmp_path / "ours"
    folder.mkdir()
    save_file({k: t.contiguous() for k, t in back.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(hf_config.config(table.name, ours.spec)))
    reader = hf.ViTForImageClassification if name == "msn_classifier" else hf.ViTModel if name == "msn" else type(peer)
    given = {"add_pooling_layer": False} if name == "msn" else {}
    again, info = reader.from_pretrained(folder, output_loading_info=True, **given)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for size in sizes:
        compare(again.eval(), ours, size)


@pytest.mark.parametrize("name", ["vit_classifier", "dinov2_gated", "dinov3_gated", "siglip", "clip", "beit"])
def test_a_swap_is_noticed(name: str, tmp_path: Path) -> None:
    """The control: the comparison fails where two tensors of one shape have changed places."""
    peer, config, disk = saved(name, tmp_path)
    value = next(key for key in disk if key.endswith(("value.weight", "v_proj.weight")) and ".0." in key)
    query = value.replace("value", "query").replace("v_proj", "q_proj")
    disk[value], disk[query] = disk[query], disk[value]
    ours, _ = imported(config, disk)
    with pytest.raises(AssertionError):
        compare(peer, ours, 32)


def test_pitfall_03_gated_activation_comes_from_the_config(tmp_path: Path) -> None:
    config = {"model_type": "dinov3_vit", **TINY, "use_gated_mlp": True}
    assert hf_config.spec_fields(config)["act"] == "gelu"
    assert hf_config.spec_fields({**config, "hidden_act": "silu"})["act"] == "silu"
    assert hf_config.spec_fields({"model_type": "dinov2", **TINY, "use_swiglu_ffn": True})["act"] == "silu"


@pytest.mark.parametrize(
    ("kind", "eps"),
    [("vit", 1e-12), ("beit", 1e-12), ("clip_vision_model", 1e-5), ("dinov3_vit", 1e-5), ("dinov2", 1e-6)],
)
def test_pitfall_04_eps_is_the_classes_own_where_the_config_is_silent(kind: str, eps: float) -> None:
    assert hf_config.spec_fields({"model_type": kind, **TINY})["norm_eps"] == eps
    assert hf.AutoConfig.for_model(kind).layer_norm_eps == eps


@pytest.mark.parametrize("name", ["beit_classifier", "dinov3"])
def test_pitfall_05_a_key_bias_is_never_dropped_in_silence(name: str, tmp_path: Path) -> None:
    _, config, disk = saved(name, tmp_path)
    ours, table = imported(config, disk)
    state = ours.state_dict()
    bias = state["blocks.0.attn.qkv.bias"]
    assert not bias[32:64].any()
    bias[40] = 1.0
    with pytest.raises(LayoutError, match="has to be zero"):
        table.bind(ours.spec, writing=True).export_all(state)


def test_pitfall_11_gate_comes_first_in_packed_weights(tmp_path: Path) -> None:
    peer, config, disk = saved("dinov2_gated", tmp_path)
    for key in [key for key in disk if "weights_in" in key]:
        disk[key] = disk[key].roll(len(disk[key]) // 2, 0)
    ours, _ = imported(config, disk)
    with pytest.raises(AssertionError):
        compare(peer, ours, 32)


def test_pitfall_15_pooler_is_not_the_head(tmp_path: Path) -> None:
    _, config, disk = saved("vit", tmp_path)
    spec, table = ViTSpec(**hf_config.spec_fields(config)), TABLES["hf_vit"]
    dropped = table.bind(spec).check({key: tuple(t.shape) for key, t in disk.items()}, "file")
    assert set(dropped) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert (
        hf_config.spec_fields({**config, "model_type": "dinov2", "architectures": ["Dinov2ForImageClassification"]})[
            "pool"
        ]
        == "cls_avg"
    )


def test_pitfall_16_the_class_tokens_biases_stay_and_the_index_is_dropped(tmp_path: Path) -> None:
    _, config, disk = saved("beit", tmp_path)
    ours, table = imported(config, disk)
    key = "encoder.layer.1.attention.attention.relative_position_bias.relative_position_bias_table"
    assert torch.equal(ours.state_dict()["blocks.1.attn.rel_pos.prefix"], disk[key][-3:])
    index = key.replace("bias_table", "index")
    assert index in table.bind(ours.spec).check(
        {k: tuple(t.shape) for k, t in {**disk, index: torch.zeros(17, 17)}.items()}, "file"
    )


def test_pitfall_18_names_on_disk_are_not_those_in_memory(tmp_path: Path) -> None:
    peer, config, disk = saved("vit", tmp_path / "vit")
    assert not disk.keys() & {key for key in peer.state_dict() if key.startswith("layers.")}
    for name in ("clip", "siglip"):
        _, config, disk = saved(name, tmp_path / name)
        assert not any(key.startswith("vision_model.") for key in disk)
        a, _ = imported(config, disk)
        b, _ = imported(config, {f"vision_model.{key}": t for key, t in disk.items()})
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())


def test_a_whole_clip_model_gives_its_picture_tower(tmp_path: Path) -> None:
    text = {**TINY, "vocab_size": 9, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0}
    config = hf.CLIPConfig(vision_config=TINY, text_config=text, projection_dim=7)
    peer = hf.CLIPModel(config).eval()
    peer.save_pretrained(tmp_path)
    ours, _ = imported(json.loads((tmp_path / "config.json").read_text()), load_file(tmp_path / "model.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        theirs = peer.visual_projection(peer.vision_model(x).pooler_output)
        torch.testing.assert_close(ours(x), theirs, atol=1e-5, rtol=1e-5)


def test_resampling_policies_are_those_of_the_classes() -> None:
    assert get_layout(hf_config.layout_name({"model_type": "vit"})).resample is Resample.HUGGINGFACE
    assert get_layout(hf_config.layout_name({"model_type": "dinov2_with_registers"})).resample is Resample.DINOV2_REG


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_auto_image_processor_gives_the_same_pixels(crop_mode: str, interpolation: str, tmp_path: Path) -> None:
    """transformers' Pillow backend resizes as we do; its rounding of the rescale is within 1e-5."""
    ours = Preprocessing(crop_pct=0.8, crop_mode=crop_mode, interpolation=interpolation, mean=(0.5, 0.4, 0.3))
    spec = ViTSpec(hidden_dim=32, depth=1, num_heads=2, mlp_dim=48, img_size=32, patch_size=8)
    told = hf_processor.processor_config("hf_vit", spec, ours)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    assert Preprocessing(**hf_processor.preprocessing_fields(told)) == ours
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pixels = torch.randint(0, 256, (50, 71, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    picture = Image.fromarray(pixels.numpy())
    theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(Transform(spec.img_size, 3, ours)(picture), theirs, atol=1e-5, rtol=1e-5)


def test_mae_gives_its_encoder_and_leaves_the_decoder(tmp_path: Path) -> None:
    decoder = {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1}
    peer = hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**TINY, **decoder, mask_ratio=0.0)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    peer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    ours, _ = imported(config, load_file(tmp_path / "model.safetensors"))
    x = torch.randn(1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        # Increasing noise shuffles nothing.
        theirs = peer.vit(x, noise=torch.arange(16.0)[None]).last_hidden_state
        torch.testing.assert_close(ours.forward_features(x), theirs, atol=1e-5, rtol=1e-5)
