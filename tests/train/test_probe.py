"""Features that are computed once, and what is trained on them, against the whole model on the pictures themselves."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from training import SPEC, run, write_model, write_pictures

import vitzoo
from vitzoo.data.pictures import Pictures
from vitzoo.registry.recipes import load_recipe
from vitzoo.train import finetuning
from vitzoo.train.datamodule import PictureData
from vitzoo.train.probe import FeatureData, FeatureDataset, cacheable, features, pooled

VARIANTS = {
    "class token": {},
    "average, norm after the pool": {"pool": "avg", "final_norm": "pooled"},
    "class token and average": {"pool": "cls_avg"},
    "attention pooling": {"pool": "map"},
    "a tanh layer before the classifier": {"head": "pre_logits"},
    "distilled": {"dist_token": True, "pool": "cls_dist", "head": "distilled"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "colours")


def pictures(folder: Path, **overrides: object) -> PictureData:
    model = vitzoo.create(vitzoo.ViTSpec(**SPEC))
    return PictureData(folder, load_recipe("linear_probe", **overrides), num_workers=0).adapt_to(model)


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_the_head_on_features_is_the_model_on_pictures(tmp_path: Path, data: Path, fields: dict[str, object]) -> None:
    vit = vitzoo.create(write_model(tmp_path / "tiny.safetensors", **fields))
    opened = pictures(data).adapt_to(vit)
    found = features(vit, opened.val_pictures, batch_size=2)
    batch = torch.stack([opened.val_dataset[i][0] for i in range(len(opened.val_dataset))])
    with torch.inference_mode():
        assert torch.allclose(vit.head(found.pooled), vit(batch), atol=1e-6)
        expected = vit.forward_head(vit.forward_features(batch), pre_logits=True)
        assert torch.allclose(vit.head.features(pooled(vit, batch)), expected, atol=1e-6)
    assert found.targets.tolist() == opened.val_pictures.targets.tolist()


def test_each_picture_goes_through_the_model_once(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    read = Pictures.read

    def counted(self: Pictures, i: int, *rest: Any) -> object:
        seen[self.names[i]] += 1
        return read(self, i, *rest)

    start = write_model(tmp_path / "tiny.safetensors")
    pictures(data)  # checks that all can be read
    monkeypatch.setattr(Pictures, "read", counted)
    monkeypatch.setattr(finetuning, "write_report", lambda *_: None)
    run(start, data, tmp_path / "out", "linear_probe", epochs=7)

    assert set(seen.values()) == {1}
    assert len(seen) == 30


def test_a_run_on_features_is_a_run_on_pictures(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = write_model(tmp_path / "tiny.safetensors")
    fast = load_file(run(start, data, tmp_path / "fast", "linear_probe", epochs=3, lr=0.01))
    monkeypatch.setattr(finetuning, "cacheable", lambda recipe: False)
    slow = load_file(run(start, data, tmp_path / "slow", "linear_probe", epochs=3, lr=0.01))

    assert fast.keys() == slow.keys()
    for key, value in fast.items():
        assert torch.allclose(value, slow[key], atol=1e-5), key
    before = load_file(start)
    assert all(torch.equal(before[key], value) for key, value in fast.items() if not key.startswith("head."))
    assert fast["head.fc.weight"].abs().max() > 0.01
    monkeypatch.setattr(finetuning, "cacheable", cacheable)
    other = load_file(run(start, data, tmp_path / "other", "linear_probe", epochs=3, lr=0.02))
    assert not torch.allclose(fast["head.fc.weight"], other["head.fc.weight"], atol=1e-3)  # the control


def test_enough_epochs_reach_the_least_loss_that_there_is(tmp_path: Path, data: Path) -> None:
    """Multinomial regression is convex: L-BFGS, which shares no code with the run, finds the same minimum."""
    start = write_model(tmp_path / "tiny.safetensors")
    options = {"weight_decay": 0.0, "label_smoothing": 0.2, "batch_size": 24, "lr": 0.1, "clip_norm": None}
    out = run(start, data, tmp_path / "out", "linear_probe", epochs=120, **options)
    opened = pictures(data, val_fraction=0.2)
    vit = vitzoo.create(out)
    x, targets = features(vit, opened.train_pictures)

    weight, bias = torch.zeros(3, 16, requires_grad=True), torch.zeros(3, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe")

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=0.2)

    def closure() -> torch.Tensor:
        solver.zero_grad()
        value = loss(F.linear(x, weight, bias))
        value.backward()
        return value

    solver.step(closure)
    with torch.inference_mode():
        assert float(loss(vit.head(x))) == pytest.approx(float(loss(F.linear(x, weight, bias))), abs=2e-3)


@pytest.mark.parametrize(
    "change",
    [{"hflip": 0.5}, {"crop_scale": (0.5, 1.0)}, {"mixup": 0.2}, {"random_erasing": 0.1}, {"drop_path_rate": 0.1}],
)
def test_what_changes_from_epoch_to_epoch_is_not_cached(change: dict[str, object]) -> None:
    assert cacheable(load_recipe("linear_probe"))
    assert not cacheable(load_recipe("linear_probe", **change))
    assert not cacheable(load_recipe("full", crop_scale=None, hflip=0.0, clip_norm=None))


def test_batches_of_features_follow_the_epoch(tmp_path: Path, data: Path) -> None:
    vit = vitzoo.create(write_model(tmp_path / "tiny.safetensors"))
    seen = FeatureData(pictures(data, batch_size=8, val_fraction=0.2), vit)
    loader = seen.train_dataloader()
    batches = list(loader)
    assert [len(targets) for _, targets in batches] == [8, 8, 8]
    loader.sampler.set_epoch(1)
    assert not torch.equal(batches[0][1], next(iter(loader))[1])
    one, target = FeatureDataset(seen.train_features)[5]
    assert torch.equal(one, seen.train_features.pooled[5])
    assert target == seen.train_features.targets[5]


def test_features_of_a_model_that_is_trained_are_those_of_evaluation(tmp_path: Path, data: Path) -> None:
    vit = vitzoo.create(write_model(tmp_path / "tiny.safetensors"), drop_path_rate=0.5)
    opened = pictures(data)
    quiet = features(vit.eval(), opened.val_pictures)
    assert torch.equal(features(vit.train(), opened.val_pictures).pooled, quiet.pooled)
    assert vit.training
