"""The registry against the installed timm: every plain tag with weights, and one shrunk model for each architecture."""

import json
import re
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import timm
import torch
from peers.timm import layout_of, spec_fields
from timm.models import _registry as timm_registry
from timm.models import get_arch_name
from tiny import randomise
from torch import nn

from tools import drift
from vitzoo import ViT, registry
from vitzoo.layouts.tables import get_layout
from vitzoo.spec import HubSource, Rope, ViTSpec

TAGS = drift.plain_tags()
ARCHS = sorted({get_arch_name(tag) for tag in TAGS})


def as_timm(tag: str, spec: ViTSpec, peer: ViTSpec) -> ViTSpec:
    """Our spec with the documented differences from timm undone; all of them are here, and each states its case."""
    changes: dict[str, Any] = {}
    if spec.layer_scale is not None and peer.layer_scale is not None:
        changes["layer_scale"] = peer.layer_scale  # the initial value cannot be read off a module without storage
    if "_dinov3" in tag:
        assert (spec.pool, peer.pool) == ("cls", "avg")  # the authors take the class token
        changes["pool"] = peer.pool
    if "_pe_" in tag:
        assert spec.rope is not None
        assert spec.rope.ref_grid is None  # the authors take raw indices
        assert peer.rope is not None
        assert peer.rope.ref_grid == peer.grid  # so at the native size the numbers are the same
        changes["rope"] = Rope(**{**spec.rope.model_dump(), "ref_grid": peer.rope.ref_grid})
    if "_clip_" in tag and tag.replace("_clip_", "_clip_quickgelu_") in TAGS:
        assert (spec.act, peer.act) == ("quick_gelu", "gelu")  # the file of two architectures of timm
        changes["act"] = peer.act
    return spec.replace(**changes)


@cache
def on_meta(arch: str, classes: int, size: tuple[int, ...]) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(arch, num_classes=classes, img_size=size)
    return model


@pytest.mark.proves(
    layout=(
        "timm",
        "timm_packed",
        "timm_eva",
        "timm_eva_packed",
        "timm_eva_split",
        "timm_eva_split_packed",
        "timm_beit",
    ),
    against="timm's names and shapes of tensors, every plain tag",
    tolerance="equal",
)
@pytest.mark.proves(
    claim="every tag of timm's plain ViTs: fields, tensor names and shapes, parameters",
    against="timm, each model on the meta device",
    tolerance="equal, but for what the test lists",
)
@pytest.mark.parametrize("arch", ARCHS)
def test_every_tag_is_timms(arch: str) -> None:
    for tag in (tag for tag in TAGS if get_arch_name(tag) == arch):
        config = timm.get_pretrained_cfg(tag)
        model = on_meta(arch, config.num_classes, config.input_size[1:])
        entry, spec = registry.weights_entry(tag), registry.entry_spec(tag)
        peer = ViTSpec(**spec_fields(model))
        if spec.out_dim is not None:  # timm counts the width of an embedding as classes
            peer = peer.replace(head=spec.head, num_classes=0, out_dim=config.num_classes)
        ours = as_timm(tag, spec, peer)
        assert ours == peer, tag

        layout = layout_of(model)
        hub = [source for source in entry.sources if isinstance(source, HubSource) and source.repo.startswith("timm/")]
        assert all(source.layout == layout for source in hub)
        expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        assert {key: tuple(shape) for key, shape in get_layout(layout).bind(ours).stored.items()} == expected, tag

        assert entry.params == sum(p.numel() for p in model.parameters()), tag


def shrunk(arch: str) -> nn.Module:
    """Two blocks of two heads of the architecture's own width, at 32 pixels with patches of 8."""
    size = timm.get_pretrained_cfg(arch).input_size[1:]
    full = spec_fields(on_meta(arch, 5, size))
    width = ViTSpec(**{**full, "img_size": (32, 32), "patch_size": (8, 8)}).dim_per_head
    width = width if width % 8 == 0 else 80
    kept: dict[str, Any] = {"depth": 2, "embed_dim": 2 * width, "num_heads": 2}
    if full["num_kv_heads"] is not None:
        kept["num_kv_heads"] = (2, 1)
    if full.get("pool_heads"):
        kept["attn_pool_num_heads"] = 4
    model: nn.Module = timm.create_model(arch, patch_size=8, img_size=32, num_classes=5, **kept)
    return randomise(model.eval())


def signatures() -> dict[str, str]:
    """One architecture for each set of fields that is not a size."""
    sizes = {"img_size", "patch_size", "hidden_dim", "depth", "num_heads", "mlp_dim", "num_classes", "num_kv_heads"}
    found: dict[str, str] = {}
    for arch in ARCHS:
        tag = next(tag for tag in TAGS if get_arch_name(tag) == arch)
        fields = registry.entry_spec(tag).model_dump(mode="json", exclude=sizes | {"layer_scale"})
        found.setdefault(f"{fields}{registry.entry_spec(tag).layer_scale is None}{'quickgelu' in arch}", arch)
    return {arch: key for key, arch in found.items()}


