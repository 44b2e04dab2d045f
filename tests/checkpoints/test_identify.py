"""What a checkpoint is: every entry of the registry from its tensors' names and shapes alone, and what is refused."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from peers.timm import spec_fields
from safetensors.torch import save_file
from tiny import SMALLEST as TINY
from tiny import randomise

import vitzoo
import vitzoo.model.resample
from vitzoo import registry
from vitzoo.checkpoints.identify import Assumed, Told, identify
from vitzoo.checkpoints.reading import function
from vitzoo.errors import LayoutError, SpecError, WeightsError
from vitzoo.layouts.tables import get_layout
from vitzoo.spec import Resample, ViTSpec

Run = Callable[..., Any]

NAMES = registry.list_pretrained()
SMALLEST = {name: value for name, value in TINY.items() if name != "img_size"}


class Shapes:
    """A checkpoint of which only names and shapes are there."""

    metadata: Mapping[str, str] = {}
    notes = ()

    def __init__(self, spec: ViTSpec, layout: str) -> None:
        table = get_layout(layout)
        stored = table.bind(spec).stored
        keys = table.written(stored)
        self.path = Path("somewhere/mystery.pth")
        self.shapes = {keys[name]: shape for name, shape in stored.items()}
        self.dtypes = dict.fromkeys(self.shapes, torch.float32)


@pytest.mark.parametrize("layout", sorted({s.layout for n in NAMES for s in registry.weights_entry(n).sources}))
def test_every_entry_is_known_by_its_tensors_or_asks(layout: str) -> None:
    """The right architecture, or an error that lists the right one among several; never a wrong one."""
    table = get_layout(layout)
    entries: dict[ViTSpec, str] = {}
    for name in registry.with_layout(layout):  # entries of one architecture differ in sizes and values of tensors alone
        spec = registry.entry_spec(name)
        alike = {"num_classes": min(spec.num_classes, 1), "drop_path_rate": 0.0}
        entries.setdefault(spec.replace(**alike) if spec.num_classes else spec, name)
    for name in entries.values():
        spec = registry.entry_spec(name)
        if "act" in table.holds and spec.act not in (table.holds["act"] or (spec.act,)):
            continue  # run by its publisher with another activation than the layout's own code has
        file = Shapes(spec, layout)
        try:
            found = identify(file, {}).spec
        except WeightsError as error:
            _, several, rest = str(error).partition("fits several architectures, which differ in ")
            if not several:
                pytest.fail(f"{name}: {error}")
            fields = rest.partition(":")[0].split(", ")
            given = {field: getattr(spec, field) for field in fields if field != "img_size"}
            found = identify(file, given, Told(img_size=spec.img_size if "img_size" in fields else None)).spec
        assert function(found) == function(spec), name
        assert function(identify(file, {}, Told(like=name)).spec) == function(spec), name


@pytest.fixture(scope="module")
def peer() -> torch.nn.Module:
    return randomise(timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=7, img_size=64)).eval()


@pytest.fixture
def mystery(tmp_path: Path, peer: torch.nn.Module) -> Path:
    path = tmp_path / "mystery.pth"
    torch.save({"model": peer.state_dict(), "epoch": 3}, path)
    return path


HIDDEN = {"num_heads": 3, "norm_eps": 1e-6, "act": "gelu", "pool": "cls", "pool_prefix": False, "block": "pre_norm"}


def test_a_file_that_no_entry_explains_needs_what_tensors_do_not_show(mystery: Path, peer: torch.nn.Module) -> None:
    with pytest.raises(WeightsError, match="has to be given: num_heads, norm_eps, block, act, pool, pool_prefix"):
        vitzoo.create(mystery, layout="timm")
    model = vitzoo.create(mystery, layout="timm", **HIDDEN)
    assert function(model.spec) == function(ViTSpec(**spec_fields(peer)))
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)
    assert "layout timm" in str(model.load_report)
    assert "given" in str(model.load_report)


def test_a_given_field_may_describe_adapt_or_contradict(mystery: Path) -> None:
    adapted = vitzoo.create(mystery, layout="timm", **HIDDEN, num_classes=3, img_size=96)
    assert adapted.head.fc.weight.shape[0] == 3
    assert adapted.load_report.counts["resampled"] == 1
    with pytest.raises(WeightsError, match="depth is 2 in the tensors, and 3 was given"):
        vitzoo.create(mystery, layout="timm", **HIDDEN, depth=3)
    with pytest.raises(WeightsError, match="hidden_dim is 192 in the tensors, and 384 was given"):
        vitzoo.create(mystery, layout="timm", **HIDDEN, hidden_dim=384)
    with pytest.raises(SpecError, match="unknown field 'num_head'"):
        vitzoo.create(mystery, num_head=3)
    with pytest.raises(WeightsError, match=r"not like vit_s16: it has hidden_dim 192 \(there 384\)"):
        vitzoo.create(mystery, layout="timm", like="vit_s16")


def test_a_folder_as_timm_saves_it_needs_nothing(tmp_path: Path, peer: torch.nn.Module) -> None:
    timm.models.save_for_hf(peer, tmp_path / "saved", model_args={"depth": 2, "img_size": 64}, safe_serialization=True)
    model = vitzoo.create(tmp_path / "saved")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)
    assert model.preprocessing.mean == tuple(peer.pretrained_cfg["mean"])


@pytest.mark.follows(" fits several architectures, which differ in ")
def test_several_architectures_are_listed(tmp_path: Path) -> None:
    spec = registry.entry_spec("clip_b16.openai")
    with pytest.raises(WeightsError, match=r"differ in act: .*act=gelu.*act=quick_gelu|act=quick_gelu.*act=gelu"):
        identify(Shapes(spec, "timm"), {})
    assert identify(Shapes(spec, "timm"), {"act": "quick_gelu"}).spec.act == "quick_gelu"
    assert identify(Shapes(spec, "timm"), {}, Told(like="clip_b16.openai")).spec.act == "quick_gelu"


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3), "fc.bias": torch.zeros(9)}, tmp_path / "resnet.safetensors")
    with pytest.raises(LayoutError, match=r"holds 2 tensors in none of the known layouts; the nearest is"):
        vitzoo.create(tmp_path / "resnet.safetensors")


def test_the_policy_is_that_of_the_entry_or_of_the_layouts_reader() -> None:
    assert (
        identify(Shapes(registry.entry_spec("dino_s8.in1k"), "timm"), {}, Told(like="dino_s8.in1k")).about.resample
        is Resample.DINOV2
    )
    assert (
        identify(Shapes(registry.entry_spec("vit_b16.tv_in1k_v1"), "torchvision"), {}).about.resample
        is Resample.TORCHVISION
    )


def test_broken_configuration_beside_a_checkpoint(mystery: Path) -> None:
    (mystery.parent / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json beside the checkpoint cannot be read"):
        vitzoo.create(mystery)


def test_a_square_table_is_not_read_as_a_rectangle(mystery: Path, peer: torch.nn.Module) -> None:
    """8x8 patches and 4x16 are as many: the caller's size is a wish, and the table is resampled for it."""
    model = vitzoo.create(mystery, layout="timm", **HIDDEN, img_size=(64, 256))
    assert model.load_report.counts["resampled"] == 1
    grid = vitzoo.create(mystery, layout="timm", **HIDDEN).pos_embed.grid
    expected = vitzoo.model.resample.resample_table(grid, (4, 16), Resample.TIMM)
    torch.testing.assert_close(model.pos_embed.grid, expected)


