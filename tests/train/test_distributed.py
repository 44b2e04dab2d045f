"""Two processes on the CPU (gloo) against one, with DDP and with FSDP2; one that is lost."""

import signal
from pathlib import Path

import pytest
import torch
from distributed import two_processes
from safetensors.torch import load_file
from training import run, write_model, write_pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def alone(data: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(start, data, tmp_path_factory.mktemp("alone") / "out")


@pytest.mark.proves(claim="two processes (DDP, FSDP2)", against="our own single run", tolerance="1e-5")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_give_what_one_gives(strategy: str, alone: Path, data: Path, start: Path, tmp_path: Path) -> None:
    finished = two_processes(strategy, start, data, tmp_path / "out")
    assert [process.returncode for process in finished] == [0, 0], finished[0].stderr
    assert "recommended" not in finished[0].stderr + finished[1].stderr  # nothing there that a user could not act on
    found, expected = load_file(tmp_path / "out" / "model.safetensors"), load_file(alone)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    before = load_file(start)
    assert any((expected[k] - before[k]).abs().max() > 1e-4 for k in before if k.startswith("blocks"))
    rows = [(folder / "metrics.csv").read_text().splitlines() for folder in (tmp_path / "out", alone.parent)]
    for mine, theirs in zip(rows[0][1:], rows[1][1:], strict=True):
        assert list(map(float, mine.split(",")[:7])) == pytest.approx(list(map(float, theirs.split(",")[:7])), rel=1e-4)


@pytest.mark.parametrize(("strategy", "lost_by"), [("ddp", "SIGKILL"), ("ddp", "SIGTERM"), ("fsdp", "SIGKILL")])
def test_a_lost_process_is_one_line_and_both_go_on(
    strategy: str, lost_by: str, alone: Path, data: Path, start: Path, tmp_path: Path
) -> None:
    first, second = two_processes(strategy, start, data, tmp_path / "out", lost_by)
    assert second.returncode == (-signal.SIGKILL if lost_by == "SIGKILL" else 1)
    assert first.returncode == 1
    line = first.stderr.splitlines()[-1]
    assert line.startswith("vitzoo: another process of the run was lost")
    assert line.endswith("last.ckpt is whole: go on with --resume")
    finished = two_processes(strategy, start, data, tmp_path / "out")
    assert [process.returncode for process in finished] == [0, 0], finished[0].stderr
    torch.testing.assert_close(
        load_file(tmp_path / "out" / "model.safetensors"), load_file(alone), rtol=1e-4, atol=1e-6
    )
