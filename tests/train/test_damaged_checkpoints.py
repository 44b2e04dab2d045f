"""A damaged last.ckpt is one TrainingError."""

from pathlib import Path

import pytest
import torch

from vitzoo.errors import TrainingError
from vitzoo.train.checkpoints import part_of


def test_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"facts": {"model": "x"}, "state_dict": {"a": torch.ones(2)}}, path)
    assert part_of(path, "facts") == {"model": "x"}
    assert part_of(path, "state_dict")["a"].tolist() == [1, 1]
    data = path.read_bytes()
    for content in (b"", b"x", data[:200], data[: len(data) // 2], b"\x80\x02]."):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="name another folder"):
            part_of(path, "facts")
    torch.save([1], path)
    with pytest.raises(TrainingError, match="is no checkpoint of a run: it has no 'facts'"):
        part_of(path, "facts")
