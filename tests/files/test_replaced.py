"""A file whose place another takes while it is opened: what is read is one of the two, never parts of both."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitzoo.files import safetensors
from vitzoo.files.read import open_tensors
from vitzoo.files.write import write

OLD, NEW = {"a": torch.full((3,), 1.0), "b": torch.full((5,), 1.0)}, {"a": torch.full((5,), 2.0), "c": torch.ones(9)}
PLACES: tuple[tuple[Any, str], ...] = (
    (Path, "open"),
    (Path, "stat"),
    (safetensors, "safe_open"),
    (zipfile, "ZipFile"),
    (torch.UntypedStorage, "from_file"),
)


def save(path: Path, model: dict[str, Tensor]) -> None:
    write(path, iter(model.items()), {key: (tuple(t.shape), t.dtype) for key, t in model.items()}, {})


def opened(path: Path, eager: bool, at: int) -> tuple[dict[str, Tensor], int]:
    """What is read where another model is saved before the `at`-th look at the file, and how many looks there are."""
    save(path, OLD)
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                save(path, NEW)
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for where, name in PLACES:
            patch.setattr(where, name, counted(getattr(where, name)))
        file = open_tensors(path, eager=eager)
        return {key: file.read(key) for key in file.shapes}, count


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_one_of_the_two(tmp_path: Path, suffix: str, eager: bool) -> None:
    path = tmp_path / f"x{suffix}"
    _, steps = opened(path, eager, -1)
    assert steps > 5
    seen = set()
    for at in range(1, steps + 1):
        found, _ = opened(path, eager, at)
        same = [m for m in (OLD, NEW) if found.keys() == m.keys() and all(found[key].equal(m[key]) for key in m)]
        assert len(same) == 1, f"at step {at}: {found}"
        seen.add(same[0] is NEW)
    assert True in seen


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_an_eager_file_does_not_change_with_its_place(tmp_path: Path, suffix: str) -> None:
    """A mapped one does, where somebody writes into it; vitzoo itself never does."""
    path = tmp_path / f"x{suffix}"
    save(path, OLD)
    file = open_tensors(path, eager=True)
    found = {key: file.read(key) for key in file.shapes}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(found[key].equal(OLD[key]) for key in OLD)
