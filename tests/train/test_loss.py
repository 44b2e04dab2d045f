"""What a picture costs, beside torch's and timm's losses; no two options are right alone and wrong together."""

from itertools import combinations, islice
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from tiny import SMALLEST
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

import vitzoo
from vitzoo.registry.recipes import Loss, Recipe, load_recipe
from vitzoo.spec import TaskKind
from vitzoo.train.augment import training_transform
from vitzoo.train.datamodule import EpochSampler
from vitzoo.train.goal import Goal
from vitzoo.train.loss import COSTS, ClassLoss, LabelLoss, NumberLoss, balanced, graded
from vitzoo.train.module import FineTuner, make_optimizer, seed_step
from vitzoo.train.network import build

CLASSES, BATCH = 5, 16


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    return 3 * torch.randn(BATCH, CLASSES, generator=generator), targets


def mix(targets: Tensor, part: float) -> Tensor:
    rows = F.one_hot(targets, CLASSES).float()
    return part * rows + (1 - part) * rows.flip(0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_those_of_timm(smoothing: float) -> None:
    logits, targets = drawn()
    smoothed = mix(targets, 0.3) * (1 - smoothing) + smoothing / CLASSES
    plain = ClassLoss(Loss.CROSS_ENTROPY, smoothing)
    torch.testing.assert_close(plain(logits, targets).mean(), LabelSmoothingCrossEntropy(smoothing)(logits, targets))
    torch.testing.assert_close(plain(logits, mix(targets, 0.3)).mean(), SoftTargetCrossEntropy()(logits, smoothed))
    each = ClassLoss(Loss.BCE, smoothing)
    torch.testing.assert_close(each(logits, targets).mean(), BinaryCrossEntropy(smoothing)(logits, targets))
    torch.testing.assert_close(each(logits, mix(targets, 0.3)).mean(), BinaryCrossEntropy()(logits, smoothed))


def test_the_focal_loss_of_two_classes_is_torchvisions() -> None:
    """Which has one number for both: softmax of (0, x) is sigmoid(x)."""
    x, targets = drawn()[0][:, 0], torch.arange(BATCH) % 2
    ours = ClassLoss(Loss.FOCAL)(torch.stack((torch.zeros_like(x), x), 1), targets)
    torch.testing.assert_close(ours, sigmoid_focal_loss(x, targets.float(), alpha=-1))


def test_balanced_weights_make_each_class_count_the_same() -> None:
    counts = [1, 2, 5, 4, 8]
    torch.testing.assert_close(balanced(counts) * torch.tensor(counts), torch.full((5,), sum(counts) / 5))
    logits, targets = torch.randn(20, CLASSES), torch.tensor([i for i, n in enumerate(counts) for _ in range(n)])
    by_class = [F.cross_entropy(logits[targets == c], targets[targets == c]) for c in range(CLASSES)]
    found = ClassLoss(Loss.CROSS_ENTROPY, weights=balanced(counts))(logits, targets).mean()
    torch.testing.assert_close(found, torch.stack(by_class).mean())


@given(
    st.sampled_from(list(COSTS)),
    st.floats(0, 0.5),
    st.lists(st.floats(0.01, 100), min_size=CLASSES, max_size=CLASSES),
    st.floats(0, 1),
)
def test_a_weight_multiplies_what_its_class_costs(
    kind: Loss, smoothing: float, weights: list[float], part: float
) -> None:
    """Whatever the loss, the smoothing and the mixture: the cost of a mixture is that of its parts, each weighted."""
    logits, targets = drawn()
    plain, weighted = ClassLoss(kind, smoothing), ClassLoss(kind, smoothing, torch.tensor(weights))
    of = torch.tensor(weights)[targets]
    expected = part * of * plain(logits, targets) + (1 - part) * of.flip(0) * plain(logits, targets.flip(0))
    torch.testing.assert_close(weighted(logits, mix(targets, part)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0, 4.0, 30.0]])
def test_losses_of_labels_are_torchs_and_torchvisions(weights: list[float] | None) -> None:
    logits, targets = drawn()[0], (drawn(1)[0] > 0).float()
    weight = None if weights is None else torch.tensor(weights)
    expected = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none").mean(1)
    torch.testing.assert_close(LabelLoss(Loss.BCE, weights=weight)(logits, targets), expected)
    if weights is None:
        focal = sigmoid_focal_loss(logits, targets, alpha=-1).mean(1)
        torch.testing.assert_close(LabelLoss(Loss.FOCAL)(logits, targets), focal)


@given(st.sampled_from([Loss.BCE, Loss.FOCAL]), st.floats(0, 0.5), st.floats(0.01, 100))
def test_a_weight_multiplies_what_a_label_costs_that_is_there(kind: Loss, smoothing: float, weight: float) -> None:
    logits, there = drawn()[0][:, :1], torch.ones(BATCH, 1)
    plain, weighted = LabelLoss(kind, smoothing), LabelLoss(kind, smoothing, torch.tensor([weight]))
    torch.testing.assert_close(weighted(logits, there), weight * plain(logits, there), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted(logits, 0 * there), plain(logits, 0 * there))


