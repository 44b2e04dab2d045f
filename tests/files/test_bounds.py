"""What is small on the disk stays small in memory: headers, indexes, configurations, lists of names."""

import json
import os
import threading
import zipfile
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file

import vitzoo
from vitzoo import ViT
from vitzoo.errors import SpecError, VitzooError, WeightsError, shown
from vitzoo.files.read import open_tensors
from vitzoo.small_files import read_small
from vitzoo.spec import ViTSpec


def test_small_files(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    assert read_small(path) == b"{}"
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(OSError, match="it has more than 16,777,216 bytes"):
        read_small(path)
    with pytest.raises(IsADirectoryError, match="it is a folder; expected a file"):
        read_small(tmp_path)
    with pytest.raises(OSError, match="it is a device or pipe; expected a file"):
        read_small(Path("/dev/zero"))


@pytest.mark.proves(guarantee="Bounds come before memory", against="config.json that is a pipe, a device or a terabyte")
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors.index.json", "vitzoo.lock", "own.yaml", "labels.txt"]
)
@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "deep"])
def test_texts_that_have_no_end(tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)  # opened the usual way it would wait for a writer
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "deep":
        path.write_text("[" * 1_000_000)
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    monkeypatch.chdir(tmp_path)
    if name == "config.json":
        vitzoo.save(vitzoo.create(tiny.spec()), "model.safetensors", "timm")
    failed: list[BaseException] = []

    def use() -> None:
        try:
            if name == "own.yaml":
                vitzoo.add_registry(path)
            elif name == "vitzoo.lock":
                vitzoo.create("vit_nano4.cifar10", pretrained=True)
            elif name == "labels.txt":
                from vitzoo.cli.options import class_names

                class_names(path)
            else:
                vitzoo.create(path.parent if name == "config.json" else path)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    if (name, kind) != ("labels.txt", "deep"):
        assert isinstance(failed[0], VitzooError), failed
        assert name in str(failed[0]) or "/dev/zero" in str(failed[0])
        assert len(str(failed[0])) < 1000


def test_many_empty_tensors(tmp_path: Path) -> None:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({str(n): empty for n in range(110_000)}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(WeightsError, match="holds 110,000 tensors"):
        open_tensors(tmp_path / "x.safetensors")


def test_a_header_of_an_array_that_is_no_header(tmp_path: Path) -> None:
    for text in (
        "(" * 5000,
        "{'descr': [('a', '<f4')] * 9, 'shape': ()}",
        "{",
        "{'descr': '<f4', 'fortran_order': 1}",
        "\0",
    ):
        head = text.encode().ljust(118) + b"\n"
        content = b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("a.npy", content)
        with pytest.raises(WeightsError, match="cannot be read as an npz file"):
            open_tensors(tmp_path / "x.npz")


@pytest.mark.proves(guarantee="Bounds come before memory", against="a billion blocks in a file's metadata or a call")
@pytest.mark.parametrize(
    "field", ["depth", "hidden_dim", "num_heads", "mlp_dim", "num_classes", "in_chans", "img_size", "reg_tokens"]
)
def test_sizes_beyond_all_models(tmp_path: Path, field: str) -> None:
    with pytest.raises(SpecError, match=f"{field}.*less than or equal to"):
        tiny.spec().replace(**{field: 1_000_000_000})
    path = vitzoo.save(ViT(tiny.spec()), tmp_path / "x.safetensors")
    file = open_tensors(path)
    about = json.loads(file.metadata["vitzoo"])
    about["spec"][field] = 1_000_000_000
    save_file({key: file.read(key) for key in file.shapes}, tmp_path / "y.safetensors", {"vitzoo": json.dumps(about)})
    with pytest.raises(SpecError, match=f"{field}.*less than or equal to"):
        vitzoo.create(tmp_path / "y.safetensors")


def test_the_largest_models_there_are_fit() -> None:
    """ViT-22B (https://arxiv.org/abs/2302.05442), and what the registry has."""
    ViTSpec(hidden_dim=6144, depth=48, num_heads=48, mlp_dim=24576, num_classes=29593)
    for name in vitzoo.list_models():
        assert vitzoo.registry.model_spec(name)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none(number: float) -> None:
    for change in ({"norm_eps": number}, {"layer_scale": number}, {"drop_path_rate": number}):
        with pytest.raises(SpecError):
            tiny.spec().replace(**change)


def test_a_value_in_a_message_is_cut() -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep] * 10
    for value in ("x" * 10**6, [1] * 10**6, {n: n for n in range(10**5)}, 10**4000, deep, torch.zeros(10_000)):
        assert len(shown(value)) < 1000
        with pytest.raises(SpecError) as error:
            tiny.spec().replace(depth=value)
        assert len(str(error.value)) < 1000
