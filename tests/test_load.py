"""Checkpoints as their peers write them to disk, through `create` and back; and what loading refuses."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import VisionTransformer as TorchvisionViT

import vitzoo
from vitzoo import registry
from vitzoo.errors import LayoutError, RegistryError, SpecError, WeightsError
from vitzoo.layouts.tables import bind, get_layout
from vitzoo.spec import ViTSpec

FIELDS: dict[str, Any] = {
    "img_size": 32, "patch_size": 8, "hidden_dim": 48, "depth": 2, "num_heads": 3, "mlp_dim": 80, "num_classes": 7,
}  # fmt: skip
HF = {
    "image_size": 32, "patch_size": 8, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 80, "num_labels": 7,
}  # fmt: skip
DISTILLED = {"dist_token": True, "pos_prefix": "all", "pool": "cls_dist", "head": "distilled"}
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def randomise(model: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def huggingface(folder: Path, kind: str) -> tuple[Path, dict[str, Any], torch.Tensor]:
    config = (transformers.DeiTConfig if "DeiT" in kind else transformers.ViTConfig)(**HF)
    peer = randomise(getattr(transformers, kind)(config))
    peer.save_pretrained(folder)
    with torch.no_grad():
        out = peer(X)
    expected = out.pooler_output if kind == "ViTModel" else out.logits
    extra = {"ViTModel": {"head": "pre_logits", "num_classes": 0}, "DeiTForImageClassificationWithTeacher": DISTILLED}
    extra["DeiTForImageClassification"] = {"dist_token": True, "pos_prefix": "all"}  # carried, but not read by the head
    return folder / "model.safetensors", {"norm_eps": config.layer_norm_eps, **extra.get(kind, {})}, expected


def torchvision(folder: Path, kind: str) -> tuple[Path, dict[str, Any], torch.Tensor]:
    peer = randomise(TorchvisionViT(32, 8, 2, 3, 48, 80, num_classes=7))
    torch.save(peer.state_dict(), folder / "tv.pth")
    with torch.no_grad():
        return folder / "tv.pth", {}, peer(X)


def google(folder: Path, kind: str) -> tuple[Path, dict[str, Any], torch.Tensor]:
    """flax names and shapes, written from a model of ours, and read by timm's own npz reader."""
    spec = ViTSpec(**FIELDS)
    model = randomise(vitzoo.create(spec))
    arrays = {k: v.numpy() for k, v in bind("google", spec).export_all(model.state_dict()).items()}
    np.savez(folder / "plain.npz", **arrays)
    np.savez(folder / "flax.npz", **{f"opt/target/{k}": v for k, v in arrays.items()})
    peer = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, mlp_ratio=80 / 48, num_classes=7
    )
    peer.load_pretrained(str(folder / "plain.npz"))
    with torch.no_grad():
        return folder / "flax.npz", {}, peer.eval()(X)


PEERS = {
    "ViTForImageClassification": ("huggingface", huggingface),
    "ViTModel": ("huggingface", huggingface),
    "DeiTForImageClassification": ("huggingface", huggingface),
    "DeiTForImageClassificationWithTeacher": ("huggingface", huggingface),
    "torchvision": ("torchvision", torchvision),
    "google": ("google", google),
}


