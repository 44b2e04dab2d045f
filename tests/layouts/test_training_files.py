"""Training checkpoints of other programs: read with the numbers of the same ViT, and what was left out is said.

Neither MMPretrain nor MoCo v3 can be installed beside today's torch. Their states are written from the names in
mmpretrain/models/backbones/vision_transformer.py and moco-v3/moco/builder.py, around a timm model of the same function.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tiny import randomise
from torch import Tensor, nn

import vitzoo
from vitzoo.errors import VitzooError

PLAIN: dict[str, Any] = {"num_heads": 4, "norm_eps": 1e-6, "act": "gelu", "pool": "cls", "block": "pre_norm"}
PLAIN |= {"pool_prefix": False, "rope": None, "pool_heads": None}
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
# In this order: `blocks.` has become `layers.` before the rest is looked at.
MM = {
    r"^patch_embed\.proj": "backbone.patch_embed.projection",
    r"^blocks\.": "backbone.layers.",
    r"\.norm(\d)\.": r".ln\1.",
    r"\.mlp\.fc1": ".ffn.layers.0.0",
    r"\.mlp\.fc2": ".ffn.layers.1",
    r"\.ls1\.gamma": ".attn.gamma1.weight",
    r"\.ls2\.gamma": ".ffn.gamma2.weight",
    r"^norm\.": "backbone.ln1.",
    r"^fc_norm\.": "backbone.ln2.",
    r"^head\.": "head.layers.head.",
    r"^(cls_token|pos_embed)$": r"backbone.\1",
}


def vit(**options: Any) -> nn.Module:
    arguments = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5, **options}
    return randomise(timm.create_model("vit_tiny_patch16_224", **arguments)).eval()


def renamed(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    out = {}
    for name, value in state.items():
        for old, new in names.items():
            name = re.sub(old, new, name)
        out[name] = value
    return out


@torch.no_grad()
def same(path: Path, peer: nn.Module, **options: Any) -> Any:
    model = vitzoo.create(path, **options)
    torch.testing.assert_close(model(X), peer(X), rtol=1e-5, atol=1e-5)
    return model


@pytest.mark.proves(layout="mmpretrain", against="timm's VisionTransformer, renamed as mmpretrain names its own")
@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_mmpretrain(tmp_path: Path, scales: bool, average: bool) -> None:
    options = {"global_pool": "avg", "fc_norm": True} if average else {}
    peer = vit(init_values=0.1 if scales else None, **options)
    state = renamed(peer.state_dict(), MM)
    assert "backbone.layers.1.ffn.layers.0.0.weight" in state
    path = tmp_path / "epoch_100.pth"
    torch.save({"meta": {"epoch": 100}, "state_dict": state, "optimizer": {"state": {}}}, path)
    model = same(path, peer, **PLAIN | ({"pool": "avg"} if average else {}))
    assert model.load_report.layout == "mmpretrain"
    assert "left aside: meta, optimizer" in str(model.load_report)
    back = vitzoo.save(model, tmp_path / "back.pth", "mmpretrain")
    written = torch.load(back)
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], value) for key, value in state.items())


def test_mmpretrain_with_a_linear_head_and_a_control(tmp_path: Path) -> None:
    peer, path = vit(), tmp_path / "x.pth"
    state = renamed(peer.state_dict(), MM | {r"^head\.layers\.head\.": "head.fc."})
    torch.save({"state_dict": state}, path)
    same(path, peer, **PLAIN)
    a, b = "backbone.layers.0.attn.proj.weight", "backbone.layers.1.attn.proj.weight"
    torch.save({"state_dict": state | {a: state[b], b: state[a]}}, path)
    with pytest.raises(AssertionError, match="not close"):
        same(path, peer, **PLAIN)


@pytest.mark.proves(layout="moco_v3", against="timm's VisionTransformer, which the authors' class is built on")
def test_moco_v3(tmp_path: Path) -> None:
    peer, path = vit(num_classes=0), tmp_path / "vit-b-300ep.pth.tar"
    head = {
        "head.0.weight": torch.ones(8, 32),
        "head.1.running_mean": torch.zeros(8),
        "head.3.weight": torch.ones(8, 8),
    }
    encoder = peer.state_dict() | head
    state = {f"module.base_encoder.{key}": value for key, value in encoder.items()}
    state |= {f"module.momentum_encoder.{key}": value * 0 for key, value in encoder.items()}
    state |= {"module.predictor.0.weight": torch.ones(8, 8)}
    torch.save({"epoch": 300, "arch": "vit_base", "state_dict": state, "optimizer": {}}, path)
    model = same(path, peer, **PLAIN)
    assert model.load_report.layout == "moco_v3"
    dropped = {row.tensor for row in model.load_report.rows if row.action == "dropped"}
    assert dropped == {key for key in state if "base_encoder" not in key or ".head." in key}
    averages = vit(num_classes=0)
    averages.load_state_dict({key: value * 0 for key, value in peer.state_dict().items()})
    same(path, averages, prefix="module.momentum_encoder.", layout="timm", drop=["*.head.*"], **PLAIN)


def test_what_stands_beside_is_named_with_a_way_that_works(tmp_path: Path) -> None:
    peer, path = vit(), tmp_path / "x.ckpt"
    state = {f"model.{key}": value for key, value in peer.state_dict().items()} | {"neck.conv.weight": torch.ones(3, 3)}
    torch.save({"state_dict": state}, path)
    with pytest.raises(VitzooError, match=r"neck\.conv\.weight.*give drop=\['neck\.\*'\]") as error:
        vitzoo.create(path, layout="timm", **PLAIN)
    assert len(str(error.value)) < 500
    for drop in (["neck.*"], ["neck.conv.weight"]):
        report = str(same(path, peer, layout="timm", drop=drop, **PLAIN).load_report)
        assert "neck.conv.weight" in report
        assert "prefix 'model.' taken off" in report
        told = vitzoo.convert(path, tmp_path / str(len(drop[0])), "timm", source_layout="timm", drop=drop, **PLAIN)
        assert told.dropped["neck.conv.weight"].startswith("left out on purpose")


def test_an_option_that_would_do_nothing_is_refused() -> None:
    for option in ({"wrapper": "ema"}, {"prefix": "model."}, {"drop": ["x"]}):
        with pytest.raises(VitzooError, match="say how a file is read, and vit_nano4 is built without one"):
            vitzoo.create("vit_nano4", **option)


def test_whose_means_are_taken_is_said_and_chosen(tmp_path: Path) -> None:
    raw, means, path = vit(), vit(), tmp_path / "model_best.pth.tar"
    with torch.no_grad():
        for parameter in means.parameters():
            parameter.mul_(0.5)
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": means.state_dict(), "epoch": 1}, path)
    known = {"layout": "timm", **PLAIN}
    report = str(same(path, means, **known).load_report)
    assert "tensors of 'state_dict_ema'" in report
    assert "left aside: state_dict, epoch" in report
    same(path, raw, wrapper="state_dict", **known)
    told = vitzoo.convert(path, tmp_path / "out", "vitzoo", source_layout="timm", wrapper="state_dict", **PLAIN)
    same(Path(told.target), raw)
    assert "tensors of 'state_dict'" in str(told)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s | {"patch_embed.proj.weight": s["patch_embed.proj.weight"].unsqueeze(2)}, "has a time axis"),
        (lambda s: s | {"blocks.0.attn.rel_pos_h": torch.ones(3, 8)}, "Segment Anything"),
        (lambda s: s | {"patch_embed.proj.weight": s["patch_embed.proj.weight"].permute(0, 2, 3, 1)}, "MLX keeps"),
        (lambda s: s | {"blocks.0.attn.qkv.lora_A.weight": torch.ones(3, 8)}, "an adapter"),
        (lambda s: s | {"blocks.0.attn.qkv.weight": s["blocks.0.attn.qkv.weight"].to(torch.int8)}, "8-bit integers"),
        (lambda s: s | {"head.0.running_mean": torch.ones(32)}, "batch norm"),
    ],
)
def test_strange_files_are_named_for_what_they_are(tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "x.pth"
    torch.save(change(vit().state_dict()), path)
    for call in (
        lambda: vitzoo.create(path, layout="timm", **PLAIN),
        lambda: vitzoo.convert(path, tmp_path / "out.safetensors", "vitzoo", source_layout="timm", **PLAIN),
    ):
        with pytest.raises(VitzooError, match=words) as error:
            call()
        assert len(str(error.value)) < 600
    assert not (tmp_path / "out.safetensors").exists()


def test_the_ways_out_of_strange_kernels_work(tmp_path: Path) -> None:
    peer, path = vit(), tmp_path / "x.pth"
    state, kernel = peer.state_dict(), "patch_embed.proj.weight"
    for turned, back in (
        (state[kernel].unsqueeze(2), lambda t: t.squeeze(2)),
        (state[kernel].permute(0, 2, 3, 1), lambda t: t.permute(0, 3, 1, 2)),
    ):
        torch.save({**state, kernel: back(turned)}, path)
        same(path, peer, layout="timm", **PLAIN)
    odd = vit(patch_size=(16, 4), in_chans=16, img_size=(32, 8), depth=1)
    torch.save(odd.state_dict(), path)
    with pytest.raises(VitzooError, match="give in_chans=16"):
        vitzoo.create(path, layout="timm", **PLAIN)
    assert vitzoo.create(path, layout="timm", in_chans=16, img_size=(32, 8), **PLAIN).spec.in_chans == 16
