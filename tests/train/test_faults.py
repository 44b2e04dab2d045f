"""A run that is killed, at any moment, goes on to the same bits; what stops one from outside is one clear line."""

import csv
import errno
import multiprocessing
import os
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info
from training import run, write_model, write_pictures

from vitzoo.data.dataset import PictureDataset
from vitzoo.errors import TrainingError
from vitzoo.train import checkpoints, finetuning
from vitzoo.train.callbacks import History
from vitzoo.train.checkpoints import WholeFileIO, explained
from vitzoo.train.module import FineTuner

# All that draws random numbers or keeps a state of its own.
ALL: dict[str, Any] = {
    "epochs": 3,
    "mixup": 0.8,
    "cutmix": 1.0,
    "drop_path_rate": 0.3,
    "patch_drop_rate": 0.25,
    "patch_drop_until": 0.7,
    "auto_augment": "rand-m9-mstd0.5-inc1",
    "random_erasing": 0.5,
    "ema_decay": 0.7,
    "keep": "best",
    "early_stopping": 3,
    "accumulate": 3,
    "class_weights": "balanced",
}
RECIPES: dict[str, dict[str, Any]] = {
    "everything": ALL,
    "muon": {"recipe": "vit_nano4_cifar10", "pretrained": True, "epochs": 3},
    "lora": {"recipe": "lora", "epochs": 3, "lora_dropout": 0.2},
    "probe": {"recipe": "linear_probe", "epochs": 3},
    "workers": {"epochs": 3, "num_workers": 2, "max_per_class": 8},
}


class Killed(BaseException):
    """Stands for a kill where a process of its own would show nothing more."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return write_model(folder / "tiny.safetensors", class_token=False, pos_prefix="none", pool="avg")


@pytest.fixture(scope="module")
def unbroken(data: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(start, data, tmp_path_factory.mktemp("unbroken") / "out", **ALL).parent


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def same(first: Path, second: Path) -> bool:
    files = [(folder / "model.safetensors").read_bytes() for folder in (first, second)]
    return files[0] == files[1] and curve(first) == curve(second)


def die_at_step(step: int, patch: pytest.MonkeyPatch, how: Any) -> None:
    original = FineTuner.training_step

    def training_step(self: FineTuner, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            how()
        return original(self, batch, batch_idx)

    patch.setattr(FineTuner, "training_step", training_step)


def die_in_save(call: int, patch: pytest.MonkeyPatch, how: Any, half: bool = True) -> None:
    original, calls = torch.save, []

    def save(checkpoint: Any, file: Any) -> None:
        calls.append(file)
        if len(calls) == call:
            if half:
                file.write(b"half of a checkpoint")
                file.flush()
            else:
                original(checkpoint, file)
            how()
        original(checkpoint, file)

    patch.setattr(checkpoints.torch, "save", save)


def stop(*arguments: Any) -> None:
    raise Killed


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


POINTS = {
    "before the first step": lambda patch: die_at_step(0, patch, kill),
    "in the second epoch": lambda patch: die_at_step(6, patch, kill),
    "in the first checkpoint": lambda patch: die_in_save(1, patch, kill),
    "between the best and the last checkpoint": lambda patch: die_in_save(2, patch, kill),
    "in a later checkpoint": lambda patch: die_in_save(4, patch, kill),
    "before a checkpoint gets its name": lambda patch: die_in_save(4, patch, kill, half=False),
    "before the result is written": lambda patch: patch.setattr(finetuning, "save", lambda *args: kill()),
    "before the report": lambda patch: patch.setattr(finetuning, "write_report", lambda *args: kill()),
}


def victim(point: str, start: Path, data: Path, output: Path) -> None:
    """A process of its own, which dies at the point."""
    with pytest.MonkeyPatch.context() as patch:
        POINTS[point](patch)
        run(start, data, output, resume=True, **ALL)


@pytest.fixture(scope="module")
def processes() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([victim.__module__])  # so that torch is imported once
    return context


@pytest.mark.proves(claim="resumed runs", against="our own unbroken run", tolerance="bit for bit")
@pytest.mark.parametrize("point", POINTS)
def test_killed_and_resumed_is_unbroken_bit_for_bit(
    point: str, unbroken: Path, data: Path, start: Path, tmp_path: Path, processes: Any
) -> None:
    process = processes.Process(target=victim, args=(point, start, data, tmp_path / "out"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out" / "report.md").exists()
    run(start, data, tmp_path / "out", resume=True, **ALL)
    assert same(tmp_path / "out", unbroken)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "everything"])
def test_each_recipe_goes_on_bit_for_bit(name: str, data: Path, start: Path, tmp_path: Path) -> None:
    """Killed twice, in one process: the second time in a run that had gone on."""
    settings = RECIPES[name]
    whole = run(start, data, tmp_path / "whole", **settings).parent
    for step in (2, 9):
        with pytest.MonkeyPatch.context() as patch:
            die_at_step(step, patch, stop)
            with pytest.raises(Killed):
                run(start, data, tmp_path / "broken", resume=True, **settings)
    run(start, data, tmp_path / "broken", resume=True, **settings)
    assert same(tmp_path / "broken", whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_in_the_middle_of_an_epoch(
    workers: int, unbroken: Path, data: Path, start: Path, tmp_path: Path
) -> None:
    """Saved after each second of an epoch's four steps, killed in the third and in the last."""
    begun: list[int] = []
    original = FineTuner.on_train_batch_start

    def watch(self: FineTuner, batch: Any, batch_idx: int) -> None:
        begun.append(self.global_step)
        original(self, batch, batch_idx)

    settings = {**ALL, "num_workers": workers, "checkpoint_steps": 2, "resume": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuner, "on_train_batch_start", watch)
        for step in (3, 7, None):
            with pytest.MonkeyPatch.context() as deadly, pytest.raises(Killed) if step else nullcontext():
                if step:
                    die_at_step(step, deadly, stop)
                begun.append(-1)
                run(start, data, tmp_path / "out", **settings)
    assert [begun[i + 1] for i, step in enumerate(begun) if step == -1] == [0, 2, 6]
    assert same(tmp_path / "out", unbroken)


