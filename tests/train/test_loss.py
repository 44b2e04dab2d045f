"""What a picture costs, beside torch's and timm's losses; no two options are right alone and wrong together."""

from itertools import combinations
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
from vitzoo.train.augment import training_transform
from vitzoo.train.loss import COSTS, ClassLoss, balanced
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


# Every pair of options, on a task that each of them learns alone.

COUNTS = (90, 6)
OPTIONS: dict[str, dict[str, Any]] = {
    "bce": {"loss": "bce"},
    "focal": {"loss": "focal"},
    "balanced": {"class_weights": "balanced"},
    "smoothing": {"label_smoothing": 0.2},
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
APART = ({"bce", "focal"}, {"crop", "shift"})
"""Of which a recipe takes one."""
SPEC = {**SMALLEST, "hidden_dim": 16, "depth": 2, "num_classes": 2}


def coloured(kind: int, random: np.random.Generator) -> Image.Image:
    """A picture of 16 px, reddish or bluish, with noise."""
    middle = np.array(((150, 110, 110), (110, 110, 150))[kind])
    return Image.fromarray((middle + random.normal(0, 30, (16, 16, 3))).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Image.Image, int]]:
    random = np.random.default_rng(0)
    return [(coloured(kind, random), kind) for kind, count in enumerate(COUNTS) for _ in range(count)]


def recognised(settings: Recipe, pictures: list[tuple[Image.Image, int]], steps: int = 50) -> float:
    """The part of the worse class that is recognised after some steps without Lightning."""
    vit = build(vitzoo.create(vitzoo.ViTSpec(**SPEC), generator=0), settings, ("red", "blue"))
    tuner, transform = FineTuner(vit, settings, COUNTS), training_transform(vit, settings)
    optimizer = make_optimizer(vit, settings)
    seed_step(0)
    seen = [(torch.stack([transform(picture) for picture, _ in pictures])) for _ in range(2)]
    targets = torch.tensor([kind for _, kind in pictures])
    for step in range(steps):
        places = torch.randperm(len(targets))[: settings.batch_size]
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

    def loss(self: FineTuner, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, self.class_loss.weights, reduction="none", label_smoothing=0.2).mean()

    monkeypatch.setattr(FineTuner, "loss", loss)
    assert recognised(load_recipe("full", **PLAIN, class_weights="balanced"), pictures) < 0.1
