"""Checkpoint files that are as they should be: written, and read by others; written by others, and read."""

import argparse
import errno
import json
import os
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import randomise
from torch import Tensor
from transformers import ViTConfig, ViTModel

import vitzoo
from vitzoo import ViT
from vitzoo.errors import WeightsError
from vitzoo.files import tensor_file
from vitzoo.files.atomic import replacing, replacing_folder
from vitzoo.files.npz import NpzFile
from vitzoo.files.pickle import PickleFile
from vitzoo.files.read import open_tensors
from vitzoo.files.safetensors import SafetensorsFile
from vitzoo.files.tensor_file import DTYPES
from vitzoo.files.write import Planned, write
from vitzoo.spec import ViTSpec

TENSORS: dict[str, Tensor] = {
    "b.weight": torch.arange(12.0).reshape(3, 4),
    "a": torch.arange(5),
    "half": torch.linspace(-2, 2, 7).bfloat16(),
    "scalar": torch.tensor(2.5),
    "mask": torch.tensor([True, False, True]),
    "none": torch.zeros(0, 3),
    "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
}
KINDS = ("out.safetensors", "out.npz", "out.pth", "out.pt", "out.bin", "out")


def planned(tensors: dict[str, Tensor]) -> Planned:
    return {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}


def written(path: Path, tensors: dict[str, Tensor] = TENSORS, **options: Any) -> Path:
    write(path, iter(tensors.items()), planned(tensors), {}, **options)
    return path


def same_bits(found: Tensor, expected: Tensor) -> bool:
    return (found.shape, found.dtype) == (expected.shape, expected.dtype) and (
        found.contiguous().reshape(-1).view(torch.uint8).equal(expected.contiguous().reshape(-1).view(torch.uint8))
    )


def all_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(same_bits(found[key], expected[key]) for key in expected)


def read(path: Path, **options: Any) -> dict[str, Tensor]:
    file = open_tensors(path, **options)
    tensors = {key: file.read(key) for key in file.shapes}
    assert planned(tensors) == {key: (file.shapes[key], file.dtypes[key]) for key in file.shapes}
    return tensors


def every_dtype() -> dict[str, Tensor]:
    raw = torch.arange(48, dtype=torch.uint8)
    many = {
        f"{name} é\n'\"": (raw % 2 if name == "BOOL" else raw.clone()).view(dtype) for name, dtype in DTYPES.items()
    }
    return many | {"F32": torch.randn(2, 3), "F32 too": torch.randn(2, 3), "F64": torch.randn(3).double()}


# --- written here, read by others ---


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {"z": "é", "a": '"'}])
def test_safetensors_are_byte_for_byte_those_of_the_package(tmp_path: Path, metadata: dict[str, str]) -> None:
    tensors = every_dtype()
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    backwards = reversed(list(tensors.items()))  # the order in which tensors come does not matter
    assert write(ours, backwards, planned(tensors), metadata) == [ours]
    save_file(tensors, theirs, metadata or None)
    if len(metadata) < 2:  # the package writes several entries in an order that changes from run to run
        assert ours.read_bytes() == theirs.read_bytes()
    assert all_same(load_file(ours), tensors)
    assert open_tensors(ours).metadata == open_tensors(theirs).metadata == metadata
    swapped = tensors | {"F32": tensors["F32 too"], "F32 too": tensors["F32"]}
    write(ours, iter(swapped.items()), planned(swapped), metadata)
    assert not all_same(load_file(ours), tensors)


