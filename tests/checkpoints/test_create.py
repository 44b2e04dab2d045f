"""`create` in all its forms: names, the hub's cache, files, changes of every kind, and what it refuses."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.layers import resample_patch_embed
from torch import Tensor

import vitzoo.files.write
from vitzoo import ViT, create, registry
from vitzoo.checkpoints.save import save
from vitzoo.errors import LayoutError, RegistryError, SpecError, VitzooError, WeightsError
from vitzoo.layouts.native import NEEDED
from vitzoo.layouts.tables import get_layout
from vitzoo.model.resample import resample_table
from vitzoo.registry import label_sets
from vitzoo.registry.describe import count_parameters
from vitzoo.spec import About, Origin, Preprocessing, QKVBias, Resample, Result

NAME = "vit_ti16.augreg_in21k_ft_in1k"
TIMM_NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
TINY = tiny.spec()
X = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def put_into_cache(folder: Path, repo: str, state: dict[str, Tensor]) -> Path:
    """A file as huggingface_hub keeps it: a commit, and a branch that points to it."""
    commit, home = "0123456789abcdef" * 2 + "01234567", folder / f"models--{repo.replace('/', '--')}"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    path = home / "snapshots" / commit / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return tiny.randomise(timm.create_model("vit_tiny_patch16_224"), std=0.05).state_dict()


@pytest.fixture(scope="module")
def cache_folder(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    put_into_cache(folder, f"timm/{TIMM_NAME}", state)
    return folder


@pytest.fixture
def hub(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache_folder))
    return cache_folder


def actions(model: ViT) -> dict[str, str]:
    """All that was not loaded unchanged."""
    return {row.tensor: row.action for row in model.load_report.rows if row.action != "loaded"}


def native(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return get_layout("timm").bind(registry.entry_spec(NAME)).import_all(state)


def assert_rest_unchanged(model: ViT, state: dict[str, Tensor]) -> None:
    """What the report does not name is in the model bit for bit."""
    ours, theirs, changed = model.state_dict(), native(state), actions(model)
    assert ours.keys() - theirs.keys() <= changed.keys()
    for key in (ours.keys() & theirs.keys()) - changed.keys():
        assert torch.equal(ours[key], theirs[key]), key
    for key in changed:
        assert key not in ours or key not in theirs or not torch.equal(ours[key], theirs[key]), key


# --- without weights -----------------------------------------------------------------------------------------------


def test_a_name_gives_a_fresh_model_that_a_seed_reproduces() -> None:
    small = {"depth": 1, "img_size": 32, "num_classes": 3}
    first, second = (create("vit_ti16", generator=7, **small) for _ in range(2))
    third = create("vit_ti16", generator=torch.Generator().manual_seed(7), **small)
    other = create("vit_ti16", generator=8, **small)
    assert first.spec == registry.model_spec("vit_ti16").replace(**small)
    assert first.load_report is None
    assert not first.training
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key])
        assert torch.equal(tensor, third.state_dict()[key])
    assert not torch.equal(first.blocks[0].attn.qkv.weight, other.blocks[0].attn.qkv.weight)


def test_the_global_seed_works_too_and_a_generator_leaves_it_alone() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(create(TINY))
    assert torch.equal(models[0].pos_embed.grid, models[1].pos_embed.grid)
    before = torch.get_rng_state()
    create(TINY, generator=0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_tag_without_pretrained_has_the_tags_preprocessing() -> None:
    model = create(NAME, depth=1, img_size=32, num_classes=2)
    assert model.preprocessing == registry.weights_entry(NAME).preprocessing
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert model.resample is registry.weights_entry(NAME).resample
    assert create("vit_ti16", depth=1, img_size=32).preprocessing == Preprocessing()


def test_a_spec() -> None:
    model = create(TINY, num_classes=2, img_size=(16, 24), global_pool="avg", resample="mae")
    assert model.spec == TINY.replace(num_classes=2, img_size=(16, 24), pool="avg")
    assert model.resample is Resample.MAE
    assert create(TINY, global_pool="token").spec == TINY


def test_dtype_and_default_dtype() -> None:
    assert {p.dtype for p in create(TINY, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in create(TINY).parameters()} == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)


def test_meta_device() -> None:
    model = create(TINY, device="meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 5)


# --- from the hub --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, "vit_ti16", TIMM_NAME, f"timm/{TIMM_NAME}", f"hf-hub:timm/{TIMM_NAME}"])
def test_every_name_of_the_weights(hub: Path, state: dict[str, Tensor], name: str) -> None:
    before = torch.get_rng_state()
    model = create(name, pretrained=True)
    assert torch.equal(before, torch.get_rng_state()), "random numbers were drawn though weights followed"
    assert actions(model) == {}
    assert model.load_report.counts == {"loaded": len(model.state_dict())}
    assert_rest_unchanged(model, state)
    assert model.license == "apache-2.0"
    assert model.origin.startswith(f"{NAME} from hf://timm/{TIMM_NAME}/model.safetensors@")
    assert model.labels is not None
    assert len(model.labels) == 1000
    assert model.preprocessing == registry.weights_entry(NAME).preprocessing


# Each case: our changes, timm's words for them, and what the report has to say.
SAME_AS_TIMM: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, str]]] = {
    "native size": ({}, {}, {}),
    "one channel": ({"in_chans": 1}, {"in_chans": 1}, {"patch_embed.proj.weight": "adapted"}),
    "four channels": ({"in_chans": 4}, {"in_chans": 4}, {"patch_embed.proj.weight": "adapted"}),
    "seven channels": ({"in_chans": 7}, {"in_chans": 7}, {"patch_embed.proj.weight": "adapted"}),
    "larger": ({"img_size": 288, "resample": "timm"}, {"img_size": 288}, {"pos_embed.grid": "resampled"}),
    "rectangular": (
        {"img_size": (160, 224), "resample": "timm"},
        {"img_size": (160, 224)},
        {"pos_embed.grid": "resampled"},
    ),
    "drop path": ({"drop_path_rate": 0.2}, {"drop_path_rate": 0.2}, {}),
    "average": ({"global_pool": "avg"}, {"global_pool": "avg", "fc_norm": False}, {}),
    "no classifier": (
        {"num_classes": 0},
        {"num_classes": 0},
        {"head.fc.weight": "dropped", "head.fc.bias": "dropped"},
    ),
}


@pytest.mark.parametrize("case", SAME_AS_TIMM)
def test_equal_to_timms_pretrained_model(hub: Path, state: dict[str, Tensor], case: str) -> None:
    changes, theirs, reported = SAME_AS_TIMM[case]
    before = torch.get_rng_state()
    model = create(NAME, pretrained=True, **changes)
    assert torch.equal(before, torch.get_rng_state()), "random numbers were drawn though nothing was initialised"
    peer = timm.create_model(TIMM_NAME, pretrained=True, **theirs).eval()
    x = torch.randn(1, model.spec.in_chans, *model.spec.img_size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(x), peer.forward_features(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(x), peer(x), atol=1e-5, rtol=1e-5)
    assert actions(model) == reported
    assert_rest_unchanged(model, state)
    if case == "drop path":
        rates = [getattr(block.drop_path, "rate", 0.0) for block in model.blocks]
        assert rates == pytest.approx([0.2 * i / 11 for i in range(12)])


def test_other_classes(hub: Path, state: dict[str, Tensor]) -> None:
    model = create(NAME, pretrained=True, num_classes=10, generator=0)
    assert [(row.tensor, row.action) for row in model.load_report.rows if row.action != "loaded"] == [
        ("head.fc.weight", "dropped"),
        ("head.fc.bias", "dropped"),
        ("head.fc.weight", "re-initialised"),
        ("head.fc.bias", "re-initialised"),
    ]
    assert_rest_unchanged(model, state)
    assert model.labels is None
    assert model.num_classes == 10
    # The paper fine-tunes from a classifier of zeros (section 3.2).
    assert not model.head.fc.weight.any()
    peer = timm.create_model(TIMM_NAME, pretrained=True, num_classes=10).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            model.forward_head(model.forward_features(X), pre_logits=True),
            peer.forward_head(peer.forward_features(X), pre_logits=True),
            atol=1e-5,
            rtol=1e-5,
        )


def test_the_entrys_own_resampling_is_the_default(hub: Path, state: dict[str, Tensor]) -> None:
    model = create(NAME, pretrained=True, img_size=(160, 288))
    assert model.resample is Resample.GOOGLE
    assert torch.equal(model.pos_embed.grid, resample_table(native(state)["pos_embed.grid"], (10, 18), Resample.GOOGLE))
    other = resample_table(native(state)["pos_embed.grid"], (10, 18), Resample.TIMM)
    assert not torch.allclose(model.pos_embed.grid, other, atol=1e-3)
    assert_rest_unchanged(model, state)
    assert "pos_embed.grid  resampled  [14, 14] to [10, 18], google" in str(model.load_report)


def test_another_patch_size(hub: Path, state: dict[str, Tensor]) -> None:
    model = create(NAME, pretrained=True, patch_size=32)
    assert actions(model) == {"patch_embed.proj.weight": "adapted", "pos_embed.grid": "resampled"}
    assert_rest_unchanged(model, state)
    theirs = resample_patch_embed(
        state["patch_embed.proj.weight"], [32, 32], interpolation="bilinear", antialias=False
    )  # as timm loads FlexiViT
    torch.testing.assert_close(model.patch_embed.proj.weight, theirs, atol=1e-5, rtol=1e-5)
    grid = resample_table(native(state)["pos_embed.grid"], (7, 7), Resample.GOOGLE)
    assert torch.equal(model.pos_embed.grid, grid)
    assert model(X).shape == (1, 1000)


def test_attention_pool_is_made_anew(hub: Path, state: dict[str, Tensor]) -> None:
    before = torch.get_rng_state()
    model = create(NAME, pretrained=True, pool="map", generator=1)
    assert torch.equal(before, torch.get_rng_state())
    assert set(actions(model).values()) == {"re-initialised"}
    assert all(key.startswith("pool.") for key in actions(model))
    assert_rest_unchanged(model, state)
    assert model.pool.probe.any()
    assert torch.isfinite(model(X)).all()
    again = create(NAME, pretrained=True, pool="map", generator=1)
    assert torch.equal(model.pool.kv.weight, again.pool.kv.weight)


def test_all_changes_at_once_and_the_report_as_a_table(hub: Path, state: dict[str, Tensor]) -> None:
    model = create(
        NAME, pretrained=True, num_classes=3, in_chans=1, img_size=96, patch_size=8, pool="cls_avg", drop_path_rate=0.1
    )
    assert_rest_unchanged(model, state)
    assert model(torch.randn(2, 1, 96, 96)).shape == (2, 3)
    lines = str(model.load_report).splitlines()
    assert "model.safetensors (timm): " in lines[0]
    loaded = len(model.state_dict()) - 4
    assert sorted(lines[0].rpartition(": ")[2].split(", ")) == sorted(
        [f"{loaded} loaded", "2 dropped", "1 resampled", "1 adapted", "2 re-initialised"]
    )
    assert lines.pop(1).startswith(f"served by hf://timm/{TIMM_NAME}/model.safetensors@")
    assert lines[1].split() == ["tensor", "action", "detail"]
    assert set(lines[2]) == {"-", " "}
    starts = [match.start() for match in re.finditer("-+", lines[2])]
    assert len(lines) == 3 + 6
    for line in lines[3:]:
        assert line[starts[1] - 2 : starts[1]] == "  "
        assert line[starts[1] :].split()[0] in ("dropped", "resampled", "adapted", "re-initialised")
    assert "3 to 1 channels, [16, 16] to [8, 8] pixels, pseudo-inverse" in str(model.load_report)


def test_dtype_of_pretrained_weights(hub: Path, state: dict[str, Tensor]) -> None:
    model = create(NAME, pretrained=True, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.norm.weight, state["norm.weight"].bfloat16())


def test_label_names_cost_nothing_until_they_are_read(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(label_sets, "known_set", cache(lambda name: asked.append(name) or ("a",) * 1000))
    model = create(NAME, pretrained=True)
    assert (model.about.labels, asked) == ("imagenet-1k", [])
    assert len(model.labels or ()) == 1000
    assert model.labels is model.labels
    assert asked == ["imagenet-1k"]


def test_a_hub_id_with_a_revision(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    known = create(f"hf-hub:timm/{TIMM_NAME}@{'0123456789abcdef' * 2 + '01234567'}", pretrained=True)
    assert known.origin.startswith(f"{NAME} from hf://")
    with pytest.raises(WeightsError, match="is not in the cache"):
        create(f"hf-hub:timm/{TIMM_NAME}@another", pretrained=True)
    small = tiny.randomise(create(TINY))
    own = save(small, tmp_path / "own")
    home = tmp_path / "models--me--mine" / "snapshots" / ("0" * 40)
    home.mkdir(parents=True)
    own.rename(home / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    pictures = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(create(f"hf-hub:me/mine@{'0' * 40}")(pictures), small(pictures))


def test_offline_with_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match="is not in the cache, and HF_HUB_OFFLINE is set; run `vitzoo cache prefetch"
    ) as error:
        create(NAME, pretrained=True)
    assert "\n" not in str(error.value)
    assert f"hf://timm/{TIMM_NAME}/model.safetensors" in str(error.value)


# --- what was not asked for ----------------------------------------------------------------------------------------


def test_a_file_of_other_classes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    changed = {**state, "head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)}
    put_into_cache(tmp_path, f"timm/{TIMM_NAME}", changed)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for changes in ({}, {"num_classes": 10}):
        with pytest.raises(LayoutError) as error:
            create(NAME, pretrained=True, **changes)
        assert "shape of head.weight: expected [1000, 192], found [10, 192]" in str(error.value)
        assert "shape of head.bias: expected [1000], found [10]" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 96}, r"cls_token is \[1, 24\] in the file and \[1, 96\] in the model.*asked for: hidden_dim"),
        ({"depth": 1}, r"blocks.1.norm1.weight \[24\] has no place in the model"),
        ({"depth": 3}, r"blocks.2.norm1.weight \[24\] is not in the file"),
        ({"mlp_dim": 48}, r"blocks.0.mlp.fc1.weight is \[40, 24\] in the file and \[48, 24\] in the model"),
        ({"qkv_bias": "none"}, r"blocks.0.attn.qkv.bias \[72\] has no place"),
        ({"reg_tokens": 2}, r"reg_tokens \[2, 24\] is not in the file"),
        ({"layer_scale": 0.1}, r"blocks.0.ls1.gamma \[24\] is not in the file"),
        ({"pos_embed": "none"}, r"pos_embed.prefix \[1, 24\] has no place"),
    ],
)
def test_a_change_that_weights_cannot_follow(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = save(tiny.randomise(ViT(TINY)), tmp_path / "tiny")
    with pytest.raises(WeightsError, match=message) as error:
        create(path, **changes)
    assert "\n" not in str(error.value)
    assert f"Changes asked for: {next(iter(changes))}" in str(error.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"model": "vit_ti16", "num_clases": 3}, SpecError, "unknown field 'num_clases'; did you mean num_classes"),
        ({"model": TINY, "num_clases": 3}, SpecError, "unknown field 'num_clases'"),
        ({"model": TINY, "resample": "lanczos"}, SpecError, "unknown resample policy 'lanczos'; the policies are timm"),
        ({"model": TINY, "pool": "cls", "global_pool": "avg"}, SpecError, "the same field; give one of them"),
        ({"model": TINY, "img_size": 33}, SpecError, "the nearest size is 32x32"),
        ({"model": "vit_ti61"}, RegistryError, "did you mean .*vit_ti16"),
        ({"model": "vit_ti16.augreg_in1k", "pretrained": True}, RegistryError, "its tags are .*augreg_in21k_ft_in1k"),
        ({"model": "nothing.safetensors"}, WeightsError, "no weights file at nothing.safetensors"),
    ],
)
def test_wrong_calls(call: dict[str, Any], error: type[VitzooError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        create(**call)
    assert "\n" not in str(raised.value)


# --- native files --------------------------------------------------------------------------------------------------


ABOUT = About(
    preprocessing=Preprocessing(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), crop_pct=0.9),
    resample=Resample.MAE,
    labels=("a", "b", "c", "d", "é"),
    license="cc0-1.0",
    origin=Origin(name="vit_b16.mine", address="hf://org/mine/model.safetensors", commit="0123", sha256="00ff"),
    derived_from=Origin(note="a start of our own"),
    training={"data": "letters", "recipe": {"epochs": 3}},
    published=(Result(dataset="letters", metrics={"accuracy": 0.75}),),
)


@pytest.fixture
def model() -> ViT:
    return tiny.randomise(ViT(TINY, ABOUT))


def test_a_native_file_needs_nothing_else(tmp_path: Path, model: ViT) -> None:
    path = save(model, tmp_path / "deep" / "folder" / "mine")
    assert path == tmp_path / "deep" / "folder" / "mine.safetensors"
    before = torch.get_rng_state()
    for again in (create(path), create(str(path))):
        assert (again.spec, again.about) == (model.spec, ABOUT)
        assert (again.preprocessing, again.resample) == (ABOUT.preprocessing, Resample.MAE)
        assert (again.labels, again.license) == (("a", "b", "c", "d", "é"), "cc0-1.0")
        assert again.origin == "fine-tuned from a start of our own"
        assert again.load_report.counts == {"loaded": len(model.state_dict())}
        x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(again(x), model(x))
        torch.testing.assert_close(again(x.repeat(1, 1, 2, 1)), model(x.repeat(1, 1, 2, 1)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_file_costs_no_import_that_it_has_no_use_for(tmp_path: Path, model: ViT) -> None:
    path, unused = save(model, tmp_path / "vit.safetensors"), "huggingface_hub httpx2 timm torchvision transformers"
    code = f"import sys, vitzoo; vitzoo.create({str(path)!r}); print(*set({unused.split()}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_a_folder(tmp_path: Path, model: ViT) -> None:
    save(model, tmp_path / "folder" / "model")
    assert create(tmp_path / "folder").labels == model.labels
    assert create(str(tmp_path / "folder")).labels == model.labels


def test_a_native_file_adapts_like_a_name(tmp_path: Path, model: ViT) -> None:
    path = save(model, tmp_path / "mine")
    changed = create(path, num_classes=2, in_chans=1, img_size=48)
    assert changed.labels is None
    assert changed.license == "cc0-1.0"
    assert torch.equal(changed.pos_embed.grid, resample_table(model.pos_embed.grid, (6, 6), Resample.MAE))
    torch.testing.assert_close(changed.patch_embed.proj.weight, model.patch_embed.proj.weight.sum(1, keepdim=True))
    timms = create(path, img_size=48, resample="timm")
    assert torch.equal(timms.pos_embed.grid, resample_table(model.pos_embed.grid, (6, 6), Resample.TIMM))
    assert timms.labels == model.labels


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_file(tmp_path: Path, model: ViT, dtype: torch.dtype) -> None:
    path = save(model.to(dtype), tmp_path / "half")
    assert {tensor.dtype for tensor in load_file(path).values()} == {dtype}
    wide = create(path)
    assert {p.dtype for p in wide.parameters()} == {torch.float32}
    for key, tensor in create(path, dtype=dtype).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key])
        assert torch.equal(wide.state_dict()[key], tensor.float())
    # Resampled in fp32 and put back.
    grid = create(path, img_size=48, dtype=dtype).pos_embed.grid
    assert torch.equal(grid, resample_table(model.pos_embed.grid.float(), (6, 6), Resample.MAE).to(dtype))


def test_the_loaded_model_can_be_trained_and_saved_over_its_own_file(tmp_path: Path, model: ViT) -> None:
    path = save(model, tmp_path / "mine")
    again = create(path)
    again(torch.randn(2, 3, 32, 32)).square().mean().backward()
    with torch.no_grad():
        for parameter in again.parameters():
            assert parameter.grad is not None
            parameter.add_(parameter.grad)
    expected = {key: tensor.clone() for key, tensor in again.state_dict().items()}
    save(again, path)
    for key, tensor in create(path).state_dict().items():
        assert torch.equal(tensor, expected[key])


def test_training_does_not_write_into_the_file(tmp_path: Path, model: ViT) -> None:
    path = save(model, tmp_path / "mine")
    before = path.read_bytes()
    with torch.no_grad():
        for parameter in create(path).parameters():
            parameter.zero_()
    assert path.read_bytes() == before


def test_saving_is_all_or_nothing(tmp_path: Path, model: ViT, monkeypatch: pytest.MonkeyPatch) -> None:
    old = save(model, tmp_path / "old")
    before = old.read_bytes()

    def full_disk(tensors: Iterator[tuple[str, Tensor]], shapes: object) -> Iterator[tuple[str, Tensor]]:
        yield next(tensors)
        raise OSError("No space left on device")

    monkeypatch.setattr(vitzoo.files.write, "_as_planned", full_disk)
    for name in ("old", "new"):
        with pytest.raises(WeightsError, match=f"{name}.safetensors cannot be written: No space left"):
            save(model, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old.safetensors"]
    assert old.read_bytes() == before


def test_a_native_file_whose_metadata_is_damaged(tmp_path: Path, model: ViT) -> None:
    path = save(model, tmp_path / "mine")
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["vitzoo"])
    tensors = load_file(path)
    spec, known = about["spec"], about["about"]

    def told(changed: dict[str, Any]) -> dict[str, Any]:
        return {**about, "about": changed}

    for text, kind in [
        ("{", WeightsError),
        (json.dumps({**about, "spec": None}), WeightsError),
        (json.dumps({**about, "spec": {**spec, "depht": 2}}), SpecError),
        (json.dumps({**about, "spec": {**spec, "depth": 3}}), LayoutError),
        (json.dumps({key: value for key, value in about.items() if key != "about"}), WeightsError),
        *((json.dumps(told({key: known[key] for key in known if key != left})), WeightsError) for left in NEEDED),
        (json.dumps(told({**known, "resample": "lanczos"})), SpecError),
        (json.dumps(told({**known, "lisence": "mit"})), SpecError),
    ]:
        save_file(tensors, path, {"vitzoo": text})
        with pytest.raises(kind, match=r"mine\.safetensors") as error:
            create(path)
        assert "\n" not in str(error.value)


def test_a_native_file_knows_its_layout(tmp_path: Path, model: ViT) -> None:
    path = save(model, tmp_path / "mine")
    assert create(path, layout="vitzoo").labels == model.labels
    with pytest.raises(WeightsError, match="is a native file; leave layout='timm' out"):
        create(path, layout="timm")


# --- the whole registry --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.list_models())
def test_every_model_builds_with_the_counted_parameters(name: str) -> None:
    spec = registry.model_spec(name)
    with torch.device("meta"):
        model = ViT(spec)
    # The zeros that stand for a key's bias that the model lacks are no parameters of it.
    zeros = sum(spec.kv_heads) * spec.dim_per_head if spec.qkv_bias is QKVBias.QV else 0
    assert sum(p.numel() for p in model.parameters()) - zeros == count_parameters(spec)