@pytest.mark.proves(
    layout=(
        "timm",
        "timm_packed",
        "timm_eva",
        "timm_eva_packed",
        "timm_eva_split",
        "timm_eva_split_packed",
        "timm_beit",
    ),
    against="timm, every signature of its plain tags, at three sizes",
    tolerance="1e-5 of the largest value, tensors bit for bit",
)
@pytest.mark.proves(
    claim="outputs of every architecture signature, native, larger and rectangular, shrunk and randomised",
    against="timm `VisionTransformer`, distilled, `Eva`, `Beit`",
    tolerance="1e-5",
)
@pytest.mark.parametrize("arch", signatures())
@torch.no_grad()
def test_outputs_are_timms(arch: str) -> None:
    torch.manual_seed(0)
    peer = shrunk(arch)
    spec = ViTSpec(**spec_fields(peer))
    binding = get_layout(layout_of(peer)).bind(spec)
    state = peer.state_dict()
    ours = ViT(spec).eval()
    ours.load_state_dict(binding.import_all(state), assign=True)

    picture = torch.randn(2, 3, 32, 32)
    close(ours.forward_features(picture), peer.forward_features(picture))
    close(ours(picture), peer(picture))
    for own, other in zip(
        ours.forward_intermediates(picture, intermediates_only=True),
        peer.forward_intermediates(picture, intermediates_only=True),
        strict=True,
    ):
        close(own, other)

    back = binding.export_all(ours.state_dict())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)

    swapped = (
        {**state, "blocks.0.norm2.weight": state["blocks.1.norm2.weight"]}
        if "blocks.0.norm2.weight" in state
        else {**state, "blocks.0.in_norm.weight": state["blocks.1.in_norm.weight"]}
    )
    wrong = ViT(spec).eval()
    wrong.load_state_dict(binding.import_all(swapped), assign=True)
    with pytest.raises(AssertionError):
        close(wrong(picture), peer(picture))

    for size in ((48, 48), (40, 56)):
        resized = deepcopy(peer)  # timm resamples its own table, so a second size would start from the first
        resized.set_input_size(size)
        picture = torch.randn(1, 3, *size)
        close(ours(picture), resized(picture))


def close(own: torch.Tensor, other: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    torch.testing.assert_close(own / other.abs().max(), other / other.abs().max(), rtol=0, atol=1e-5)


@pytest.mark.proves(
    claim="every tag of timm's plain ViTs: preprocessing, sizes, classes, licences, addresses, defaults",
    against="timm's configurations",
    tolerance="equal",
)
def test_nothing_has_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(TAGS) >= 429
    with pytest.raises(SystemExit) as stopped:
        drift.main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out == "no differences\n"


def test_timm_archs_without_weights_are_models() -> None:
    archs = [n for n in timm.list_models(module="vision_transformer") if not timm.list_pretrained(f"{n}.*")]
    found = {arch: registry.resolve(arch) for arch in archs if registry.knows(arch)}
    assert len(found) >= 6
    for arch, model in found.items():
        assert model.tag is None
        assert registry.default_entry(model.model) is None
        assert registry.model_spec(arch).img_size == timm.get_pretrained_cfg(arch).input_size[1:]


def test_timms_deprecated_names_resolve() -> None:
    old = {name: target.replace(".sam", ".sam_in1k") for name, target in timm_registry._deprecated_models.items()}
    old = {n: t for n, t in old.items() if re.match("(vit|deit)_", n) and t in TAGS and registry.knows(n)}
    assert len(old) >= 12
    for name, target in old.items():
        assert registry.resolve(name) == registry.resolve(target), name


def test_drift_is_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    new, gone, changed = "vit_base_patch17_224.new", TAGS[0], TAGS[1]
    configs = {tag: timm.get_pretrained_cfg(tag) for tag in TAGS}
    configs[changed] = replace(configs[changed], crop_pct=0.123, num_classes=7, license="none", input_size=(1, 8, 8))
    unstated, moved = TAGS[2], TAGS[3]
    assert "nconfirmed" not in str(registry.weights_entry(unstated).note)
    configs[unstated] = replace(configs[unstated], license=None)
    configs[moved] = replace(configs[moved], url="https://timm.example/moved.pth")
    arch, default = "vit_base_patch16_224", "vit_base_patch16_224.mae"
    configs |= {name: timm.get_pretrained_cfg(name) for name in ARCHS} | {arch: configs[default]}
    monkeypatch.setattr(drift, "plain_tags", lambda: [new, *TAGS[1:]])
    monkeypatch.setattr("timm.models.get_pretrained_cfg", configs.__getitem__)
    found = drift.differences()
    assert (found["new"], found["gone"]) == ([new], [gone])
    fields = [line.removeprefix(f"{changed}: ").split()[0] for line in found["changed"] if line.startswith(changed)]
    assert fields == ["crop_pct", "num_classes", "input_size", "license"]
    assert [line for line in found["changed"] if not line.startswith(changed)] == [
        f"{unstated}: license is not stated in timm, and no note says that 'apple-ascl' is unconfirmed",
        f"{moved}: timm's https://timm.example/moved.pth is no source of any entry here",
        f"{arch}: timm's default is {default}, here it is vit_b16.augreg2_in21k_ft_in1k",
    ]

    monkeypatch.setattr("sys.argv", ["drift", "--json"])
    with pytest.raises(SystemExit) as stopped:
        drift.main()
    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out) == found
