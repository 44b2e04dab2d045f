"""Classifiers on vectors beside scikit-learn's and torch's own optimiser; no model and no pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from vitzoo.evaluation import linear
from vitzoo.evaluation.attention import Attentive, attended
from vitzoo.evaluation.linear import descended, held_out, regressed
from vitzoo.evaluation.probes import class_mean, linear_grid, logistic


def clouds(
    seed: int, count: int = 240, dim: int = 12, classes: int = 4, apart: float = 1.0
) -> tuple[torch.Tensor, ...]:
    """(vectors, classes) of overlapping clouds."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % classes
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99)) * apart
    return centres[targets] + torch.randn(count, dim, generator=generator), targets


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
@pytest.mark.proves(
    claim="logistic regression", against="scikit-learn `LogisticRegression`", tolerance="1e-4 of probabilities"
)
def test_logistic_regression_is_that_of_scikit_learn(strength: float) -> None:
    x, targets = clouds(0)
    queries, _ = clouds(1)
    judge = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(x.double().numpy(), targets)
    found = regressed(x, targets, 4, strength)
    assert np.allclose(found(queries).softmax(1), judge.predict_proba(queries.double().numpy()), atol=1e-4)
    elsewhere = regressed(x, targets, 4, strength, regressed(x, targets, 4, 100.0))
    assert torch.allclose(elsewhere(queries).softmax(1), found(queries).softmax(1), atol=1e-4)


def test_the_regularisation_that_is_chosen_is_about_the_best_of_scikit_learn() -> None:
    x, targets = clouds(2, 120, 40, 4, 0.5)
    queries, right = clouds(3, 1000, 40, 4, 0.5)
    unit = F.normalize(x), F.normalize(queries)
    ours = logistic(unit[0], targets, 4, unit[1], 0)
    best = max(
        LogisticRegression(C=10.0**power, max_iter=2000).fit(unit[0], targets).score(unit[1], right)
        for power in range(-6, 6)
    )
    assert float((ours.scores.argmax(1) == right).float().mean()) > best - 0.03
    assert len(ours.trials) == 18
    assert ours.trials[ours.chosen] == max(ours.trials.values())


def test_each_rate_of_the_grid_is_trained_as_torch_would_train_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closed form of the slope, and all rates at once, against autograd, SGD and its schedule."""
    monkeypatch.setattr(linear, "BATCH", 32)
    monkeypatch.setattr(linear, "STEPS", 40)
    x, targets = clouds(4, 100)
    rates = (1e-3, 0.1, 2.0)
    found = descended(x, targets, 4, rates, seed=7)
    for rate, ours in zip(rates, found, strict=True):
        generator = torch.Generator().manual_seed(7)
        weight = (torch.randn(4, 12, generator=generator) * 0.01).requires_grad_()
        bias = torch.zeros(4, requires_grad=True)
        solver = torch.optim.SGD([weight, bias], lr=rate * 32 / 256, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(solver, 40)
        for chosen in linear.batches(100, 40, generator):
            solver.zero_grad()
            F.cross_entropy(F.linear(x[chosen], weight, bias), targets[chosen]).backward()
            solver.step()
            schedule.step()
        assert torch.allclose(ours.weight, weight, atol=1e-5), rate
        assert torch.allclose(ours.bias, bias, atol=1e-5), rate


def test_the_grid_finds_the_input_that_knows() -> None:
    """Only the mean of the patches, the last part, tells the classes apart."""
    x, targets = clouds(5, 400)
    noise = torch.randn(400, 4, 12, generator=torch.Generator().manual_seed(0))
    parts = torch.cat([noise, x[:, None]], 1)
    found = linear_grid(parts[:300], targets[:300], 4, parts[300:], 0)
    assert "with mean" in found.chosen
    assert len(found.trials) == 4 * 13
    right = float((found.scores.argmax(1) == targets[300:]).float().mean())
    judge = LogisticRegression(max_iter=2000).fit(x[:300], targets[:300]).score(x[300:], targets[300:])
    assert right > judge - 0.1
    alone = linear_grid(parts[:300, :1], targets[:300], 4, parts[300:, :1], 0)
    assert {name.split(",")[0] for name in alone.trials} == {"last block"}


def test_class_means_are_those_of_scikit_learn() -> None:
    x, targets = clouds(6, 20)
    queries, _ = clouds(7)
    centre = x.mean(0)
    unit = F.normalize(x - centre).numpy(), F.normalize(queries - centre).numpy()
    judge = NearestCentroid().fit(unit[0], targets)
    found = class_mean(x, targets, 4, queries, 0)
    assert found.scores.argmax(1).tolist() == judge.predict(unit[1]).tolist()
    more = class_mean(x, targets, 6, queries, 0)  # classes without a picture are never taken
    assert more.scores[:, 4:].isneginf().all()
    assert torch.equal(more.scores[:, :4], found.scores)


def test_an_attentive_probe_finds_the_token_that_knows() -> None:
    """One token of nine, anywhere, bears the class: an average can hardly see it."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(600) % 3
    tokens = torch.randn(600, 9, 16, generator=generator)
    marks = torch.eye(16)[:3] * 6 + torch.eye(16)[15] * 6
    tokens[torch.arange(600), torch.randint(9, (600,), generator=generator)] += marks[targets]
    probe = attended(tokens[:400], targets[:400], 3, 1, 3e-3, 0)
    right = float((probe(tokens[400:]).argmax(1) == targets[400:]).float().mean())
    means = tokens.mean(1).numpy()
    judge = LogisticRegression(max_iter=1000).fit(means[:400], targets[:400]).score(means[400:], targets[400:])
    assert right > 0.95
    assert right > judge
    again = attended(tokens[:400], targets[:400], 3, 1, 3e-3, 0)
    assert torch.equal(probe(tokens), again(tokens))


def test_attention_is_that_of_torch() -> None:
    probe = Attentive(16, 3, 4).begin(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(probe.fc.weight)
    judge = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        judge.in_proj_weight.copy_(torch.cat([torch.eye(16), probe.kv.weight]))
        judge.in_proj_bias.zero_()
        judge.out_proj.weight.copy_(probe.proj.weight)
        judge.out_proj.bias.copy_(probe.proj.bias)
    x = torch.randn(5, 9, 16)
    seen, _ = judge(probe.query.expand(5, 1, 16), probe.norm(x), probe.norm(x))
    assert torch.allclose(probe(x), probe.fc(seen[:, 0]), atol=1e-5)


def test_pictures_to_choose_by_are_a_part_of_each_class() -> None:
    targets = torch.tensor([0] * 10 + [1] * 3 + [2] * 2)
    fit, choose = held_out(targets, 0.2, 0)
    assert sorted([*fit.tolist(), *choose.tolist()]) == list(range(15))
    assert targets[choose].bincount().tolist() == [2, 1, 1]
    assert torch.equal(held_out(targets, 0.2, 0)[1], choose)
    assert any(not torch.equal(held_out(targets, 0.2, seed)[1], choose) for seed in (1, 2))