def test_a_size_that_the_table_may_be_for_is_asked_about(mystery: Path, peer: torch.nn.Module) -> None:
    """16 positions are 4x4 or 2x8: 32x128 pixels may be what the file has, or what is wanted."""
    with pytest.raises(WeightsError, match=r"its table of positions is for.*source_img_size=\[32, 128\]"):
        vitzoo.create(mystery, layout="timm", **HIDDEN, img_size=(32, 128))
    own = vitzoo.create(mystery, layout="timm", **HIDDEN).pos_embed.grid
    as_file = vitzoo.create(mystery, layout="timm", **HIDDEN, img_size=(32, 128), source_img_size=[32, 128])
    torch.testing.assert_close(as_file.pos_embed.grid, own.reshape(2, 8, -1), rtol=0, atol=0)
    wished = vitzoo.create(mystery, layout="timm", **HIDDEN, img_size=(32, 128), source_img_size=64)
    expected = vitzoo.model.resample.resample_table(own, (2, 8), Resample.TIMM)
    torch.testing.assert_close(wished.pos_embed.grid, expected)
    with pytest.raises(WeightsError, match=r"img_size 48x48 does not fit its table of positions"):
        vitzoo.create(mystery, layout="timm", **HIDDEN, source_img_size=48)


def test_a_table_that_is_no_square_is_asked_about_in_the_words_of_a_command(tmp_path: Path, run: Run) -> None:
    torch.save(timm.create_model("vit_tiny_patch16_224", depth=1, img_size=(32, 80)).state_dict(), tmp_path / "x.pth")
    known = [part for name, value in HIDDEN.items() for part in ("--set", f"{name}={str(value).lower()}")]
    asked = run("info", tmp_path / "x.pth", "--layout", "timm", *known)
    assert asked.code == 2
    assert "of 1x10, 1x11, 2x5, 5x2, 10x1, 11x1 patches: --set source_img_size=..." in asked.err
    assert "pos_prefix" not in asked.err  # the size tells it
    wished = run("info", tmp_path / "x.pth", "--layout", "timm", *known, "--set", "img_size=[32,80]")
    assert wished.err.rstrip().endswith("--set 'source_img_size=[32,80]'")
    assert run("info", tmp_path / "x.pth", "--layout", "timm", *known, "--set", "source_img_size=[32,80]").code == 0


