"""The training step: beside timm's model and losses, and what each option of a recipe does to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from tiny import FIELDS, disturb, timm_arguments
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import vitzoo
from vitzoo import ViT
from vitzoo.errors import TrainingError
from vitzoo.registry.recipes import Recipe, load_recipe
from vitzoo.spec import TaskKind
from vitzoo.train.goal import Goal
from vitzoo.train.module import FineTuner, seed_step
from vitzoo.train.network import build
from vitzoo.train.trainer import Machines, batch_size, make_trainer, parts_of_a_step, quiet

CLASSES, BATCH = 5, 8


def goal(counts: Sequence[int]) -> Goal:
    """Of classes of which there are so many pictures."""
    return Goal(TaskKind.CLASSES, tuple(f"class {i}" for i in range(len(counts))), tuple(counts), sum(counts))


GOAL = goal([9] * CLASSES)
PEER = timm_arguments(embed_dim=32, depth=3, num_heads=2, mlp_ratio=2)
# What the tensors of a file do not show.
HIDDEN = {"num_heads": 2, "norm_eps": 1e-6, "act": "gelu", "pool": "cls", "pool_prefix": False, "block": "pre_norm"}
SPEC = {**FIELDS, "hidden_dim": 32, "depth": 3, "num_heads": 2, "mlp_dim": 64, "num_classes": CLASSES}


class Batches(lightning.LightningDataModule):
    """Random pictures, the same each epoch, in order."""

    def __init__(self, steps: int, batch_size: int = BATCH) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(steps * BATCH, 3, 32, 32, generator=generator)
        self.y = torch.randint(0, CLASSES, (len(self.x),), generator=generator)
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(self.x, self.y), self.batch_size)

    val_dataloader = train_dataloader


class Recorder(FineTuner):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        return loss


def recipe(**fields: Any) -> Recipe:
    plain = {"epochs": 1, "warmup_epochs": 0.2, "batch_size": BATCH, "label_smoothing": 0.0, "min_lr": 0.0}
    return load_recipe("full", **{**plain, **fields})


def trained(model: ViT, settings: Recipe, folder: Path, data: Batches) -> Recorder:
    tuner = Recorder(model, settings, goal([len(data.x)] + [0] * (CLASSES - 1)))
    trainer = make_trainer(folder, settings, Machines(accelerator="cpu"), int(settings.accumulate), tuner.goal)
    with quiet():
        trainer.fit(tuner, datamodule=data)
    return tuner


def tiny(seed: int = 0, **fields: Any) -> ViT:
    return vitzoo.create(vitzoo.ViTSpec(**{**SPEC, **fields}), generator=seed).train()


@pytest.mark.proves(claim="20 training steps", against="timm's model", tolerance="losses 1e-4")
@pytest.mark.parametrize("control", [None, "swapped", "undecayed"])
def test_twenty_steps_of_timms_model_and_ours_lose_the_same(control: str | None, tmp_path: Path) -> None:
    """timm's model, groups, AdamW and scheduler in a plain loop; ours in Lightning, from the same weights on disk."""
    torch.manual_seed(0)
    peer = disturb(timm.models.VisionTransformer(**PEER), 0.05).train()
    state = dict(peer.state_dict())
    if control == "swapped":
        keys = ["blocks.0.norm1.weight", "blocks.2.norm2.weight"]
        state |= dict(zip(keys, [state[key] for key in reversed(keys)], strict=True))
    save_file(state, tmp_path / "peer.safetensors")
    ours = vitzoo.create(tmp_path / "peer.safetensors", layout="timm", **HIDDEN).train()
    settings = recipe(
        lr=3e-3,
        weight_decay=0.0 if control == "undecayed" else 0.3,
        layer_decay=0.7,
        warmup_epochs=0.5,
        epochs=5,
        clip_norm=1.0,
    )
    data = Batches(4)

    optimizer = create_optimizer_v2(peer, "adamw", lr=3e-3, weight_decay=0.3, layer_decay=0.7)
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", num_epochs=4.5, warmup_epochs=0.5, warmup_prefix=True, warmup_lr=0.0, step_on_epochs=False,
        updates_per_epoch=4,
    )  # fmt: skip
    scheduler.step_update(0)
    losses = []
    for step in range(20):
        part = slice(step % 4 * BATCH, (step % 4 + 1) * BATCH)
        loss = F.cross_entropy(peer(data.x[part]), data.y[part])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        scheduler.step_update(step + 1)
        losses.append(loss.item())

    found = trained(ours, settings, tmp_path / "run", data).losses
    assert len(found) == 20
    difference = max(abs(a - b) for a, b in zip(found, losses, strict=True))
    assert difference < 1e-4 if control is None else difference > 1e-4
    assert losses[-1] < losses[0] - 0.1  # the model did learn, so that all of the step is compared