def test_a_run_killed_after_its_adapter_was_written_is_finished(data: Path, start: Path, tmp_path: Path) -> None:
    settings = RECIPES["lora"]
    whole = run(start, data, tmp_path / "whole", **settings).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "save", stop)
        with pytest.raises(Killed):
            run(start, data, tmp_path / "broken", **settings)
    assert (tmp_path / "broken" / "adapter" / "adapter_model.safetensors").exists()
    run(start, data, tmp_path / "broken", resume=True, **settings)
    assert same(tmp_path / "broken", whole)


def test_control_without_seeded_steps_or_with_another_seed_the_bits_differ(
    unbroken: Path, data: Path, start: Path, tmp_path: Path
) -> None:
    run(start, data, tmp_path / "seed", **ALL, seed=1)
    assert not same(tmp_path / "seed", unbroken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vitzoo.train.module.seed_step", lambda *numbers: None)
        run(start, data, tmp_path / "whole", **ALL)
        die_at_step(6, patch, stop)
        with pytest.raises(Killed):
            run(start, data, tmp_path / "broken", **ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vitzoo.train.module.seed_step", lambda *numbers: None)
        run(start, data, tmp_path / "broken", resume=True, **ALL)
    assert not same(tmp_path / "broken", tmp_path / "whole")


def test_a_run_that_had_stopped_early_stays_stopped(data: Path, start: Path, tmp_path: Path) -> None:
    settings = {"epochs": 6, "early_stopping": 2, "lr": 1e-9, "min_lr": 0.0}
    whole = run(start, data, tmp_path / "whole", **settings).parent
    assert len(curve(whole)) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "save", stop)
        with pytest.raises(Killed):
            run(start, data, tmp_path / "broken", **settings)
    run(start, data, tmp_path / "broken", resume=True, **settings)
    assert same(tmp_path / "broken", whole)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_one_line(
    sent: signal.Signals, unbroken: Path, data: Path, start: Path, tmp_path: Path
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        die_at_step(6, patch, lambda: os.kill(os.getpid(), sent))
        with pytest.raises(TrainingError, match=r"stopped from outside\. .*last.ckpt is whole: go on with --resume"):
            run(start, data, tmp_path / "out", **ALL)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    run(start, data, tmp_path / "out", resume=True, **ALL)
    assert same(tmp_path / "out", unbroken)


def swap(one: Path, two: Path) -> None:
    """Two files change places; sizes and times are made equal, as an archive that was unpacked has them."""
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second), two.write_bytes(first)
    for path in (one, two):
        os.utime(path, ns=(0, 0))


def reorder(data: Path) -> None:
    (data / "train/red/0.bmp").rename(data / "train/red/zzz.bmp")


def paint(path: Path) -> None:
    """One picture becomes another of the same size, with the time that it had."""
    times = path.stat()
    Image.new("RGB", (24, 20), "white").save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


OTHER_PICTURES = {
    "train pictures of blue, red": lambda data: swap(data / "train/blue/1.bmp", data / "train/red/1.bmp"),
    "train pictures of green": lambda data: paint(data / "train/green/3.bmp"),
    "val pictures of blue, red": lambda data: swap(data / "val/blue/1.bmp", data / "val/red/1.bmp"),
    "train pictures of red": reorder,
    "train pictures of blue": lambda data: (data / "train/blue/2.bmp").unlink(),
}


@pytest.mark.parametrize("changed", OTHER_PICTURES)
def test_a_run_goes_on_with_the_same_pictures_alone(changed: str, start: Path, tmp_path: Path) -> None:
    """By their content and their class, wherever they are: names, sizes and times may agree, and places differ."""
    for part, count in (("train", 10), ("val", 4)):
        for picture in write_pictures(tmp_path / "old" / part, count).rglob("*.png"):
            Image.open(picture).save(picture.with_suffix(".bmp"))
            picture.unlink()
            os.utime(picture.with_suffix(".bmp"), ns=(0, 0))
    with pytest.MonkeyPatch.context() as patch:
        die_at_step(6, patch, stop)
        with pytest.raises(Killed):
            run(start, tmp_path / "old", tmp_path / "out")
    shutil.copytree(tmp_path / "old", tmp_path / "changed")
    OTHER_PICTURES[changed](tmp_path / "changed")
    message = rf"cannot go on: .*the {changed} have changed since it began.*; give the same"
    with pytest.raises(TrainingError, match=message):
        run(start, tmp_path / "changed", tmp_path / "out", resume=True)
    (tmp_path / "old").rename(tmp_path / "moved")
    run(start, tmp_path / "moved", tmp_path / "out", resume=True)
    assert same(tmp_path / "out", run(start, tmp_path / "moved", tmp_path / "whole").parent)


def test_a_full_disk_keeps_the_last_good_checkpoint(unbroken: Path, data: Path, start: Path, tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        die_in_save(4, patch, full)
        with pytest.raises(TrainingError, match=r"the disk is full: free some space. .*last.ckpt is whole: go on with"):
            run(start, data, tmp_path / "out", **ALL)
    assert {path.name for path in (tmp_path / "out" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    run(start, data, tmp_path / "out", resume=True, **ALL)
    assert same(tmp_path / "out", unbroken)


def test_a_device_that_is_really_full_is_recognised(tmp_path: Path) -> None:
    state = {"weights": torch.zeros(100_000)}
    with (
        pytest.raises(TrainingError, match="the disk is full"),
        explained(tmp_path),
        Path("/dev/full").open("wb") as file,
    ):
        torch.save(state, file)
    WholeFileIO().save_checkpoint(state, tmp_path / "a" / "b.ckpt")
    assert torch.load(tmp_path / "a" / "b.ckpt", weights_only=True).keys() == {"weights"}


def test_a_lost_loader_is_one_line(data: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = PictureDataset.__getitem__

    def getitem(self: PictureDataset, key: Any) -> Any:
        if get_worker_info() is not None and isinstance(key, tuple) and key[0] == 1:
            kill()
        return original(self, key)

    monkeypatch.setattr(PictureDataset, "__getitem__", getitem)
    with pytest.raises(
        TrainingError, match=r"a process that loads pictures died .*last.ckpt is whole: go on with --resume"
    ):
        run(start, data, tmp_path / "out", num_workers=1)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize("harm", [cut, Path.unlink], ids=["cut", "gone"])
def test_a_picture_that_goes_bad_is_one_line(
    harm: Any, part: str, workers: int, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the line advises works: the picture put back, or a run without it."""
    for one, count in (("train", 10), ("val", 2), ("test", 2)):
        write_pictures(tmp_path / "data" / one, count)
    bad = tmp_path / "data" / part / "red" / "1.png"
    good = bad.read_bytes()
    write = History.write
    monkeypatch.setattr(History, "write", lambda self: (write(self), harm(bad))[0] if len(self.rows) == 1 else None)
    with pytest.raises(TrainingError) as found:
        run(start, tmp_path / "data", tmp_path / "out", num_workers=workers)
    text = str(found.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 600
    assert "red/1.png" in text
    assert "put it back as it was, and go on with --resume; or begin anew without it in another output" in text
    assert f"{tmp_path / 'out' / checkpoints.LAST} is whole" in text
    monkeypatch.undo()
    run(start, tmp_path / "data", tmp_path / "anew", num_workers=0)
    bad.write_bytes(good)
    run(start, tmp_path / "data", tmp_path / "out", num_workers=0, resume=True)


def test_a_loss_that_is_not_a_number_keeps_the_epoch_before(data: Path, start: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        original = FineTuner.loss
        patch.setattr(
            FineTuner, "loss", lambda self, *x: original(self, *x) * (float("nan") if self.current_epoch else 1)
        )
        with pytest.raises(
            TrainingError, match=r"NaN or infinite in epoch 2.*; the last good checkpoint is .*last.ckpt"
        ):
            run(start, data, tmp_path / "out")
    kept = torch.load(tmp_path / "out" / checkpoints.LAST, weights_only=True)
    assert kept["epoch"] == 0
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


def test_no_memory_on_the_device_says_what_helps(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="raise accumulate"), explained(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_mistake_in_the_program_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained(tmp_path):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
