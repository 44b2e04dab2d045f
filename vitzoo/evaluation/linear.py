"""Linear classifiers on vectors: DINOv2's grid, trained in one pass, and logistic regression. No model, no pictures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)
"""Of DINOv2's grid (facebookresearch/dinov2, eval/linear.py), for 256 pictures a step."""
BATCH, EPOCHS, STEPS = 128, 10, 1250
"""Pictures of a step, and the fewest epochs and steps. Theirs are ten epochs, too, of 1,250 steps each."""
MOMENTUM = 0.9
SPREAD = 0.01  # of the weights before the first step
STRENGTHS = tuple(10.0**power for power in range(-6, 6))
"""Of DINOv2's logistic regression (eval/log_regression.py), which has 45 of them over this range."""
FINER = tuple(10.0 ** (quarter / 4) for quarter in (-3, -2, -1, 1, 2, 3))
"""Factors to try around the best: with them the steps are as fine as theirs."""


@dataclass(frozen=True)
class Linear:
    """A linear classifier."""

    weight: Tensor
    """(classes, dim)"""
    bias: Tensor
    """(classes,)"""

    def __call__(self, x: Tensor) -> Tensor:
        """(pictures, dim) -> (pictures, classes) logits"""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).float()


@torch.no_grad()
def descended(x: Tensor, targets: Tensor, classes: int, rates: Sequence[float], seed: int) -> tuple[Linear, ...]:
    """A classifier for each learning rate, all trained on the same batches at once: SGD, momentum, cosine, no decay.

    Args:
        x: (pictures, dim)
        targets: (pictures,)
        rates: for 256 pictures a step, as DINOv2 states them.
    """
    generator, many = torch.Generator().manual_seed(seed), len(rates)
    start = torch.randn(classes, x.shape[1], generator=generator) * SPREAD
    weight, bias = start.repeat(many, 1).to(x.device), torch.zeros(many * classes, device=x.device)
    speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
    peak = torch.tensor(rates, device=x.device).repeat_interleave(classes) * BATCH / 256
    steps = max(EPOCHS * max(1, len(x) // BATCH), STEPS)
    for step, chosen in enumerate(batches(len(x), steps, generator)):
        batch, right = x[chosen], targets[chosen]
        slope = F.linear(batch, weight, bias).view(-1, many, classes).softmax(2)
        slope.scatter_add_(2, right[:, None, None].expand(-1, many, 1), -slope.new_ones(len(batch), many, 1))
        slope = slope.flatten(1) / len(batch)
        speed.mul_(MOMENTUM).addmm_(slope.T, batch)
        bias_speed.mul_(MOMENTUM).add_(slope.sum(0))
        rate = peak * (1 + math.cos(math.pi * step / steps)) / 2
        weight.addcmul_(rate[:, None], speed, value=-1)
        bias.addcmul_(rate, bias_speed, value=-1)
    pairs = zip(weight.view(many, classes, -1), bias.view(many, classes), strict=True)
    return tuple(Linear(w.clone(), b.clone()) for w, b in pairs)


def batches(count: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Another order each epoch; what would fill a part of a step is left out, other pictures each epoch."""
    whole = max(1, count // BATCH)
    while steps > 0:
        order = torch.randperm(count, generator=generator)
        yield from (order[i * BATCH : (i + 1) * BATCH] for i in range(min(whole, steps)))
        steps -= whole


def regressed(x: Tensor, targets: Tensor, classes: int, strength: float, start: Linear | None = None) -> Linear:
    """Multinomial logistic regression: strength * sum of losses + |weight|^2 / 2 at its least, by L-BFGS in fp64.

    `strength` is scikit-learn's C; the bias is free, as it is there. `start` is where to begin; the end is the same.
    """
    x = x.double()
    shape = (classes, x.shape[1])
    weight = torch.zeros(shape, dtype=torch.float64) if start is None else start.weight.double().clone()
    bias = torch.zeros(classes, dtype=torch.float64) if start is None else start.bias.double().clone()
    for parameter in (weight, bias):
        parameter.requires_grad_()
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=1000,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), targets) + weight.square().sum() / (2 * strength * len(x))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return Linear(weight.detach(), bias.detach())


def best_of(scores: Mapping[str, float]) -> str:
    """The name with the highest score, of equals the first."""
    return max(scores, key=lambda name: scores[name])


def accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(1) == targets).double().mean())


def present(targets: Tensor) -> list[int]:
    """The classes that there are pictures of."""
    return torch.nonzero(targets.bincount()).flatten().tolist()


def held_out(targets: Tensor, part: float, seed: int) -> tuple[Tensor, Tensor]:
    """(places to fit on, places to choose by): `part` of each class, one at least where it has two pictures."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for target in present(targets):
        members = torch.nonzero(targets == target).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        chosen.append(members[: min(max(round(len(members) * part), 1), len(members) - 1)])
    mask = torch.zeros(len(targets), dtype=torch.bool)
    mask[torch.cat(chosen)] = True
    return torch.nonzero(~mask).flatten(), torch.nonzero(mask).flatten()