@pytest.mark.parametrize("fields", [{}, {"mixup": 0.8}, {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}], ids=str)
def test_accumulated_parts_are_the_whole_batch(fields: dict[str, Any], tmp_path: Path) -> None:
    whole, parts = (
        trained(tiny(), recipe(accumulate=n, **fields), tmp_path / str(n), Batches(6, BATCH // n)).model for n in (1, 4)
    )
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-6)
    control = trained(tiny(), recipe(accumulate=2, **fields), tmp_path / "control", Batches(6, BATCH // 4)).model
    assert not torch.allclose(control.head.fc.weight, whole.head.fc.weight, rtol=1e-3)


@pytest.mark.parametrize("fields", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}], ids=str)
def test_a_mixed_batch_is_timms(fields: dict[str, Any]) -> None:
    """timm's Mixup and its loss, on the batch whose first and last, second and last but one are our neighbours."""
    torch.manual_seed(0)
    x, targets = torch.randn(BATCH, 3, 32, 32), torch.randint(0, CLASSES, (BATCH,))
    settings = recipe(label_smoothing=0.1, **fields)
    tuner = FineTuner(disturb(tiny(), 0.05), settings, goal([1] * CLASSES))
    loss = tuner.training_step((x, targets), 0)
    order = [0, 2, 4, 6, 7, 5, 3, 1]
    seed_step(settings.seed, 0, 0)
    mix = Mixup(settings.mixup, settings.cutmix, label_smoothing=0.1, num_classes=CLASSES)
    seen, wanted = mix(x[order], targets[order])
    torch.testing.assert_close(loss, SoftTargetCrossEntropy()(tuner.model(seen), wanted))
    assert not torch.allclose(loss, tuner.loss(tuner.model(x), targets))


def test_patches_are_left_out_in_training_alone_and_until_the_end_that_is_asked_for(tmp_path: Path) -> None:
    model = build(tiny(), recipe(patch_drop_rate=0.5), tuple("abcde"))
    settings = recipe(patch_drop_rate=0.5, patch_drop_until=0.5, epochs=2)
    tokens: list[int] = []
    model.blocks[0].register_forward_hook(lambda block, x, y: tokens.append(y.shape[1]))
    trained(model, settings, tmp_path, Batches(2))
    assert tokens == [9, 9, 17, 17, 17, 17, 17, 17]  # training, validation, then an epoch with all of them
    for fields in (
        {"rope": {"kind": "axial", "theta": 10000.0}},
        {"rel_pos": "shared", "pos_embed": "none", "pos_prefix": "none"},
    ):
        with pytest.raises(TrainingError, match="patch_drop_rate needs positions that are added once"):
            build(tiny(**fields), recipe(patch_drop_rate=0.5), tuple("abcde"))


def test_gradient_checkpointing_changes_no_loss(tmp_path: Path) -> None:
    data, runs = Batches(4), []
    for on in (False, True):
        settings = recipe(grad_checkpointing=on, drop_path_rate=0.3)
        model = build(tiny(), settings, tuple("abcde"))
        assert model.grad_checkpointing is on
        assert model.training
        runs.append(trained(model, settings, tmp_path / str(on), data).losses)
    assert runs[0] == runs[1]
    plain = trained(build(tiny(), recipe(), tuple("abcde")), recipe(), tmp_path / "control", data).losses
    assert plain != runs[0]  # paths were dropped


def test_mixed_precision_is_near_but_not_equal(tmp_path: Path) -> None:
    full, mixed = (
        trained(tiny(), recipe(precision=precision), tmp_path / precision, Batches(5)).losses
        for precision in ("32-true", "bf16-mixed")
    )
    assert full != mixed
    assert full == pytest.approx(mixed, rel=0.02)


def test_compiled_steps_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured by torch.compile in one graph; the code that it would generate is not tested here."""
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda call, **options: real(call, **options, backend=backend, fullgraph=True)
    )
    runs = []
    for on in (False, True):
        settings = recipe(compile=on)
        runs.append(trained(build(tiny(), settings, tuple("abcde")), settings, tmp_path / str(on), Batches(3)).losses)
    assert len(graphs) == 2  # training and evaluation
    assert runs[0] == pytest.approx(runs[1], abs=1e-6)


def test_the_average_of_the_weights_is_what_is_saved(tmp_path: Path) -> None:
    settings, data = recipe(ema_decay=0.8, ema_warmup=False, epochs=2), Batches(4)
    snapshots: list[Tensor] = []

    class Watch(Recorder):
        def on_train_batch_end(self, *arguments: Any) -> None:
            snapshots.append(self.model.head.fc.weight.detach().clone())

    tuner = Watch(tiny(), settings, goal([1] * CLASSES))
    tuner.pictures = len(data.x)
    trainer = make_trainer(tmp_path, settings, Machines(accelerator="cpu"), 1, tuner.goal)
    with quiet():
        trainer.fit(tuner, datamodule=data)
    average = snapshots[0]
    for weight in snapshots[1:]:
        average = 0.8 * average + 0.2 * weight
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(saved["model.head.fc.weight"], average)
    assert not torch.allclose(average, snapshots[-1])


def test_a_loss_that_is_not_a_number_ends_the_run(tmp_path: Path) -> None:
    data = Batches(3)
    data.x[BATCH + 1] = float("nan")
    with pytest.raises(
        TrainingError, match="the loss became NaN or infinite in epoch 1, at step 3 or before; lower lr"
    ):
        trained(tiny(), recipe(), tmp_path, data)
    assert not (tmp_path / "checkpoints/last.ckpt").exists()


def test_metrics_are_counted_over_all_validation_pictures(tmp_path: Path) -> None:
    data = Batches(5, batch_size=7)
    tuner = trained(tiny(), recipe(batch_size=7), tmp_path, data)
    model = tuner.model.eval()
    with torch.inference_mode():
        logits = model(data.x)
    right = (logits.argmax(1) == data.y).float().mean().item()
    rows = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    found = dict(zip(rows[0], map(float, rows[1]), strict=True))
    assert found["val_top1"] == pytest.approx(right)
    assert found["val_top5"] == 1.0
    assert found["val_loss"] == pytest.approx(F.cross_entropy(logits, data.y).item(), rel=1e-5)
    assert found["train_loss"] == pytest.approx(
        sum(7 * x for x in tuner.losses[:5]) / 40 + tuner.losses[5] / 8, rel=1e-5
    )
    assert found["images_per_second"] > 0


@pytest.mark.parametrize(
    ("fields", "pictures", "world", "parts", "expected"),
    [
        ({"batch_size": 12}, 100, 2, 3, 2),
        ({"batch_size": 12}, 11, 1, 1, "batch_size 12 is more than the 11 training pictures"),
        ({"batch_size": 10}, 100, 4, 1, "cannot be shared by 4 devices in 1 parts each; give a multiple of 4"),
        ({"batch_size": 6, "mixup": 1.0}, 100, 2, 1, "each device gets 3 pictures at once; make that even"),
    ],
)
def test_how_a_batch_is_shared(fields: dict[str, Any], pictures: int, world: int, parts: int, expected: Any) -> None:
    if isinstance(expected, int):
        assert batch_size(recipe(**fields), pictures, world, parts) == expected
    else:
        with pytest.raises(TrainingError, match=expected):
            batch_size(recipe(**fields), pictures, world, parts)


def test_as_few_parts_as_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model that has no room for more than 5 pictures: Lightning's tuner finds it out, 4 go into 12 three times."""

    class Small(FineTuner):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            if len(batch[0]) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().training_step(batch, batch_idx)

    monkeypatch.chdir(tmp_path)
    settings = recipe(accumulate="auto", batch_size=12)
    data = Batches(24, batch_size=12)
    with quiet():
        assert parts_of_a_step(settings, Machines(accelerator="cpu"), Small(tiny(), settings, GOAL), data) == 3
        assert parts_of_a_step(settings, Machines(accelerator="cpu"), FineTuner(tiny(), settings, GOAL), data) == 1
    assert not list(tmp_path.iterdir())  # nothing is left in the working folder
    with pytest.raises(TrainingError, match="accumulate auto is for one device"):
        parts_of_a_step(settings, Machines(devices=2), FineTuner(tiny(), settings, GOAL), data)