def test_a_configuration_of_another_file_is_left_out_and_that_is_said(tmp_path: Path, peer: torch.nn.Module) -> None:
    torch.save(peer.state_dict(), tmp_path / "own.pth")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dinov2", "num_attention_heads": 6}))
    report = vitzoo.create(tmp_path / "own.pth", layout="timm", **HIDDEN).load_report
    assert "config.json names another layout than the file is in, and was not read" in str(report)


def test_a_policy_that_is_not_decided_is_none_and_asked_for(mystery: Path) -> None:
    """timm's, DINO's and MAE's files look alike, and their programs resample tables differently."""
    facts = {**HIDDEN, "rope": None, "pool_heads": None}
    model = vitzoo.create(mystery, **facts)
    assert model.about.resample is None
    with pytest.raises(vitzoo.VitzooError, match="resample="):
        vitzoo.create(mystery, **facts, img_size=96)
    for way in ({"resample": "mae"}, {"layout": "timm"}):
        assert vitzoo.create(mystery, **facts, img_size=96, **way).load_report.counts["resampled"] == 1


def test_what_nothing_says_of_pictures_is_a_warning(mystery: Path) -> None:
    with pytest.warns(Assumed, match="preprocessing: not known, ImageNet's"):
        vitzoo.create(mystery, layout="timm", **HIDDEN)


def test_a_rectangular_table_needs_its_size(tmp_path: Path) -> None:
    spec = ViTSpec(img_size=(32, 64), patch_size=8, hidden_dim=48, depth=2, num_heads=3, mlp_dim=96)
    with pytest.raises(WeightsError, match=r"does not show the size of the pictures.*source_img_size"):
        identify(Shapes(spec, "timm"), HIDDEN, Told("timm"))
    assert identify(Shapes(spec, "timm"), HIDDEN, Told("timm", img_size=(32, 64))).spec == spec.replace(
        layer_scale=None
    )


def test_a_tensor_that_is_missing_or_out_of_shape_is_named(tmp_path: Path, peer: torch.nn.Module) -> None:
    state = dict(peer.state_dict())
    del state["blocks.1.mlp.fc2.bias"]
    torch.save(state, tmp_path / "short.pth")
    for fields in ({"layout": "timm", **HIDDEN}, HIDDEN):
        with pytest.raises(LayoutError, match=r"short.* missing 1: blocks\.1\.mlp\.fc2\.bias \[192\]"):
            vitzoo.create(tmp_path / "short.pth", **fields)
    state = {**peer.state_dict(), "blocks.1.norm1.weight": torch.zeros(191)}
    torch.save(state, tmp_path / "bent.pth")
    with pytest.raises(LayoutError, match=r"shape of blocks\.1\.norm1\.weight: expected \[192\], found \[191\]"):
        vitzoo.create(tmp_path / "bent.pth", layout="timm", **HIDDEN)