def test_shards_are_those_of_transformers(tmp_path: Path) -> None:
    config = ViTConfig(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, image_size=32)
    model = ViTModel(config, add_pooling_layer=False).eval()
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    model.save_pretrained(theirs, max_shard_size=6000)
    tensors = read(theirs)
    paths = write(ours, iter(tensors.items()), planned(tensors), {"format": "pt"}, shard_size=6000)
    assert len(paths) > 3
    assert paths[-1].name == "model.safetensors.index.json"
    index, expected = (json.loads((folder / paths[-1].name).read_text()) for folder in (ours, theirs))
    assert index["metadata"]["total_size"] == expected["metadata"]["total_size"]
    assert sorted(set(index["weight_map"].values())) == [path.name for path in paths[:-1]]
    assert all_same({key: load_file(ours / name)[key] for key, name in index["weight_map"].items()}, tensors)
    (ours / "config.json").write_text((theirs / "config.json").read_text())
    again, info = ViTModel.from_pretrained(ours, add_pooling_layer=False, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all_same(dict(again.state_dict()), dict(model.state_dict()))
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(again(x).last_hidden_state, model(x).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_npz_is_read_by_numpy(tmp_path: Path) -> None:
    with np.load(written(tmp_path / "out.npz"), allow_pickle=False) as archive:
        found = dict(archive)
    assert list(found) == list(TENSORS)
    half = found.pop("half")
    assert half.dtype == np.dtype("V2")
    assert half.tobytes() == TENSORS["half"].view(torch.int16).numpy().tobytes()
    for key, array in found.items():
        assert same_bits(torch.from_numpy(array), TENSORS[key])


@pytest.mark.parametrize("name", ["out.pth", "out.pt", "out.bin"])
def test_pth_is_read_by_torch(tmp_path: Path, name: str) -> None:
    wide = torch.zeros(1000, 1000)
    tensors = {**TENSORS, "view": wide[:2, :2], "turned": wide[:3, :2].T}
    found = torch.load(written(tmp_path / name, tensors), weights_only=True)
    assert list(found) == list(tensors)
    assert all_same(found, tensors)
    assert (tmp_path / name).stat().st_size < 10_000  # no view took the storage that it looks into along


@pytest.mark.parametrize("name", [*KINDS[:2], "out.pth"])
def test_equal_tensors_give_equal_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "again").mkdir()
    assert written(tmp_path / name).read_bytes() == written(tmp_path / "again" / name).read_bytes()


# --- what is written is whole or not there ---


def disk_full(*_: Any) -> Iterator[tuple[str, Tensor]]:
    yield next(iter(TENSORS.items()))
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("shard_size", [None, 40])
@pytest.mark.parametrize("name", KINDS)
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, name: str, shard_size: int | None) -> None:
    if shard_size and name not in ("out.safetensors", "out"):
        with pytest.raises(WeightsError, match="has no shards; write safetensors"):
            written(tmp_path / name, shard_size=shard_size)
        return
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / name, disk_full(), planned(TENSORS), {}, shard_size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", KINDS[:-1])
def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(tmp_path / name).read_bytes()
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / name, disk_full(), planned(TENSORS), {})
    monkeypatch.setattr(os, "fsync", disk_full_at_last)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path / name, {"other": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def disk_full_at_last(file: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_shards_appear_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", disk_full_at_last)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path / "out.safetensors", shard_size=40)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([("b.weight", TENSORS["b.weight"])] * 2, "'b.weight' was given twice"),
        ([("c", torch.zeros(1))], "'c' was not planned"),
        ([("a", torch.zeros(5))], r"'a' was planned as \[5\] of torch.int64 and came as \[5\] of torch.float32"),
        ([("a", torch.arange(6))], r"'a' was planned as \[5\] of torch.int64 and came as \[6\] of torch.int64"),
        ([], "7 planned tensors were never written: b.weight, a, half"),
    ],
)
def test_what_was_not_planned_is_refused(
    tmp_path: Path, name: str, change: list[tuple[str, Tensor]], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        write(tmp_path / name, iter(change), planned(TENSORS), {})
    assert list(tmp_path.iterdir()) == []


def test_what_a_kind_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name, tensor, message in (
        ("out.npz", torch.zeros(2, dtype=torch.float8_e5m2), "numpy has no type for 'x'"),
        ("out.safetensors", torch.zeros(2, dtype=torch.complex128), "safetensors has no type for 'x'"),
        ("out.h5", torch.zeros(2), "unknown suffix; take .safetensors, .npz"),
    ):
        with pytest.raises(WeightsError, match=message):
            written(tmp_path / name, {"x": tensor})
    with pytest.raises(WeightsError, match=r"out\.pth cannot hold its metadata: 70,\d+ bytes of words"):
        write(tmp_path / "out.pth", iter(()), {}, {"license": "x" * 70_000})
    with pytest.raises(WeightsError, match="a shard of 0 bytes holds nothing"):
        written(tmp_path / "out.safetensors", shard_size=0)
    assert list(tmp_path.iterdir()) == []
    written(tmp_path / "out.safetensors")
    with pytest.raises(WeightsError, match="readers would take it before the shards"):
        written(tmp_path / "out.safetensors", shard_size=40)


def test_replacing_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "deep/er"):
        with replacing_folder(tmp_path / name) as partial:
            (partial / "x").write_text(name)
            assert not (tmp_path / name / "x").exists()
        assert (tmp_path / name / "x").read_text() == name
        with pytest.raises(WeightsError, match="exists and is not empty"), replacing_folder(tmp_path / name):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="exists and is a file"), replacing_folder(tmp_path / "file"):
        pass
    with pytest.raises(FileNotFoundError), replacing_folder(tmp_path / "other") as partial:
        (partial / "missing" / "x").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "file", "new"]


