"""Each metric is scikit-learn's on the same predictions; what that calls 0 or nan for want of pictures is said."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from evaluated import NAMES, drawn, evaluation
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from vitzoo.evaluation.classes import ClassEvaluation
from vitzoo.evaluation.labels import LabelEvaluation
from vitzoo.evaluation.numbers import NumberEvaluation
from vitzoo.evaluation.result import Evaluation

NAN = float("nan")


CASES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 8), st.booleans())


def agrees(found: Evaluation, name: str, judge: Callable[[], float]) -> None:
    """Ours is the judge's; where the judge has no value, ours is undefined, with a reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = judge()
    if math.isfinite(expected):
        assert found.metrics[name] == pytest.approx(expected, abs=1e-6), name
    else:
        assert name not in found.metrics
        assert found.undefined[name]
        assert found.to_dict()[name] is None


def over_defined(metric: Callable[..., float], truth: np.ndarray, values: np.ndarray, both: bool) -> float:
    """The mean over the columns in which the truth has positives, and others too if the metric needs `both`."""
    columns = [c for c in range(values.shape[1]) if truth[:, c].any() and not (both and truth[:, c].all())]
    return float(np.mean([metric(truth[:, c], values[:, c]) for c in columns])) if columns else NAN


@given(CASES)
@pytest.mark.proves(
    claim="metrics of a classifier, also where classes have no pictures", against="scikit-learn", tolerance="1e-6"
)
def test_metrics_of_classes_are_those_of_scikit_learn(case: tuple[int, int, int, bool]) -> None:
    targets, scores, _ = drawn(*case)
    found = evaluation(ClassEvaluation, targets, scores)
    classes = scores.shape[1]
    guess, given_, onehot = scores.argmax(1), found.probabilities.numpy(), np.eye(classes)[targets] > 0
    options = {"average": "macro", "zero_division": NAN, "labels": range(classes)}

    agrees(found, "top1", lambda: sk.accuracy_score(targets, guess))
    agrees(found, "balanced_accuracy", lambda: sk.balanced_accuracy_score(targets, guess))
    agrees(found, "precision", lambda: sk.precision_score(targets, guess, **options))
    agrees(found, "recall", lambda: sk.recall_score(targets, guess, **options))
    agrees(found, "f1", lambda: sk.f1_score(targets, guess, **options))
    agrees(found, "log_loss", lambda: sk.log_loss(targets, given_.astype(float), labels=range(classes)))
    agrees(found, "auroc", lambda: over_defined(sk.roc_auc_score, onehot, given_, True))
    agrees(found, "mean_average_precision", lambda: over_defined(sk.average_precision_score, onehot, given_, False))
    in_order = scores - np.arange(classes) * 1e-4  # of equal scores the first class
    agrees(
        found,
        "top5",
        lambda: sk.top_k_accuracy_score(targets, in_order, k=5, labels=range(classes)) if classes > 5 else NAN,
    )
    if not (found.sureness == 1).any():  # torchmetrics puts these into a bin of their own
        judge = multiclass_calibration_error(found.probabilities, found.targets, classes, n_bins=15)
        assert found.calibration_error == pytest.approx(float(judge), abs=1e-5)
    names = {NAMES[c] for c in np.unique(targets)}
    assert {row.name for row in found.rows} == names
    matrix = sk.confusion_matrix(targets, guess, labels=range(classes))
    for pair in found.confusions:
        assert matrix[NAMES.index(pair.name), NAMES.index(pair.predicted)] == pair.pictures
    assert sum(pair.pictures for pair in found.confusions) == matrix.sum() - matrix.trace()
    if len(names) < classes:
        assert any(f"no pictures of {classes - len(names)} of {classes} classes" in note for note in found.notes)


@given(CASES)
def test_each_class_has_the_metrics_of_scikit_learn(case: tuple[int, int, int, bool]) -> None:
    targets, scores, _ = drawn(*case)
    found = evaluation(ClassEvaluation, targets, scores)
    classes, given_ = scores.shape[1], found.probabilities.numpy()
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, scores.argmax(1), labels=range(classes), zero_division=NAN
    )
    for row in found.rows:
        c = NAMES.index(row.name)
        own = targets == c
        area = NAN if own.all() else sk.roc_auc_score(own, given_[:, c])
        expected = (recall[c], precision[c], f1[c], area, sk.average_precision_score(own, given_[:, c]))
        assert row.pictures == support[c]
        assert tuple(row.metrics.values()) == pytest.approx(expected, abs=1e-6, nan_ok=True)


@given(CASES)
@pytest.mark.proves(
    claim="metrics of several labels a picture: mAP, AUROC, precision, recall, F1",
    against="scikit-learn",
    tolerance="1e-6",
)
def test_metrics_of_labels_are_those_of_scikit_learn(case: tuple[int, int, int, bool]) -> None:
    _, scores, random = drawn(*case)
    targets = (random.random(scores.shape) < random.random(scores.shape[1])).astype(np.int64)
    limits = tuple(random.random(scores.shape[1]).tolist())
    found = evaluation(LabelEvaluation, targets, scores, thresholds=limits)
    given_ = found.probabilities.numpy()
    guess = (given_ > limits).astype(int)
    options = {"average": "macro", "zero_division": NAN}

    agrees(found, "mean_average_precision", lambda: over_defined(sk.average_precision_score, targets, given_, False))
    agrees(found, "auroc", lambda: over_defined(sk.roc_auc_score, targets, given_, True))
    agrees(found, "precision", lambda: sk.precision_score(targets, guess, **options))
    agrees(found, "recall", lambda: sk.recall_score(targets, guess, **options))
    agrees(found, "f1", lambda: sk.f1_score(targets, guess, **options))
    agrees(found, "micro_f1", lambda: sk.f1_score(targets, guess, average="micro", zero_division=NAN))
    agrees(found, "exact", lambda: sk.accuracy_score(targets, guess))
    assert [row.pictures for row in found.rows] == targets.sum(0).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 3), st.booleans())
