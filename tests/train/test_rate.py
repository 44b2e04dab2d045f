"""The learning rate that is looked for: what it is, that looking changes nothing else, and where it is said."""

import math
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from training import RUN, run, write_model, write_pictures

import vitzoo
from vitzoo.errors import TrainingError
from vitzoo.registry.recipes import load_recipe
from vitzoo.train.module import make_optimizer
from vitzoo.train.network import build
from vitzoo.train.rate import CURVE, STEPS, Searching, chosen, smoothed


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))
    return write_model(tmp_path / "tiny.safetensors"), write_pictures(tmp_path / "data", 5)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("adamw_layer_decay", {}),
        ("linear_probe", {"lr": 1e-6, "min_lr": 1e-8}),
        ("lora", {"lora_rank": 2, "min_lr": 0.0}),
    ],
)
def test_a_run_with_the_found_rate_is_the_run_of_its_recipe(
    recipe: str, changes: dict[str, float], start: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = run(*start, tmp_path / "found", recipe, **changes, find_lr=True)
    kept = load_recipe(tmp_path / "found" / "recipe.yaml")
    fields = {name: value for name, value in RUN.items() if name not in ("accelerator", "num_workers")}
    before = load_recipe(recipe, **{**fields, **changes})
    assert f"learning rate {kept.lr:g}, found by " in capfd.readouterr().err
    assert kept.lr != before.lr
    assert kept.min_lr / kept.lr == pytest.approx(before.min_lr / before.lr)
    assert f"({CURVE})" in (tmp_path / "found" / "report.md").read_text()
    plain = run(*start, tmp_path / "plain", tmp_path / "found" / "recipe.yaml", val_fraction=kept.val_fraction)
    for name, tensor in vitzoo.create(found).state_dict().items():
        assert torch.equal(tensor, vitzoo.create(plain).state_dict()[name]), name
    (tmp_path / "found" / "model.safetensors").unlink()
    run(*start, tmp_path / "found", recipe, **changes, find_lr=True, resume=True)
    assert load_recipe(tmp_path / "found" / "recipe.yaml") == kept
    assert "found by" not in capfd.readouterr().err


def test_layers_keep_their_share_of_the_rate(start: tuple[Path, Path]) -> None:
    """The test sets one rate for all groups; the step itself has each layer's own."""
    recipe = load_recipe("adamw_layer_decay", optimizer="momentum", optimizer_args={"momentum": 0.0}, weight_decay=0.0)
    vit = build(start[0], recipe, ("a", "b"))
    from vitzoo.spec import TaskKind
    from vitzoo.train.goal import Goal

    searching = Searching(vit, recipe, Goal(TaskKind.CLASSES, ("a", "b"), (10, 10), 640))
    own = [group["lr"] / recipe.lr for group in make_optimizer(vit, recipe).param_groups]
    assert len(set(own)) > 1
    optimizer = searching.configure_optimizers()["optimizer"]
    before = [group["params"][0].detach().clone() for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.5
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for group, old, share in zip(optimizer.param_groups, before, own, strict=True):
        torch.testing.assert_close(old - group["params"][0], torch.full_like(old, 0.5 * share))
        assert group["lr"] == pytest.approx(0.5)


def test_what_is_chosen() -> None:
    tried = [10.0**power for power in range(-6, 1)]
    assert chosen(tried, [2.0, 2.0, 1.9, 1.2, 1.0, 5.0, math.nan]) == pytest.approx(1e-3)
    for losses in ([1.0, 1.1, 2.0], [math.nan] * 3, [1.0]):
        with pytest.raises(TrainingError, match="no learning rate was found that lowers the loss"):
            chosen(tried[: len(losses)], losses)
    assert STEPS == 100


def test_losses_are_smoothed_from_what_they_were() -> None:
    from lightning.pytorch.tuner.lr_finder import _LRCallback

    theirs, losses = _LRCallback(5), [2.0, 1.0, 3.0, 0.5]
    for step, loss in enumerate(losses, 1):
        trainer = Mock(global_step=step, accumulate_grad_batches=1, fit_loop=Mock(batch_idx=step))
        theirs.on_train_batch_end(trainer, Mock(), torch.tensor(loss), None, step)
    weights = [[0.9 ** (end - i) for i in range(end + 1)] for end in range(4)]
    means = [sum(w * x for w, x in zip(row, losses[: len(row)], strict=True)) / sum(row) for row in weights]
    assert smoothed(theirs.losses) == pytest.approx(means)


def test_one_device_looks(start: tuple[Path, Path], tmp_path: Path) -> None:
    from vitzoo.train.rate import searched
    from vitzoo.train.trainer import Machines

    with pytest.raises(TrainingError, match="on one device"):
        searched(None, None, None, Machines(devices=2), 1, tmp_path)  # type: ignore[arg-type]
