"""Code of others that expects timm's ViT, run with the real libraries on models of this package."""

import copy
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import lightning
import pytest
import timm
import torch
from signatures import signatures
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import DataLoader
from torchvision.models.feature_extraction import create_feature_extractor

import vitzoo
from vitzoo import ViT
from vitzoo.errors import SpecError
from vitzoo.layouts.tables import get_layout
from vitzoo.spec import ViTSpec
from vitzoo.spec.tensors import native_shapes

PAGE = (Path(__file__).parents[2] / "docs" / "downstream.md").read_text(encoding="utf-8")
SMALL = {"img_size": 32, "patch_size": 8, "depth": 3, "num_classes": 7}
every_signature = pytest.mark.parametrize("name", signatures())


def build(spec: ViTSpec, seed: int = 0) -> ViT:
    """A model with every parameter drawn, in evaluation mode."""
    model = ViT(spec).init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return model.eval()


def pictures(spec: ViTSpec, rows: int = 4, cols: int = 4) -> Tensor:
    height, width = spec.patch_size
    return torch.randn(2, spec.in_chans, rows * height, cols * width, generator=torch.Generator().manual_seed(1))


def pair() -> tuple[ViT, nn.Module]:
    """One of ours and timm's own with the same weights."""
    peer = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, **SMALL).eval()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_(std=0.2)
    model = ViT(vitzoo.info("vit_ti16").spec.replace(**SMALL)).eval()
    model.load_state_dict(get_layout("timm").bind(model.spec).import_all(peer.state_dict()))
    return model, peer


Scope = dict[str, Any]
CHECKS: dict[str, Callable[[Scope], bool]] = {
    "Feature maps for detection and segmentation": lambda made: (
        made["net"].feature_info.channels() == [128, 128]
        and [m.shape for m in made["maps"]] == [(8, 128, 8, 8)] * 2
        and made["masks"].shape == (1, 5, 224, 224)
    ),
    "torchvision's feature extractor": lambda made: (
        {key: tuple(value.shape) for key, value in made["found"].items()} == {"tokens": (8, 64, 128), "logits": (8, 10)}
        and torch.equal(made["found"]["logits"], made["model"](made["pictures"]))
    ),
    "peft": lambda made: (
        isinstance(made["merged"], ViT)
        and {name.rpartition(".")[2] for name in made["adapted"].targeted_module_names} == {"qkv", "proj"}
        and "patch_embed.proj" in made["adapted"].targeted_module_names
    ),
    "transformers' Trainer": lambda made: (
        made["trainer"].state.global_step == 2
        and not torch.equal(vitzoo.create("out/trained.safetensors").head.fc.weight, made["model"].head.fc.weight)
    ),
    "Lightning": lambda made: (
        made["trainer"].global_step == 2 and made["module"].model.training and made["module"].model.blocks[3].training
    ),
    "captum": lambda made: made["pixels"].shape == (8, 3, 32, 32) and made["areas"].shape == (8, 1, 8, 8),
}
NOT_EVERYWHERE = {"captum": "captum", "Feature maps for detection and segmentation": "segmentation_models_pytorch"}