@pytest.mark.parametrize("kind", PEERS)
def test_equal_to_the_peer_and_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    layout, peer = PEERS[kind]
    path, extra, expected = peer(tmp_path, kind)
    fields = {**FIELDS, **extra}
    model = vitzoo.create(path, layout=layout, **fields)
    with torch.no_grad():
        torch.testing.assert_close(model(X), expected, atol=1e-5, rtol=1e-5)

    file = vitzoo.weights.files.open_tensors(path)  # type: ignore[attr-defined]
    strip = get_layout(layout).strip
    stored = {strip(key): file.read(key) for key in file.shapes}
    back = bind(layout, model.spec).export_all(model.state_dict())
    dropped = {row.tensor for row in model.load_report.rows if row.action == "dropped"}
    assert back.keys() == stored.keys() - dropped
    assert all(torch.equal(back[key], stored[key]) for key in back)

    # The control: two tensors of one shape in each other's place are noticed.
    keys = [key for key in model.state_dict() if key.endswith(("norm1.weight", "norm2.weight"))]
    state = model.state_dict()
    model.load_state_dict({**state, keys[0]: state[keys[1]].clone(), keys[1]: state[keys[0]].clone()})
    with torch.no_grad():
        assert not torch.allclose(model(X), expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub cache that holds vit_ti16.augreg_in21k_ft_in1k with random values, as the hub client lays it out."""
    folder = tmp_path_factory.mktemp("hub")
    repo = folder / "models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    peer = randomise(timm.create_model("vit_tiny_patch16_224"))
    save_file(peer.state_dict(), snapshot / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


NAME = "vit_ti16.augreg_in21k_ft_in1k"


@pytest.mark.parametrize(
    "name", [NAME, "vit_ti16", "vit_tiny_patch16_224", "hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"]
)
def test_pretrained_from_the_cache_equals_timm(hub: Path, name: str) -> None:
    (file,) = hub.glob("*/snapshots/*/model.safetensors")
    peer = timm.create_model("vit_tiny_patch16_224", checkpoint_path=str(file)).eval()
    before = torch.get_rng_state()
    model = vitzoo.create(name, pretrained=True)
    assert torch.equal(before, torch.get_rng_state())
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), atol=1e-5, rtol=1e-5)
    assert set(model.load_report.counts) == {"loaded"}
    assert model.license == "apache-2.0"
    assert len(model.labels) == 1000


@pytest.mark.parametrize("size", [256, (160, 224)])
def test_another_size_equals_timm(hub: Path, size: Any) -> None:
    (file,) = hub.glob("*/snapshots/*/model.safetensors")
    peer = timm.create_model("vit_tiny_patch16_224", checkpoint_path=str(file), dynamic_img_size=True).eval()
    model = vitzoo.create(NAME, pretrained=True, img_size=size, resample="timm")
    x = torch.randn(1, 3, *model.spec.img_size)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), atol=1e-5, rtol=1e-5)
        authors = vitzoo.create(NAME, pretrained=True, img_size=size)
        assert not torch.allclose(authors(x), peer(x), atol=1e-5, rtol=1e-5)
    assert model.load_report.counts["resampled"] == 1


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_channels_equal_timm(hub: Path, channels: int) -> None:
    from timm.models._manipulate import adapt_input_conv

    kernel = vitzoo.create(NAME, pretrained=True).patch_embed.proj.weight
    model = vitzoo.create(NAME, pretrained=True, in_chans=channels)
    torch.testing.assert_close(model.patch_embed.proj.weight, adapt_input_conv(channels, kernel.detach()))
    assert model.load_report.counts["adapted"] == 1


def test_changes_are_in_the_report(hub: Path) -> None:
    whole = vitzoo.create(NAME, pretrained=True)
    model = vitzoo.create(
        NAME, pretrained=True, num_classes=10, patch_size=32, global_pool="avg", drop_path_rate=0.1, generator=0
    )
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 10)
    actions = {row.tensor: row.action for row in model.load_report.rows if row.action not in ("loaded", "dropped")}
    assert actions == {
        "patch_embed.proj.weight": "adapted",
        "pos_embed.grid": "resampled",
        "head.fc.weight": "re-initialised",
        "head.fc.bias": "re-initialised",
    }
    text = str(model.load_report)
    assert "tensor" in text
    assert "7 by 7" in text or "[7, 7]" in text
    assert torch.equal(model.blocks[3].mlp.fc1.weight, whole.blocks[3].mlp.fc1.weight)
    assert model.labels is None


def test_what_nobody_asked_for_is_an_error(hub: Path) -> None:
    with pytest.raises(WeightsError, match=r"blocks.0.ls1.gamma \[192\] is not in the file"):
        vitzoo.create(NAME, pretrained=True, layer_scale=1e-5)
    with pytest.raises(WeightsError, match=r"is \[768\] in the file and \[512\] in the model"):
        vitzoo.create(NAME, pretrained=True, mlp_dim=512)


def test_offline_without_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="is not in the cache and the hub cannot be reached"):
        vitzoo.create("vit_s16", pretrained=True)


def test_hub_ids_with_a_revision(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0" * 40
    known = vitzoo.create(f"hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k@{commit}", pretrained=True)
    assert known.origin == NAME
    with pytest.raises(WeightsError, match="is not in the cache"):
        vitzoo.create("hf-hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k@other", pretrained=True)
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    vitzoo.save(model, tmp_path / "models--me--mine" / "snapshots" / commit / "model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert torch.equal(vitzoo.create(f"hf-hub:me/mine@{commit}")(X), model(X))


def test_native_file_creates_itself(tmp_path: Path) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    path = vitzoo.save(model, tmp_path / "sub" / "mine")
    again = vitzoo.create(path)
    assert torch.equal(again(X), model(X))
    for name in ("spec", "preprocessing", "resample", "labels", "license", "origin"):
        assert getattr(again, name) == getattr(model, name)
    small = vitzoo.create(path, num_classes=2, dtype=torch.bfloat16)
    assert small(X.bfloat16()).shape == (2, 2)
    assert small.labels is None


def test_save_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = vitzoo.create("vit_nano4.cifar10", pretrained=True)
    path = vitzoo.save(model, tmp_path / "mine")
    old = path.read_bytes()

    def broken(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("vitzoo.weights.files.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        vitzoo.save(model, tmp_path / "mine")
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["mine.safetensors"]  # noqa: PTH208


def test_missing_surplus_and_wrong_tensors_show_both_sides(tmp_path: Path) -> None:
    model = randomise(vitzoo.create(ViTSpec(**FIELDS)))
    state = load_file(vitzoo.save(model, tmp_path / "good", layout="timm"))
    cases = {
        r"missing 1: norm.bias \[48\]": {k: v for k, v in state.items() if k != "norm.bias"},
        r"not expected 1: extra \[2\]": {**state, "extra": torch.zeros(2)},
        r"shape of cls_token: expected \[1, 1, 48\], found \[1, 48\]": {**state, "cls_token": torch.zeros(1, 48)},
    }
    for message, tensors in cases.items():
        save_file(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(LayoutError, match=message):
            vitzoo.create(tmp_path / "bad.safetensors", layout="timm", **FIELDS)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("ran",))


def test_bad_files_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = vitzoo.save(vitzoo.create("vit_nano4.cifar10", pretrained=True), "whole").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
    Path("text.safetensors").write_text("hello")
    Path("text.npz").write_text("hello")
    Path("text.pth").write_text("hello")
    np.savez("objects.npz", a=np.array([{}], dtype=object))
    torch.save({"model": Evil()}, "evil.pth")
    torch.save([1, 2], "list.pth")
    Path("x.onnx").write_text("")
    for name in (
        "cut.safetensors",
        "text.safetensors",
        "text.npz",
        "text.pth",
        "objects.npz",
        "evil.pth",
        "list.pth",
        "x.onnx",
        "none.pth",
    ):
        with pytest.raises(WeightsError, match=name.partition(".")[0]) as caught:
            vitzoo.create(Path(name), layout="timm", **FIELDS)
        assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_errors_of_create() -> None:
    with pytest.raises(RegistryError, match="did you mean vit_b16"):
        vitzoo.create("vit_b17")
    with pytest.raises(SpecError, match="unknown field 'depht'"):
        vitzoo.create("vit_b16", depht=3)
    with pytest.raises(SpecError, match="unknown resample policy 'magic'; the policies are timm"):
        vitzoo.create("vit_ti16", resample="magic")
    with pytest.raises(RegistryError, match="no pretrained weights"):
        vitzoo.create("vit_g14", pretrained=True)
    with pytest.raises(LayoutError, match="unknown layout 'tim'; the layouts are vitzoo, timm"):
        bind("tim", ViTSpec(**FIELDS))
    with pytest.raises(LayoutError, match=r"layout 'torchvision' cannot hold the model's reg_tokens"):
        bind("torchvision", ViTSpec(**FIELDS, reg_tokens=4))


@pytest.mark.parametrize("name", vitzoo.list_pretrained())
def test_every_entry_has_the_parameters_and_tensors_of_its_peer(name: str) -> None:
    entry, spec = registry.weights_entry(name), registry.entry_spec(name)
    with torch.device("meta"):
        model = vitzoo.ViT(spec)
    assert sum(p.numel() for p in model.parameters()) == entry.params
    source = entry.sources[0]
    binding = bind(source.layout, spec)
    if source.layout == "timm":
        with torch.device("meta"):
            peer = timm.create_model(getattr(source, "repo").removeprefix("timm/"), num_classes=spec.num_classes)  # noqa: B009
        assert {key: tuple(t.shape) for key, t in peer.state_dict().items()} == binding.stored