def test_replacing(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "file").exists()
    with pytest.raises(TypeError, match="not int"), replacing(tmp_path / "file") as partial:
        partial.open("w").writelines(["half", 1])  # type: ignore[list-item]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "whole")]


# --- written by others, read here ---


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("shard_size", [None, 40])
@pytest.mark.parametrize("name", KINDS)
def test_there_and_back(tmp_path: Path, name: str, shard_size: int | None, streamed: bool) -> None:
    sharded = name == "out" and shard_size is not None
    path = written(tmp_path / name, shard_size=shard_size if sharded else None)
    assert all_same(read(path, streamed=streamed), TENSORS)
    file = open_tensors(path)
    assert file.notes == (("3 shards",) if sharded else ())
    assert len(file) == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file() and "index" not in p.name)


def test_bfloat16_of_jax_programs(tmp_path: Path) -> None:
    bits = TENSORS["half"].view(torch.int16).numpy()
    np.savez(tmp_path / "x.npz", half=bits.view("V2"), turned=np.asfortranarray(bits.view("V2")[:6].reshape(2, 3)))
    np.savez_compressed(tmp_path / "y.npz", half=bits.view("V2"), turned=bits[:6].reshape(2, 3).view("V2"))
    for name in ("x.npz", "y.npz"):
        expected = {"half": TENSORS["half"], "turned": TENSORS["half"][:6].reshape(2, 3)}
        assert all_same(read(tmp_path / name), expected)