@pytest.mark.parametrize("title", CHECKS)
def test_the_page_word_for_word(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(NOT_EVERYWHERE.get(title, "torch"))
    monkeypatch.chdir(tmp_path)
    start, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (section,) = [text for text in sections if text.startswith(title + "\n")]
    assert len(sections) == len(CHECKS)
    scope: Scope = {}
    for text in re.findall(r"```python\n(.*?)```", start + section, re.DOTALL):
        exec(compile(text, "docs/downstream.md", "exec"), scope)
    assert CHECKS[title](scope)


def test_a_lightning_module_keeps_the_mode_it_finds() -> None:
    """Why the page says `.train()`: without it the blocks would be trained as they are evaluated."""
    seen = []

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = vitzoo.create("vit_nano4.cifar10", pretrained=True, drop_path_rate=0.5)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            seen.append(self.model.training)
            return self.model(batch[0]).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    fit = lightning.Trainer(max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    fit.fit(
        Classifier(), DataLoader([torch.randn(3, 32, 32)], batch_size=1, collate_fn=lambda rows: [torch.stack(rows)])
    )
    assert seen == [False]


@every_signature
def test_feature_extractor_of_every_architecture(name: str) -> None:
    """The traced graph computes the same at other sizes, learns, and refuses what the model refuses."""
    spec = signatures()[name]
    model = build(spec)
    extractor = create_feature_extractor(model, {"blocks.0": "tokens", "head": "out"})
    for size in ((4, 4), (6, 3)):
        x = pictures(spec, *size)
        found = extractor(x)
        torch.testing.assert_close(found["out"], model(x))
        assert found["tokens"].shape == (2, spec.num_prefix_tokens + size[0] * size[1], spec.hidden_dim)
    extractor.train()(pictures(spec))["out"].sum().backward()
    assert model.patch_embed.proj.weight.grad is not None
    odd = torch.randn(1, spec.in_chans, 4 * spec.patch_size[0] + 1, 4 * spec.patch_size[1])
    if not spec.drop_remainder:
        with pytest.raises(SpecError, match="not divisible"):
            extractor(odd)


@every_signature
def test_pruned_models_give_the_same_features_and_are_whole(name: str) -> None:
    spec = signatures()[name].replace(drop_path_rate=0.2)
    whole, pruned = build(spec), build(spec)
    x = pictures(spec)
    (expected,) = whole.forward_intermediates(x, [0], intermediates_only=True)
    assert pruned.prune_intermediate_layers([-2], prune_norm=True) == [0]
    (found,) = pruned.forward_intermediates(x, [0], intermediates_only=True)
    assert torch.equal(found, expected)
    assert pruned(x).shape == (2, spec.num_prefix_tokens + 16, spec.hidden_dim)
    assert (pruned.spec.depth, pruned.spec.num_classes, pruned.spec.drop_path_rate) == (1, 0, 0.0)
    assert {key: tuple(value.shape) for key, value in pruned.state_dict().items()} == native_shapes(pruned.spec)


def test_feature_getter_equals_timm() -> None:
    model, peer = pair()
    x = torch.randn(2, 3, 32, 48)
    for options in ({"out_indices": 2}, {"out_indices": [0, -2], "norm": True, "output_fmt": "NLC"}, {"prune": False}):
        nets = [FeatureGetterNet(copy.deepcopy(net), **{"out_indices": (0, 2), **options}) for net in (model, peer)]
        assert nets[0].feature_info.get_dicts() == nets[1].feature_info.get_dicts()
        torch.testing.assert_close(nets[0](x), nets[1](x), atol=1e-5, rtol=1e-5)
        assert len(nets[0].model.blocks) == len(nets[1].model.blocks)
    for norm, head in product((False, True), repeat=2):
        ours, theirs = copy.deepcopy(model), copy.deepcopy(peer)
        assert ours.prune_intermediate_layers([1], norm, head) == theirs.prune_intermediate_layers([1], norm, head)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("only", [False, True])
def test_named_intermediates_equal_timm(prefix: bool, only: bool) -> None:
    model, peer = pair()
    options = {"return_prefix_tokens": prefix, "intermediates_only": only, "output_dict": True}
    x = torch.randn(2, 3, 32, 32)
    ours, theirs = (net.forward_intermediates(x, [1, 2], **options) for net in (model, peer))
    assert ours.keys() == theirs.keys()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert all(part.is_contiguous() for part in ours["image_intermediates"])


def test_masks_equal_timm() -> None:
    model, peer = pair()
    x = torch.randn(2, 3, 32, 32)
    seen = torch.rand(17, 17) > 0.3
    seen.fill_diagonal_(True)
    plain = model.forward_intermediates(x, [2], intermediates_only=True)
    for options in ({"attn_mask": seen}, {"attn_mask": torch.randn(2, 1, 17, 17)}, {"is_causal": True}):
        ours, theirs = (net.forward_intermediates(x, [2], intermediates_only=True, **options) for net in (model, peer))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(ours[0], plain[0], atol=1e-3)
    ours, theirs = (net.get_intermediate_layers(x, 2, attn_mask=seen) for net in (model, peer))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    with pytest.raises(SpecError, match="give one of them"):
        model.forward_intermediates(x, attn_mask=seen, is_causal=True)


@every_signature
def test_a_causal_mask_hides_later_tokens_in_every_architecture(name: str) -> None:
    spec = signatures()[name]
    model, x = build(spec), pictures(spec)
    other = x.clone()
    other[..., -spec.patch_size[0] :, :] += 1.0  # the last row of patches: tokens from 12 patches on
    prefix = spec.num_prefix_tokens
    first, second = (
        model.forward_intermediates(y, [1], True, output_fmt="NLC", intermediates_only=True, is_causal=True)[0]
        for y in (x, other)
    )
    assert torch.equal(first[1], second[1]) or prefix == 0
    torch.testing.assert_close(first[0][:, :12], second[0][:, :12])
    assert not torch.allclose(first[0][:, 12:], second[0][:, 12:], atol=1e-3)


@every_signature
def test_everything_is_computed_on_the_device_of_the_pictures(name: str) -> None:
    """Fake tensors refuse to mix devices as real ones do, and need no GPU."""
    spec = signatures()[name]
    with FakeTensorMode():
        with torch.device("cuda"):
            model, x = ViT(spec), torch.empty(2, spec.in_chans, *spec.img_size)
            larger = torch.empty(1, spec.in_chans, 6 * spec.patch_size[0], 3 * spec.patch_size[1])
        assert model(x).device.type == model(larger).device.type == "cuda"
