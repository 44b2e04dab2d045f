"""transformers' own classes, tiny and random, saved by their own save_pretrained: equal outputs, both ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import transformers as hf
from peers.huggingface import CONFIG, PEERS, compare, saved
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

TABLES = {layout.name: layout for layout in LAYOUTS}


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


@pytest.mark.proves(
    layout="hf_vit",
    against="transformers `ViTModel`, `ViTForImageClassification`, `ViTMSNModel`, `ViTMSNForImageClassification`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_deit",
    against="transformers `DeiTModel`, `DeiTForImageClassification`, `DeiTForImageClassificationWithTeacher`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_ijepa",
    against="transformers `IJepaModel`, `IJepaForImageClassification`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_dinov2",
    against="transformers `Dinov2Model`, `Dinov2ForImageClassification`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_dinov2_with_registers",
    against="transformers `Dinov2WithRegistersModel`, `Dinov2WithRegistersForImageClassification`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_dinov3_vit", against="transformers `DINOv3ViTModel`", tolerance="1e-5, tensors bit for bit"
)
@pytest.mark.proves(
    layout="hf_siglip",
    against="transformers `SiglipVisionModel`, `SiglipForImageClassification`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_siglip2",
    against="transformers `Siglip2VisionModel` on square pictures",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_clip",
    against="transformers `CLIPVisionModel`, `CLIPVisionModelWithProjection`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_beit",
    against="transformers `BeitModel`, `BeitForImageClassification`",
    tolerance="1e-5, tensors bit for bit",
)
@pytest.mark.proves(
    layout="hf_aimv2", against="transformers `Aimv2VisionModel` at its own size", tolerance="1e-5, tensors bit for bit"
)
@pytest.mark.proves(
    claim="Hugging Face's classes, both ways",
    against="transformers, each class that reads a plain ViT",
    tolerance="1e-5, tensors bit for bit",
)
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


def test_the_activation_of_a_gated_mlp_comes_from_the_config(tmp_path: Path) -> None:
    config = {"model_type": "dinov3_vit", **CONFIG, "use_gated_mlp": True}
    assert hf_config.spec_fields(config)["act"] == "gelu"
    assert hf_config.spec_fields({**config, "hidden_act": "silu"})["act"] == "silu"
    assert hf_config.spec_fields({"model_type": "dinov2", **CONFIG, "use_swiglu_ffn": True})["act"] == "silu"


@pytest.mark.parametrize(
    ("kind", "eps"),
    [("vit", 1e-12), ("beit", 1e-12), ("clip_vision_model", 1e-5), ("dinov3_vit", 1e-5), ("dinov2", 1e-6)],
)
def test_eps_is_the_classes_own_where_the_config_is_silent(kind: str, eps: float) -> None:
    assert hf_config.spec_fields({"model_type": kind, **CONFIG})["norm_eps"] == eps
    assert hf.AutoConfig.for_model(kind).layer_norm_eps == eps


@pytest.mark.parametrize("name", ["beit_classifier", "dinov3"])
def test_a_key_bias_is_never_dropped_in_silence(name: str, tmp_path: Path) -> None:
    _, config, disk = saved(name, tmp_path)
    ours, table = imported(config, disk)
    state = ours.state_dict()
    bias = state["blocks.0.attn.qkv.bias"]
    assert not bias[32:64].any()
    bias[40] = 1.0
    with pytest.raises(LayoutError, match="has to be zero"):
        table.bind(ours.spec, writing=True).export_all(state)


def test_the_gate_comes_first_in_packed_weights(tmp_path: Path) -> None:
    peer, config, disk = saved("dinov2_gated", tmp_path)
    for key in [key for key in disk if "weights_in" in key]:
        disk[key] = disk[key].roll(len(disk[key]) // 2, 0)
    ours, _ = imported(config, disk)
    with pytest.raises(AssertionError):
        compare(peer, ours, 32)


def test_the_pooler_is_not_the_head(tmp_path: Path) -> None:
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


def test_relative_biases_of_the_class_token_stay_and_the_index_is_dropped(tmp_path: Path) -> None:
    _, config, disk = saved("beit", tmp_path)
    ours, table = imported(config, disk)
    key = "encoder.layer.1.attention.attention.relative_position_bias.relative_position_bias_table"
    assert torch.equal(ours.state_dict()["blocks.1.attn.rel_pos.prefix"], disk[key][-3:])
    index = key.replace("bias_table", "index")
    assert index in table.bind(ours.spec).check(
        {k: tuple(t.shape) for k, t in {**disk, index: torch.zeros(17, 17)}.items()}, "file"
    )


def test_names_on_disk_are_read_whatever_they_are_in_memory(tmp_path: Path) -> None:
    peer, config, disk = saved("vit", tmp_path / "vit")
    assert not disk.keys() & {key for key in peer.state_dict() if key.startswith("layers.")}
    for name in ("clip", "siglip"):
        _, config, disk = saved(name, tmp_path / name)
        assert not any(key.startswith("vision_model.") for key in disk)
        a, _ = imported(config, disk)
        b, _ = imported(config, {f"vision_model.{key}": t for key, t in disk.items()})
        assert all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())


@pytest.mark.proves(layout="hf_clip", against="transformers: the tower of `CLIPModel`, read alone", tolerance="1e-5")
def test_a_whole_clip_model_gives_its_picture_tower(tmp_path: Path) -> None:
    text = {**CONFIG, "vocab_size": 9, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0}
    config = hf.CLIPConfig(vision_config=CONFIG, text_config=text, projection_dim=7)
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
    ours = Preprocessing(
        crop_pct=0.8, crop_mode=crop_mode, interpolation=interpolation, mean=(0.5, 0.4, 0.3), crop_offset="down"
    )
    spec = ViTSpec(hidden_dim=32, depth=1, num_heads=2, mlp_dim=48, img_size=32, patch_size=8)
    told = hf_processor.processor_config("hf_vit", spec, ours)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    assert Preprocessing(**hf_processor.preprocessing_fields(told)) == ours
    processor = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pixels = torch.randint(0, 256, (50, 71, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    picture = Image.fromarray(pixels.numpy())
    theirs = processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(Transform(spec.img_size, 3, ours)(picture), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.proves(
    layout="hf_vit", against="transformers: the encoder of `ViTMAEForPreTraining`, read alone", tolerance="1e-5"
)
def test_mae_gives_its_encoder_and_leaves_the_decoder(tmp_path: Path) -> None:
    decoder = {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1}
    peer = hf.ViTMAEForPreTraining(hf.ViTMAEConfig(**CONFIG, **decoder, mask_ratio=0.0)).eval()
    tiny.randomise(peer, std=0.2)
    peer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    ours, _ = imported(config, load_file(tmp_path / "model.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        # Increasing noise shuffles nothing.
        theirs = peer.vit(x, noise=torch.arange(16.0)[None]).last_hidden_state
        torch.testing.assert_close(ours.forward_features(x), theirs, atol=1e-5, rtol=1e-5)
