"""Small files of every kind that vitzoo reads, made by code, and what reads each."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tiny
import torch
import yaml
from PIL import Image

import vitzoo
from vitzoo import ViT
from vitzoo.data.open import open_splits
from vitzoo.errors import RegistryError
from vitzoo.files.read import open_tensors
from vitzoo.images.load import load_image
from vitzoo.images.ranges import Form
from vitzoo.images.read import read_picture
from vitzoo.registry.index import draft
from vitzoo.registry.recipes import Recipe, load_recipe
from vitzoo.registry.strict_yaml import read_yaml
from vitzoo.sources.lock import Lock, Pin, PinnedFile, read_lock


class Kind(NamedTuple):
    """One kind of file: how one is made in a folder, and how it is read; both are given the path of the file."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


UNSEEN = {"num_heads": 2, "norm_eps": 1e-6, "block": "pre_norm", "act": "gelu", "pool": "cls", "pool_prefix": False}
"""What tensors do not show."""
SMALLEST = {**tiny.SMALLEST, "num_classes": 0}


def model() -> ViT:
    return tiny.randomise(ViT(tiny.spec(**tiny.SMALLEST)))


def tensors(path: Path) -> None:
    file = open_tensors(path)
    for key in file.shapes:
        file.read(key)


def saved(layout: str) -> Callable[[Path], object]:
    return lambda path: vitzoo.save(model(), path, layout)


def big_vision(path: Path) -> None:
    spec = tiny.spec(**tiny.SMALLEST, act="gelu_tanh", pos_prefix="none")
    vitzoo.save(ViT(spec), path, "big_vision")


def old_pth(path: Path) -> None:
    torch.save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, path, _use_new_zipfile_serialization=False)


def pth(path: Path) -> None:
    torch.save({"model": {"a": torch.ones(3), "b": torch.zeros(2, 2)}, "epoch": 3, "best": np.float64(0.5)}, path)


def index(path: Path) -> None:
    vitzoo.save(model(), path.with_name("model.safetensors"), shard_size=4000)


def configuration(name: str, layout: str) -> Callable[[Path], object]:
    """A folder of a library, of which the file `name` is changed."""

    def make(path: Path) -> None:
        folder = path.with_name("folder")
        vitzoo.save(model(), folder, layout)
        for file in folder.iterdir():
            file.rename(path.with_name(file.name))
        folder.rmdir()

    return make


def beside(path: Path) -> None:
    vitzoo.create(path.parent)


def own_registry(path: Path) -> None:
    entry = {"sources": [{"repo": "org/x", "layout": "timm"}], "license": "mit", "preprocessing": {"mean": [0.5] * 3}}
    entry |= {"resample": "timm", "params": 5704}
    path.write_text(yaml.safe_dump({"family": path.stem, "models": {"m": dict(SMALLEST)}, "weights": {"m.t": entry}}))


def drafted(path: Path) -> None:
    """What is wrong with a registry, one thing or many."""
    _, problems = draft(path)
    if problems:
        raise RegistryError(problems[0])


def lock(path: Path) -> None:
    pin = Pin(source="hf://org/x/f", commit="0" * 40, files=(PinnedFile(file="f", sha256="0" * 64, size=1),))
    path.write_text(Lock(entries={"m.t": pin}).model_dump_json())


def picture(kind: str, mode: str = "RGB") -> Callable[[Path], object]:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    return lambda path: Image.fromarray(pixels).convert(mode).save(path, kind)


def npy(path: Path) -> None:
    np.save(path, np.zeros((3, 4, 5), np.uint8))


def bands(path: Path) -> None:
    with path.open("rb") as file:
        read_picture(file, Form(5), path.name)


def tar(path: Path) -> None:
    """Pictures in folders of classes, which as shards have their class beside them."""
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    with tarfile.open(path, "w") as archive:
        for name, content in {
            "a/0.png": data.getvalue(),
            "a/0.cls": b"0",
            "b/1.png": data.getvalue(),
            "b/1.cls": b"1",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def all_pictures(path: Path, kind: str = "") -> None:
    for split in open_splits(f"{kind}{path}").values():
        for i in range(len(split)):
            split.load(i)


def info(path: Path) -> None:
    tar(path.with_name("train-0.tar"))
    path.write_text(json.dumps({"splits": {"train": {"filenames": ["train-0.tar"], "num_samples": 2}}}))


KINDS = (
    Kind("x.safetensors", saved("vitzoo"), vitzoo.create),
    Kind("y.safetensors", saved("timm"), lambda path: vitzoo.create(path, layout="timm", **UNSEEN)),
    Kind("x.npz", big_vision, tensors),
    Kind("x.npz", lambda path: np.savez_compressed(path, a=np.ones(3), b=np.zeros((2, 2))), tensors),
    Kind("x.pth", pth, tensors),
    Kind("old.pth", old_pth, tensors),
    Kind("model.safetensors.index.json", index, vitzoo.create),
    Kind("config.json", configuration("config.json", "timm"), beside),
    Kind("config.json", configuration("config.json", "huggingface"), beside),
    Kind("preprocessor_config.json", configuration("preprocessor_config.json", "huggingface"), beside),
    Kind("own.yaml", own_registry, drafted),
    Kind(
        "recipe.yaml",
        lambda path: path.write_text(load_recipe("linear_probe").to_yaml()),
        lambda p: Recipe.parse(read_yaml(p), str(p)),
    ),
    Kind("vitzoo.lock", lock, read_lock),
    *(
        Kind(f"x.{kind.lower()}", picture(kind), load_image)
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")
    ),
    Kind("grey.png", picture("PNG", "I;16"), load_image),
    Kind("x.npy", npy, bands),
    Kind("x.tar", tar, all_pictures),
    Kind("shard.tar", tar, lambda path: all_pictures(path, "wds/")),
    Kind("_info.json", info, lambda path: all_pictures(path.parent, "wds/")),
)