@pytest.mark.parametrize("streamed", [False, True])
def test_files_from_before_torch_wrote_archives(tmp_path: Path, streamed: bool) -> None:
    shared = torch.randn(4, 5)
    state = {**TENSORS, "rows": shared[1:], "all": shared, "zeros": torch.zeros(9), "nought": torch.zeros(1)}
    torch.save({"model": OrderedDict(state)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert all_same(read(tmp_path / "x.pth", streamed=streamed), state)
    assert open_tensors(tmp_path / "x.pth").notes == ("tensors of 'model'",)


def test_shards_of_pickles(tmp_path: Path) -> None:
    parts = {"pytorch_model-00001-of-00002.bin": ["a", "half"], "pytorch_model-00002-of-00002.bin": ["nan"]}
    for name, keys in parts.items():
        torch.save({key: TENSORS[key] for key in keys}, tmp_path / name)
    index = {"metadata": {}, "weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for path in (tmp_path, tmp_path / "pytorch_model.bin.index.json"):
        assert all_same(read(path), {key: TENSORS[key] for key in ("a", "half", "nan")})


@pytest.mark.parametrize("name", ["out.safetensors", "out.pth"])
def test_a_streamed_file_is_mapped_anew(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {f"t{number}": torch.randn(8) for number in range(20)}
    path = written(tmp_path / name, tensors)
    monkeypatch.setattr(tensor_file, "WINDOW", 100)  # three tensors
    maps = []
    for kind in (SafetensorsFile, PickleFile):
        real = kind._map
        monkeypatch.setattr(kind, "_map", lambda self, real=real: (maps.append(1), real(self))[1])
    assert all_same(read(path), tensors)
    assert len(maps) == 1
    assert all_same(read(path, streamed=True), tensors)  # those read before the last mapping stay as they are, too
    assert len(maps) == 2 + 20 // 4
    file = open_tensors(path, streamed=True)
    written(path, {key: tensor + 1 for key, tensor in tensors.items()})
    with pytest.raises(WeightsError, match="was changed while it was read; start again"):
        [file.read(key) for key in tensors]


def test_stacked_blocks_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "hidden_dim": 16, "num_heads": 2, "mlp_dim": 32, "num_classes": 3}
    spec = ViTSpec(**sizes, depth=6, act="gelu_tanh", pos_prefix="none")
    source = vitzoo.save(randomise(ViT(spec)), tmp_path / "source", "big_vision_scan")
    reads, real = [], NpzFile.read
    monkeypatch.setattr(NpzFile, "read", lambda self, key: (reads.append(key), real(self, key))[1])
    vitzoo.convert(source, tmp_path / "there", "timm", source_layout="big_vision_scan", num_heads=2)
    assert sorted(reads) == sorted(open_tensors(source).shapes)
    back = vitzoo.convert(tmp_path / "there", tmp_path / "back", "big_vision_scan")
    assert all_same(read(Path(back.target)), read(source))


X, Y = {"x": torch.zeros(2)}, {"x": torch.ones(2)}


@pytest.mark.parametrize(
    ("content", "expected", "notes"),
    [
        (Y, Y, ()),
        ({"student": X, "teacher": Y, "epoch": 3, "args": argparse.Namespace(lr=1)}, Y, ("student, epoch, args",)),
        ({"model": Y, "optimizer": {"state": {}}, "epoch": 3}, Y, ("optimizer, epoch",)),
        ({"encoder": X, "predictor": X, "target_encoder": Y}, Y, ("encoder, predictor",)),
        ({"state_dict": {"model": Y}}, Y, ()),
        ({"model": X, "model_ema": Y}, Y, ("model",)),
        ({"state_dict": X, "state_dict_ema": Y, "epoch": 1}, Y, ("state_dict, epoch",)),
        ({"state_dict": Y, "ema_state_dict": X, "state_dict_ema": None}, Y, ("ema_state_dict, state_dict_ema",)),
        ({"ema": {"decay": 0.9, "module": Y}, "model": X}, Y, ("model", "decay")),
        ({"ema": {"decay": 0.9}, "model": Y}, Y, ("ema",)),
        ({"my_weights": Y, "epoch": 1, "optimizer": {"state": X}}, Y, ("epoch, optimizer",)),
        ({"wrap": {"model_state": {"net": Y}}}, Y, ()),
        ({**Y, "epoch": 3, "config": {"lr": 1}}, Y, ("epoch, config",)),
        ({"model": Y, "best": np.float64(0.9), "rng": np.random.get_state()}, Y, ("best, rng",)),
        ({"model": Y, "args": argparse.Namespace(out=Path("runs")), "at": datetime.now(tz=UTC)}, Y, ("args, at",)),
        ({"model": torch.ones(1), "x": torch.ones(1)}, {"model": torch.ones(1), "x": torch.ones(1)}, ()),
    ],
)
def test_wrappers(tmp_path: Path, content: object, expected: dict[str, Tensor], notes: tuple[str, ...]) -> None:
    torch.save(content, tmp_path / "x.pth")
    assert all_same(read(tmp_path / "x.pth"), expected)
    found = open_tensors(tmp_path / "x.pth").notes
    assert [note.removeprefix("left aside: ") for note in found if note.startswith("left")] == list(notes)
    assert all(note.startswith(("tensors of ", "left aside: ")) for note in found)


def test_a_named_wrapper(tmp_path: Path) -> None:
    torch.save({"student": X, "teacher": Y, "own": {"model": Y}, "epoch": 1}, tmp_path / "x.pth")
    assert all_same(read(tmp_path / "x.pth", wrapper="student"), X)
    assert all_same(read(tmp_path / "x.pth", wrapper="own"), Y)
    assert open_tensors(tmp_path / "x.pth", wrapper="own").notes == (
        "tensors of 'own'",
        "left aside: student, teacher, epoch",
        "tensors of 'model'",
    )
    assert all_same(read(tmp_path / "x.pth", wrapper="own.model"), Y)
    for name in ("ema", "epoch"):
        choices = "wrapper='student' or wrapper='teacher' or wrapper='own' or wrapper='own.model'"
        message = f"no state dict named '{name}'; it holds student, teacher, own, epoch; give {choices}$"
        with pytest.raises(WeightsError, match=message):
            open_tensors(tmp_path / "x.pth", wrapper=name)
    torch.save({"mine": X, "theirs": Y}, tmp_path / "two.pth")
    with pytest.raises(WeightsError, match=r"holds 2 state dicts; choose one with wrapper='mine' or wrapper='theirs'$"):
        open_tensors(tmp_path / "two.pth")
    assert all_same(read(tmp_path / "two.pth", wrapper="theirs"), Y)
    for name in ("out.safetensors", "out.npz", "out"):
        with pytest.raises(WeightsError, match="has no wrapper 'own', which only"):
            open_tensors(written(tmp_path / name), wrapper="own")


def test_tensors_keep_their_bits_and_need_no_gradient(tmp_path: Path) -> None:
    torch.save({"p": torch.nn.Parameter(TENSORS["nan"]), "turned": TENSORS["b.weight"].T}, tmp_path / "x.pth")
    found = read(tmp_path / "x.pth")
    assert all_same(found, {"p": TENSORS["nan"], "turned": TENSORS["b.weight"].T})
    assert not found["p"].requires_grad
    assert isinstance(open_tensors(written(tmp_path / "x.safetensors")), SafetensorsFile)


@pytest.mark.parametrize("kind", [".safetensors", ".npz", ".pth"])
@pytest.mark.parametrize("name", ["last.ckpt", "model_best.pth.tar", "weights", "x.bin", "x.safetensors"])
def test_a_file_is_opened_by_its_content(tmp_path: Path, kind: str, name: str) -> None:
    tensors = {"a": TENSORS["a"]}
    path = written(tmp_path / f"as{kind}", tensors).rename(tmp_path / name)
    assert all_same(read(path), tensors)


def test_tensors_are_left_out_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "x.safetensors", {"a": X["x"], "b.total": X["x"], "b.count": X["x"]})
    file = open_tensors(path, drop=["b.*"])
    assert list(file.shapes) == ["a"]
    assert file.left == dict.fromkeys(["b.total", "b.count"], "left out on purpose: it was named in drop")
    with pytest.raises(WeightsError, match=r"has no tensor 'b.totl' to leave out; .*: drop=\['b.total'\]"):
        open_tensors(path, drop=["b.totl"])


def test_what_other_programs_pickle_is_not_made(tmp_path: Path) -> None:
    """Their classes get stand-ins: the file is read without those programs, and nothing of them runs."""
    module = types.ModuleType("omegaconf.dictconfig")
    kind = type("DictConfig", (), {"__module__": module.__name__, "__qualname__": "DictConfig"})
    module.DictConfig = kind  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
        patch.setitem(sys.modules, module.__name__, module)
        config = kind()
        config.content = {"lr": 0.1}  # type: ignore[attr-defined]
        torch.save({"state_dict": Y, "hyper_parameters": config}, tmp_path / "x.ckpt")
    assert all_same(read(tmp_path / "x.ckpt"), Y)


def test_a_whole_module_is_refused_with_a_way_that_works(tmp_path: Path) -> None:
    path, new = tmp_path / "x.pth", tmp_path / "new.pth"
    torch.save({"model": torch.nn.Linear(2, 2)}, path)
    with pytest.raises(WeightsError, match=r"asks for torch.nn.modules.linear.Linear. Where you.*found.state_dict"):
        open_tensors(path)
    found = torch.load(path, weights_only=False)
    torch.save(found["model"].state_dict(), new)
    assert all_same(read(new), found["model"].state_dict())
