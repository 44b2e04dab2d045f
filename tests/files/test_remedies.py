"""What errors of files say to do is done: the same call works after it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from advice import check, remedy
from safetensors.torch import load_file, save_file

from vitzoo.errors import WeightsError
from vitzoo.files import read as reading
from vitzoo.files.read import open_tensors
from vitzoo.files.write import write

X = {"w": torch.ones(2, 3), "b": torch.zeros(3)}
Step = Callable[[Path], object]


def saved(path: Path, content: object = X) -> Path:
    torch.save(content, path)
    return path


def stored(path: Path, **options: Any) -> Path:
    """As vitzoo writes it."""
    tensors = options.pop("tensors", X)
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in tensors.items()}
    write(path, iter(tensors.items()), shapes, options.pop("metadata", {}), **options)
    return path


def sharded(folder: Path) -> Path:
    """Two files and their index."""
    folder.mkdir(exist_ok=True)
    stored(folder / "model.safetensors", shard_size=24)
    return folder / "model.safetensors.index.json"


def first_shard(folder: Path) -> Path:
    return next(folder.glob("model-00001-of-00002*"))


def index(folder: Path, **changes: Any) -> Path:
    path = sharded(folder)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def without_a_shard(folder: Path) -> Path:
    path = sharded(folder)
    first_shard(folder).unlink()
    return path


def with_another_shard(folder: Path) -> Path:
    path = sharded(folder)
    first = first_shard(folder)
    save_file({key: value + 1 for key, value in load_file(first).items()}, first)
    return path


def with_a_stranger(folder: Path) -> Path:
    path = sharded(folder)
    save_file({"other": torch.ones(1)}, first_shard(folder))
    return path


def odd_type(path: Path) -> Path:
    """A header that names a type of which torch has no tensors here."""
    header = json.dumps({"w": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    return path


def made(path: Path, content: bytes = b"") -> Path:
    path.write_bytes(content)
    return path


def full(folder: Path) -> Path:
    folder.mkdir()
    made(folder / "notes.txt")
    return folder


POINTER, PAGE = b"version https://git-lfs.github.com/spec/v1\n", b"<!doctype html><title>Sign in</title>"
SPARSE = {"w": torch.ones(2, 3).to_sparse()}
CASES = [
    remedy(
        "which only files that torch wrote have",
        lambda p: open_tensors(stored(p / "x.npz"), wrapper="ema"),
        lambda p: open_tensors(p / "x.npz"),
    ),
    remedy(
        "to leave out; name one as it stands there",
        lambda p: open_tensors(stored(p / "x.npz"), drop=["bb"]),
        lambda p: open_tensors(p / "x.npz", drop=["b"]),
    ),
    remedy("no weights file at", lambda p: open_tensors(p / "x.pth"), lambda p: open_tensors(saved(p / "x.pth"))),
    remedy(
        "expected a file: copy what it gives into one",
        lambda p: open_tensors(Path("/dev/null")),
        lambda p: open_tensors(saved(p / "x.pth")),
    ),
    remedy(
        "is a folder without weights; expected one of",
        lambda p: open_tensors(full(p / "own")),
        lambda p: open_tensors(stored(p / "own" / "model.safetensors").parent),
    ),
    remedy(
        "; convert it to one of",
        lambda p: open_tensors(odd_type(p / "x.safetensors")).dtypes,
        lambda p: open_tensors(stored(p / "x.safetensors")).dtypes,
    ),
    remedy(
        "bytes of tensors, and its shards hold",
        lambda p: open_tensors(index(p, metadata={"total_size": 99})),
        lambda p: open_tensors(sharded(p)),
    ),
    remedy(" shards are missing: ", lambda p: open_tensors(without_a_shard(p)), lambda p: open_tensors(sharded(p))),
    remedy(
        " and its shards do not agree: ",
        lambda p: open_tensors(with_a_stranger(p)),
        lambda p: open_tensors(sharded(p)),
    ),
    remedy(" is not the shard of ", lambda p: open_tensors(with_another_shard(p)), lambda p: open_tensors(sharded(p))),
    remedy(
        "; expected the plain name of a ",
        lambda p: open_tensors(index(p, weight_map={"w": "../w.safetensors", "b": "../w.safetensors"})),
        lambda p: open_tensors(sharded(p)),
    ),
    remedy(
        "it is empty; fetch or copy it again",
        lambda p: open_tensors(made(p / "x.pth")),
        lambda p: open_tensors(saved(p / "x.pth")),
    ),
    remedy(
        "this is a Git LFS pointer",
        lambda p: open_tensors(made(p / "x.pth", POINTER)),
        lambda p: open_tensors(saved(p / "x.pth")),
    ),
    remedy(
        "this is a web page",
        lambda p: open_tensors(made(p / "x.pth", PAGE)),
        lambda p: open_tensors(saved(p / "x.pth")),
    ),
    remedy(
        " cannot be read as ",
        lambda p: open_tensors(made(p / "x.pth", saved(p / "whole.pth").read_bytes()[:-40])),
        lambda p: open_tensors(made(p / "x.pth", (p / "whole.pth").read_bytes())),
    ),
    remedy(
        "found a ",
        lambda p: open_tensors(saved(p / "x.pth", [1])),
        lambda p: open_tensors(saved(p / "x.pth", torch.nn.Linear(2, 2).state_dict())),
    ),
    remedy(
        "a mapping from names to tensors and nothing else, found ",
        lambda p: open_tensors(saved(p / "x.pth", {"w": torch.ones(1), 3: torch.ones(1)})),
        lambda p: open_tensors(saved(p / "x.pth", torch.nn.Linear(2, 2).state_dict())),
    ),
    remedy(
        " has no state dict named '",
        lambda p: open_tensors(saved(p / "x.pth", {"student": X, "teacher": X}), wrapper="ema"),
        lambda p: open_tensors(p / "x.pth", wrapper="student"),
    ),
    remedy(
        " state dicts; choose one with ",
        lambda p: open_tensors(saved(p / "x.pth", {"mine": X, "theirs": X})),
        lambda p: open_tensors(p / "x.pth", wrapper="theirs"),
    ),
    remedy(
        "); save it as one",
        lambda p: open_tensors(saved(p / "x.pth", SPARSE)),
        lambda p: open_tensors(saved(p / "x.pth", {key: value.to_dense() for key, value in SPARSE.items()})),
    ),
    remedy(
        "more than the file could hold; save its clone()",
        lambda p: open_tensors(saved(p / "x.pth", {"w": torch.ones(1).expand(1 << 16)})),
        lambda p: open_tensors(saved(p / "x.pth", {"w": torch.ones(1).expand(1 << 16).clone()})),
    ),
    remedy(
        "exists and is ",
        lambda p: stored(full(p / "out")),
        lambda p: stored(p / "new"),
    ),
    remedy(" has an unknown suffix; take ", lambda p: stored(p / "x.h5"), lambda p: stored(p / "x.safetensors")),
    remedy(
        "; write safetensors, or do without",
        lambda p: stored(p / "x.npz", shard_size=8),
        lambda p: (stored(p / "x.safetensors", shard_size=24), stored(p / "x.npz")),
    ),
    remedy(
        "readers would take it before the shards beside it; remove it first",
        lambda p: (stored(p / "model.safetensors"), sharded(p)),
        lambda p: ((p / "model.safetensors").unlink(), sharded(p)),
    ),
    remedy(
        ": safetensors has no type for ",
        lambda p: stored(p / "x.safetensors", tensors={"w": torch.ones(2, dtype=torch.complex128)}),
        lambda p: stored(p / "x.safetensors", tensors={"w": torch.ones(2, dtype=torch.float64)}),
    ),
    remedy(
        "holds nothing; give a positive number of bytes",
        lambda p: stored(p / "x.safetensors", shard_size=0),
        lambda p: stored(p / "x.safetensors", shard_size=24),
    ),
    remedy(
        "numpy has no type for ",
        lambda p: stored(p / "x.npz", tensors={"w": torch.ones(2, dtype=torch.float8_e5m2)}),
        lambda p: stored(p / "x.npz", tensors={"w": torch.ones(2)}),
    ),
]


@pytest.mark.parametrize(("fails", "works"), CASES)
def test_what_the_error_says_works(fails: Step, works: Step, tmp_path: Path) -> None:
    check(fails, works, tmp_path)


@pytest.mark.follows("; save the model alone")
def test_a_file_of_too_many_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_TENSORS", 2)
    path = tmp_path / "x.pth"
    check(lambda: open_tensors(saved(path, X | {"moment": X["w"]})), lambda: open_tensors(saved(path)))


@pytest.mark.follows(" was changed while it was read; start again")
def test_a_file_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitzoo.files.tensor_file.WINDOW", 8)
    path = stored(tmp_path / "x.safetensors")
    file = open_tensors(path, streamed=True)
    stored(path, tensors={"w": torch.ones(2, 3), "b": torch.ones(3), "c": torch.ones(9)})
    with pytest.raises(WeightsError):
        [file.read(key) for key in ("w", "b", "w")]
    again = open_tensors(path, streamed=True)
    assert [again.read(key).sum().item() for key in ("w", "b")] == [6, 3]


@pytest.mark.follows(" holds more than tensors and was not loaded")
@pytest.mark.follows(" is a TorchScript archive")
def test_a_program_is_saved_as_its_weights(tmp_path: Path) -> None:
    """A pickled module, a module inside a mapping, and a scripted one; each by the way that the error spells."""
    module, new = torch.nn.Linear(3, 2), tmp_path / "new.pth"
    ways: list[tuple[Callable[[Path], object], Callable[[Path], Any]]] = [
        (lambda path: torch.save(module, path), lambda path: torch.load(path, weights_only=False).state_dict()),
        (
            lambda path: torch.save({"model": module.state_dict(), "act": torch.nn.ReLU()}, path),
            lambda path: torch.load(path, weights_only=False)["model"],
        ),
        (lambda path: torch.jit.script(module).save(path), lambda path: torch.jit.load(path).state_dict()),
    ]
    for number, (make, take) in enumerate(ways):
        path = tmp_path / f"{number}.pth"
        make(path)
        with pytest.raises(WeightsError, match=r"state_dict\(\)"):
            open_tensors(path)
        torch.save(take(path), new)
        assert open_tensors(new).shapes == {"weight": (2, 3), "bias": (2,)}


@pytest.mark.follows("' was compressed after torch wrote it; expected the file as written")
def test_a_compressed_archive(tmp_path: Path) -> None:
    path, packed = saved(tmp_path / "x.pth"), tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    check(lambda: open_tensors(packed), lambda: open_tensors(path))