@pytest.mark.parametrize(("kind", "peer"), [(Loss.MSE, F.mse_loss), (Loss.SMOOTH_L1, F.smooth_l1_loss)])
def test_losses_of_numbers_are_torchs_in_units_of_their_spread(kind: Loss, peer: Any) -> None:
    outputs, truth = torch.randn(BATCH, 2), torch.randn(BATCH, 2)
    truth = truth * torch.tensor([5.0, 0.1]) + torch.tensor([100.0, 3.0])
    middle, spread = truth.mean(0), truth.std(0)
    found = NumberLoss(kind, middle, spread)(outputs, truth)
    torch.testing.assert_close(found, peer(outputs, (truth - middle) / spread, reduction="none").mean(1))


def test_the_target_of_a_grade_falls_on_both_sides() -> None:
    soft = graded(5)
    torch.testing.assert_close(soft.sum(1), torch.ones(5))
    assert soft[2, 1] == soft[2, 3] > soft[2, 0]
    logits, targets = drawn()
    torch.testing.assert_close(
        ClassLoss(Loss.CROSS_ENTROPY, soft=soft)(logits, targets),
        F.cross_entropy(logits, soft[targets], reduction="none"),
    )


# Every pair of options, on a task that each of them learns alone.

COUNTS = (90, 9)
OPTIONS: dict[str, dict[str, Any]] = {
    "bce": {"loss": "bce"},
    "focal": {"loss": "focal"},
    "balanced": {"class_weights": "balanced"},
    "own": {"class_weights": {"blue": 15.0}},
    "sampling": {"sampling": "balanced"},
    "smoothing": {"label_smoothing": 0.3},
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "flips": {"hflip": 0.5, "vflip": 0.5},
    "crop": {"crop_scale": (0.35, 1.0)},
    "shift": {"crop_padding": 2},
    "colours": {"color_jitter": 0.4},
    "policy": {"auto_augment": "augmix-m3-w3"},
    "erasing": {"random_erasing": 0.25},
    "paths": {"drop_path_rate": 0.2},
    "patches": {"patch_drop_rate": 0.25},
}
APART = ({"bce", "focal"}, {"balanced", "own"}, {"balanced", "sampling"}, {"crop", "shift"})
"""Of which a recipe takes one."""
SPEC = {**SMALLEST, "hidden_dim": 16, "depth": 2, "num_classes": 2}


def coloured(kind: int, random: np.random.Generator) -> Image.Image:
    """A picture of 16 px, reddish or bluish, with noise."""
    middle = np.array(((150, 110, 110), (110, 110, 150))[kind])
    return Image.fromarray((middle + random.normal(0, 20, (16, 16, 3))).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Image.Image, int]]:
    random = np.random.default_rng(0)
    return [(coloured(kind, random), kind) for kind, count in enumerate(COUNTS) for _ in range(count)]


def recognised(settings: Recipe, pictures: list[tuple[Image.Image, int]], steps: int = 50) -> float:
    """The part of the worse class that is recognised after some steps without Lightning."""
    vit = build(vitzoo.create(vitzoo.ViTSpec(**SPEC), generator=0), settings, ("red", "blue"))
    goal = Goal(TaskKind.CLASSES, ("red", "blue"), COUNTS, sum(COUNTS))
    tuner, transform = FineTuner(vit, settings, goal), training_transform(vit, settings)
    optimizer = make_optimizer(vit, settings)
    seed_step(0)
    seen = [(torch.stack([transform(picture) for picture, _ in pictures])) for _ in range(2)]
    targets = torch.tensor([kind for _, kind in pictures])
    shares = 1 / torch.tensor(COUNTS)[targets] if settings.sampling == "balanced" else None
    sampler = EpochSampler(len(targets), settings.batch_size, 0, shares=shares)
    for step in range(steps):
        sampler.set_epoch(step)
        places = [i for _, i in islice(sampler, settings.batch_size)]
        loss = tuner.training_step((seen[step % 2][places], targets[places]), step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
        optimizer.step()
    random, prepare = np.random.default_rng(1), vitzoo.preprocess(vit)
    with torch.inference_mode():
        guesses = [
            vit.eval()(torch.stack([prepare(coloured(kind, random)) for _ in range(20)])).argmax(1) for kind in (0, 1)
        ]
    return min(float((found == kind).float().mean()) for kind, found in enumerate(guesses))


PLAIN = {"lr": 2e-2, "warmup_epochs": 0, "epochs": 1, "batch_size": 32, "label_smoothing": 0.0}
PLAIN |= {"crop_scale": None, "hflip": 0.0}
SETS = [
    names
    for count in (1, 2)
    for names in combinations(OPTIONS, count)
    if not any(apart <= set(names) for apart in APART)
]


@pytest.mark.parametrize("names", SETS, ids=" ".join)
def test_options_that_are_right_alone_are_right_together(
    names: tuple[str, ...], pictures: list[tuple[Image.Image, int]]
) -> None:
    fields: dict[str, Any] = {**PLAIN}
    for name in names:
        fields |= OPTIONS[name]
    assert recognised(load_recipe("full", **fields), pictures) >= 0.9


def test_control_targets_that_are_smoothed_before_they_are_weighted_turn_the_classes_over(
    pictures: list[tuple[Image.Image, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch does it: `F.cross_entropy` with weights and label smoothing."""

    def loss(self: FineTuner, logits: Tensor, targets: Tensor, weights: None) -> Tensor:
        return F.cross_entropy(logits, targets, self.objective.weights, reduction="none", label_smoothing=0.3).mean()

    monkeypatch.setattr(FineTuner, "loss", loss)
    assert recognised(load_recipe("full", **PLAIN, class_weights="balanced"), pictures) < 0.1
