"""transformers' own classes, tiny and random, and models of ours that its classes can hold."""

import json
from pathlib import Path
from typing import Any

import tiny
import torch
import transformers as hf
from safetensors.torch import load_file
from torch import Tensor

import vitzoo
from vitzoo import ViT
from vitzoo.spec import Preprocessing, ViTSpec

CONFIG = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CONFIG |= {"image_size": 32, "patch_size": 8}
CLASSES = {"num_labels": 5}

# name -> (class, its configuration, keyword arguments of the class)
PEERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "vit": (hf.ViTModel, hf.ViTConfig(**CONFIG), {}),
    "vit_classifier": (hf.ViTForImageClassification, hf.ViTConfig(**CONFIG, **CLASSES), {}),
    "vit_no_bias": (hf.ViTForImageClassification, hf.ViTConfig(**CONFIG, **CLASSES, qkv_bias=False), {}),
    "msn": (hf.ViTMSNModel, hf.ViTMSNConfig(**CONFIG), {}),
    "msn_classifier": (hf.ViTMSNForImageClassification, hf.ViTMSNConfig(**CONFIG, **CLASSES), {}),
    "deit": (hf.DeiTModel, hf.DeiTConfig(**CONFIG), {}),
    "deit_classifier": (hf.DeiTForImageClassification, hf.DeiTConfig(**CONFIG, **CLASSES), {}),
    "deit_teacher": (hf.DeiTForImageClassificationWithTeacher, hf.DeiTConfig(**CONFIG, **CLASSES), {}),
    "ijepa": (hf.IJepaModel, hf.IJepaConfig(**CONFIG), {}),
    "ijepa_classifier": (hf.IJepaForImageClassification, hf.IJepaConfig(**CONFIG, **CLASSES), {}),
    "dinov2": (hf.Dinov2Model, hf.Dinov2Config(**CONFIG), {}),
    "dinov2_gated": (hf.Dinov2Model, hf.Dinov2Config(**CONFIG, use_swiglu_ffn=True), {}),
    "dinov2_classifier": (hf.Dinov2ForImageClassification, hf.Dinov2Config(**CONFIG, **CLASSES), {}),
    "dinov2_reg": (hf.Dinov2WithRegistersModel, hf.Dinov2WithRegistersConfig(**CONFIG, num_register_tokens=3), {}),
    "dinov2_reg_classifier": (
        hf.Dinov2WithRegistersForImageClassification,
        hf.Dinov2WithRegistersConfig(**CONFIG, **CLASSES, num_register_tokens=3, use_swiglu_ffn=True),
        {},
    ),
    "dinov3": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**CONFIG, num_register_tokens=4), {}),
    "dinov3_plain": (hf.DINOv3ViTModel, hf.DINOv3ViTConfig(**CONFIG, key_bias=True), {}),
    "dinov3_gated": (
        hf.DINOv3ViTModel,
        hf.DINOv3ViTConfig(**CONFIG, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"),
        {},
    ),
    "siglip": (hf.SiglipVisionModel, hf.SiglipVisionConfig(**CONFIG), {}),
    "siglip_classifier": (
        hf.SiglipForImageClassification,
        hf.SiglipConfig(vision_config=CONFIG, text_config={**CONFIG, "vocab_size": 9}, **CLASSES),
        {},
    ),
    "siglip2": (
        hf.Siglip2VisionModel,
        hf.Siglip2VisionConfig(**{k: v for k, v in CONFIG.items() if k != "image_size"}, num_patches=16),
        {},
    ),
    "clip": (hf.CLIPVisionModel, hf.CLIPVisionConfig(**CONFIG), {}),
    "clip_projection": (hf.CLIPVisionModelWithProjection, hf.CLIPVisionConfig(**CONFIG, projection_dim=7), {}),
    "beit": (hf.BeitModel, hf.BeitConfig(**CONFIG, use_relative_position_bias=True), {}),
    "beit_shared": (hf.BeitModel, hf.BeitConfig(**CONFIG, use_shared_relative_position_bias=True), {}),
    "beit_classifier": (
        hf.BeitForImageClassification,
        hf.BeitConfig(**CONFIG, **CLASSES, use_relative_position_bias=True, use_absolute_position_embeddings=True),
        {},
    ),
    "beit_cls": (hf.BeitForImageClassification, hf.BeitConfig(**CONFIG, **CLASSES, use_mean_pooling=False), {}),
    "aimv2": (hf.Aimv2VisionModel, hf.Aimv2VisionConfig(**CONFIG, use_head=False), {}),
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


SIZES = {**tiny.FIELDS, "hidden_dim": 32, "num_heads": 2, "mlp_dim": 64}
PATCHES = {"class_token": False, "pos_prefix": "none"}
LABELS = ("tabby cat", "dog", "crane", "maillot", "teapot")
CLASSIFIER = hf.AutoModelForImageClassification

# name -> (the layout that is chosen, the loader that reads it, fields of the spec)
WRITTEN: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "vit": ("hf_vit", CLASSIFIER, {"norm_eps": 1e-12}),
    "vit_bare": ("hf_vit", hf.AutoModel, {"head": "pre_logits", "num_classes": 0, "qkv_bias": "none"}),
    "deit": (
        "hf_deit",
        hf.DeiTForImageClassificationWithTeacher,
        {"dist_token": True, "pos_prefix": "all", "pool": "cls_dist", "head": "distilled"},
    ),
    "ijepa": ("hf_ijepa", CLASSIFIER, {**PATCHES, "pool": "avg", "qkv_bias": "none"}),
    "dinov2": ("hf_dinov2", CLASSIFIER, {"pool": "cls_avg", "layer_scale": 1.0, "mlp_dim": 128}),
    "dinov2_reg": (
        "hf_dinov2_with_registers",
        CLASSIFIER,
        {"pool": "cls_avg", "layer_scale": 1.0, "reg_tokens": 3, "mlp": "gated", "act": "silu", "mlp_dim": 88},
    ),
    "dinov3": (
        "hf_dinov3_vit",
        hf.AutoModel,
        {"pos_embed": "none", "rope": {"kind": "dinov3", "theta": 100.0, "pairs": "halves"}, "qkv_bias": "qv"}
        | {"reg_tokens": 4, "layer_scale": 1.0, "num_classes": 0},
    ),
    "siglip": (
        "hf_siglip",
        CLASSIFIER,
        {**PATCHES, "pool": "avg", "act": "gelu_tanh"},
    ),
    "siglip_bare": ("hf_siglip", hf.AutoModel, {**PATCHES, "pool": "map", "num_classes": 0}),
    "clip": (
        "hf_clip",
        hf.CLIPVisionModelWithProjection,
        {"patch_bias": False, "norm_pre": True, "final_norm": "pooled", "head_bias": False, "act": "quick_gelu"}
        | {"head": "projection", "out_dim": 10, "num_classes": 0},
    ),
    "beit": (
        "hf_beit",
        CLASSIFIER,
        {"pos_embed": "none", "rel_pos": "block", "qkv_bias": "qv", "layer_scale": 0.1, "pool": "avg"}
        | {"final_norm": "pooled"},
    ),
    "aimv2": (
        "hf_aimv2",
        hf.AutoModel,
        {**PATCHES, "pool": "avg", "norm": "rms", "patch_norm": True, "mlp": "gated", "act": "silu", "num_classes": 0}
        | {"qkv_bias": "none", "proj_bias": False, "mlp_bias": False, "mlp_out_bias": False},
    ),
}


def model_of(name: str, **changes: Any) -> ViT:
    """A model of which every tensor is random, and whose logits differ enough for probabilities to tell."""
    _, _, fields = WRITTEN[name]
    model = vitzoo.create(ViTSpec.parse({**SIZES, **fields, **changes}, name))
    tiny.randomise(model, seed=11, std=0.2)
    if model.spec.qkv_bias == "qv":
        with torch.no_grad():
            for block in model.blocks:
                block.attn.qkv.bias[32:64] = 0
    model.labels = LABELS if model.spec.num_classes else None
    # The two libraries round the offset of a crop otherwise where it falls between pixels; here it does not.
    model.preprocessing = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), crop_pct=0.8)
    return model