@pytest.mark.proves(claim="metrics of numbers: MAE, RMSE, R2", against="scikit-learn", tolerance="1e-6")
def test_metrics_of_numbers_are_those_of_scikit_learn(seed: int, pictures: int, outputs: int, constant: bool) -> None:
    random = np.random.default_rng(seed)
    targets = random.normal(100, 3, size=(pictures, outputs)).astype(np.float32)
    if constant:
        targets[:, 0] = 7.3
    scores = (targets + random.normal(size=targets.shape)).astype(np.float32)
    found = evaluation(NumberEvaluation, targets, scores)
    spread = [c for c in range(outputs) if np.ptp(targets[:, c]) > 0]

    agrees(found, "mae", lambda: sk.mean_absolute_error(targets, scores))
    agrees(found, "rmse", lambda: sk.root_mean_squared_error(targets, scores))
    agrees(found, "r2", lambda: sk.r2_score(targets[:, spread], scores[:, spread]) if spread else NAN)
    assert (len(spread) < outputs) == any("R2 is undefined" in note for note in found.notes)


@given(CASES)
def test_a_picture_that_counts_twice_is_a_picture_that_is_there_twice(case: tuple[int, int, int, bool]) -> None:
    """What the bootstrap relies on."""
    targets, scores, random = drawn(*case)
    counts = random.integers(0, 4, size=len(targets))
    counts[0] = 1
    weighted = evaluation(ClassEvaluation, targets, scores).summary(counts.astype(float))
    repeated = evaluation(ClassEvaluation, np.repeat(targets, counts), np.repeat(scores, counts, 0))
    for name, value in repeated.summary(repeated.ones).items():
        assert float(weighted[name]) == pytest.approx(float(value), abs=1e-9, nan_ok=True), name
    numbers = scores[:, :2], scores[:, 1:3]
    if scores.shape[1] > 2:
        heavy = evaluation(NumberEvaluation, *numbers).summary(counts.astype(float))
        twice = evaluation(NumberEvaluation, *(np.repeat(part, counts, 0) for part in numbers))
        for name, value in twice.summary(twice.ones).items():
            assert float(heavy[name]) == pytest.approx(float(value), abs=1e-6, nan_ok=True), name


# Intervals.


def test_intervals_are_those_of_metrics_computed_draw_by_draw() -> None:
    targets, scores, _ = drawn(3, 60, 4, False)
    found = evaluation(ClassEvaluation, targets, scores, draws=200, seed=5)
    random, values = np.random.default_rng(5), []
    for rows in random.integers(60, size=(200, 60)):
        guess = scores[rows].argmax(1)
        values.append(sk.f1_score(targets[rows], guess, average="macro", zero_division=NAN))
    assert (found.intervals["f1"].low, found.intervals["f1"].high) == pytest.approx(
        tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9
    )
    for name, one in found.intervals.items():
        assert (
            one.low <= found.metrics[name] <= one.high or name == "calibration_error"
        )  # which more noise makes larger
    other = evaluation(ClassEvaluation, targets, scores, draws=200, seed=6)
    again = evaluation(ClassEvaluation, targets, scores, draws=200, seed=5)
    assert again.intervals == found.intervals != other.intervals


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        right = random.random(150) < 0.7
        scores = np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]]).astype(np.float32)
        one = evaluation(ClassEvaluation, np.zeros(150, np.int64), scores, draws=300, seed=seed).intervals["top1"]
        held += one.low <= 0.7 <= one.high
    assert 180 <= held <= 199  # 95 % of 200


def test_metrics_that_some_draws_do_not_have_say_so() -> None:
    targets = np.array([0] * 19 + [1])
    scores = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    found = evaluation(ClassEvaluation, targets, scores, draws=100)
    assert 20 < found.intervals["auroc"].undefined < 50  # (19 / 20) ** 20
    assert any("draws a metric had no value" in note and "AUROC" in note for note in found.notes)


def test_ranking_metrics_of_too_many_draws_have_no_intervals_and_the_advice_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets, scores, _ = drawn(1, 40, 6, False)
    monkeypatch.setattr("vitzoo.evaluation.result.MOST_RANKED", 40 * 6 * 60)
    found = evaluation(ClassEvaluation, targets, scores, draws=100)
    (said,) = [note for note in found.notes if note.startswith("no intervals of AUROC and mAP")]
    assert "--bootstrap 60 gives them" in said
    assert "auroc" not in found.intervals
    assert "f1" in found.intervals
    assert "auroc" in evaluation(ClassEvaluation, targets, scores, draws=60).intervals


def test_one_picture_has_no_intervals() -> None:
    found = evaluation(ClassEvaluation, np.array([1]), np.zeros((1, 3), np.float32), draws=10)
    assert found.intervals == {}
    assert "one picture has no intervals" in found.notes