def test_the_policy_is_that_of_the_program_whose_configuration_stands_beside(tmp_path: Path) -> None:
    """transformers reads its folder of DINOv2 by its own policy, and Meta's code Meta's file by Meta's."""
    spec = registry.entry_spec("dinov2_s14.lvd142m")
    file = Shapes(spec, "hf_dinov2")
    assert identify(file, {}).about.resample is Resample.DINOV2
    config = {"model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "image_size": 518}
    (tmp_path / "config.json").write_text(json.dumps(config))
    file.path = tmp_path / "model.safetensors"
    assert identify(file, {}).about.resample is Resample.HUGGINGFACE


@pytest.mark.parametrize("grid", [(2, 3), (2, 4), (3, 5)])
def test_the_size_of_a_rectangle_leaves_every_reading_there_is(grid: tuple[int, int]) -> None:
    """As many positions and a class token's are a square in the last two: neither is taken for granted."""
    spec = ViTSpec(**SMALLEST, img_size=(grid[0] * 8, grid[1] * 8), act="silu", norm_eps=1e-3)
    known = {"num_heads": 2, "pool": "cls"}
    for told in (Told(), Told(img_size=spec.img_size)):
        with pytest.raises(WeightsError, match=r"timm, .*do not show .*norm_eps.*act"):
            identify(Shapes(spec, "timm"), known, told)
    whole = {**HIDDEN, "num_heads": 2, "act": "silu", "norm_eps": 1e-3}
    found = identify(Shapes(spec, "timm"), whole, Told("timm", img_size=spec.img_size)).spec
    assert function(found) == function(spec)


def test_registers_beside_an_odd_table_are_asked_about() -> None:
    """10 positions are 3x3 and a class token's, or 2x4 and two: no number of slots is usual with registers."""
    spec = ViTSpec(**SMALLEST, img_size=(16, 32), reg_tokens=1, pos_prefix="all")
    with pytest.raises(WeightsError, match="source_img_size"):
        identify(Shapes(spec, "timm"), {**HIDDEN, "num_heads": 2}, Told("timm"))
    assert identify(Shapes(spec, "timm"), {**HIDDEN, "num_heads": 2}, Told("timm", img_size=(16, 32))).spec.grid == (
        2,
        4,
    )


@pytest.mark.parametrize("layout", ["torchvision", "open_clip"])
def test_what_a_class_takes_as_an_argument_is_asked_for(layout: str) -> None:
    own = {"patch_bias": False, "norm_pre": True, "num_classes": 0} if layout == "open_clip" else {}
    spec = ViTSpec(**{**SMALLEST, **own}, norm_eps=1e-5 if layout == "open_clip" else 1e-6)
    given = {"num_heads": 2, "act": "gelu", "pool": "cls", "final_norm": "tokens"}
    with pytest.raises(WeightsError, match="norm_eps"):
        identify(Shapes(spec, layout), given, Told(layout))
    assert identify(Shapes(spec, layout), {**given, "norm_eps": 1e-3}, Told(layout)).spec.norm_eps == 1e-3
    with pytest.raises(LayoutError, match=r"norm_eps is 0\.001"):  # who reads it would not know
        get_layout(layout).bind(spec.replace(norm_eps=1e-3), writing=True)


def test_true_facts_that_say_the_same_twice() -> None:
    """As many heads in the pool as in the blocks; no classes and the width of a projection."""
    spec = ViTSpec(**SMALLEST, class_token=False, pos_prefix="none", pool="map")
    known = {**HIDDEN, "num_heads": 2, "pool": "map"}
    assert identify(Shapes(spec, "timm"), {**known, "pool_heads": 2}, Told("timm")).spec.pool_heads is None
    with pytest.raises(LayoutError, match="pool_heads is None in the tensors, and 4 was given"):
        identify(Shapes(spec, "timm"), {**known, "pool_heads": 4}, Told("timm"))
    projecting = ViTSpec(
        **{**SMALLEST, "num_classes": 0}, head="projection", out_dim=20, head_bias=False, patch_bias=False
    )
    projecting = projecting.replace(norm_pre=True, norm_eps=1e-5)
    facts = {"num_heads": 2, "act": "gelu", "pool": "cls", "final_norm": "tokens", "norm_eps": 1e-5}
    found = identify(Shapes(projecting, "open_clip"), {**facts, "num_classes": 0, "out_dim": 20}, Told("open_clip"))
    assert (found.spec.out_dim, found.changes) == (20, {})


def test_a_fact_that_the_configuration_contradicts_is_named_with_both(tmp_path: Path) -> None:
    config = {"model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "image_size": 518}
    (tmp_path / "config.json").write_text(json.dumps(config))
    file = Shapes(registry.entry_spec("dinov2_s14.lvd142m"), "hf_dinov2")
    file.path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match=r"num_heads 3 was given, and 6 was in config\.json; one of them is wrong"):
        identify(file, {"num_heads": 3})
