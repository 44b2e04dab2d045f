"""A model in several files is there whole or not at all, whoever is killed, and whoever writes at the same time."""

import json
import os
import re
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitzoo.errors import WeightsError
from vitzoo.files.read import open_tensors
from vitzoo.files.write import write

A, B = ({f"t{n}": torch.full((8,), value + n) for n in range(4)} for value in (0.0, 100.0))


def save(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    shapes = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    return write(path, iter(tensors.items()), shapes, {}, shard_size=40)[-1]


def read(path: Path) -> str:
    """Which of the two models is there."""
    file = open_tensors(path)
    found = {key: file.read(key) for key in file.shapes}
    for name, model in (("A", A), ("B", B)):
        if found.keys() == model.keys() and all(found[key].equal(model[key]) for key in model):
            return name
    raise AssertionError(f"a mixture: {found}")


def dies_at(step: int, path: Path) -> bool:
    """Save B in a process of its own that ends without a word before it renames for the `step`-th time."""
    child = os.fork()
    if child == 0:
        done, real = [0], Path.replace

        def replace(self: Path, target: Path) -> Path:
            done[0] += 1
            if done[0] == step:
                os._exit(9)
            return real(self, target)

        Path.replace = replace  # type: ignore[assignment,method-assign]
        save(B, path)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.proves(guarantee="A model of several files is one model", against="a kill before each renaming")
def test_a_killed_save_leaves_the_old_model_or_the_new_one(tmp_path: Path) -> None:
    path, step, seen = tmp_path / "model.safetensors", 1, []
    index = save(A, path)
    while dies_at(step, path):
        seen.append(read(index))
        step += 1
    assert read(index) == "B"
    assert len(seen) == 5  # four shards and the index
    assert set(seen) == {"A"}
    names = set(json.loads(index.read_text())["weight_map"].values())
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {*names, index.name}  # what those left that were killed is gone, too


@pytest.mark.proves(guarantee="A model of several files is one model", against="two writers and a reader at once")
def test_two_writers_and_a_reader(tmp_path: Path) -> None:
    path, failed = tmp_path / "model.safetensors", list[BaseException]()
    index = save(A, path)

    def write_often(model: dict[str, Tensor]) -> None:
        try:
            for _ in range(15):
                save(model, path)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write_often, args=(model,)) for model in (A, B)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        read(index)
        reads += 1
    assert failed == []
    assert reads > 3


def test_a_shard_of_another_model_is_refused(tmp_path: Path) -> None:
    index, other = (save(model, tmp_path / name / "model.safetensors") for name, model in ((".", A), ("b", B)))
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    others = sorted(set(json.loads(other.read_text())["weight_map"].values()))
    (tmp_path / names[0]).write_bytes((tmp_path / "b" / others[0]).read_bytes())
    with pytest.raises(WeightsError, match=re.escape(f"{names[0]} is not the shard of {index.name}: sha256")):
        open_tensors(index)
    save(A, tmp_path / "model.safetensors")
    assert read(index) == "A"


def test_shards_of_transformers_have_no_digests_and_are_replaced(tmp_path: Path) -> None:
    index = save(A, tmp_path / "model.safetensors")
    stated = json.loads(index.read_text())
    names = sorted(set(stated["weight_map"].values()))
    plain = {name: re.sub("-[0-9a-f]{16}[.]", ".", name) for name in names}
    for name, theirs in plain.items():
        (tmp_path / name).rename(tmp_path / theirs)
    del stated["metadata"]["sha256"]
    stated["weight_map"] = {key: plain[name] for key, name in stated["weight_map"].items()}
    index.write_text(json.dumps(stated))
    (tmp_path / "model-two.safetensors").write_bytes(b"somebody else's")
    assert read(index) == "A"
    save(B, tmp_path / "model.safetensors")
    assert read(index) == "B"
    assert not any((tmp_path / theirs).exists() for theirs in plain.values())
    assert (tmp_path / "model-two.safetensors").exists()


@pytest.mark.parametrize("digests", [{"x": "1"}, {"x": 1}, [1], "x", {"x": "g" * 64}])
def test_digests_that_are_none(tmp_path: Path, digests: object) -> None:
    index = save(A, tmp_path / "model.safetensors")
    stated = json.loads(index.read_text())
    stated["metadata"]["sha256"] = digests
    index.write_text(json.dumps(stated))
    with pytest.raises(WeightsError, match="cannot be read as an index file"):
        open_tensors(index)


def test_a_model_that_nobody_else_may_read_stays_so(tmp_path: Path) -> None:
    index = save(A, tmp_path / "model.safetensors")
    index.chmod(0o600)
    save(B, tmp_path / "model.safetensors")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
