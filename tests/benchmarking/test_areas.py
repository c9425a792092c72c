"""Estimates of two samples against scikit-learn, brute force and simulation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memdetect.benchmarking import areas


def samples(seed: int, positives: int = 17, negatives: int = 23, ties: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    both = rng.integers(0, ties, positives + negatives).astype(float)
    both[:positives] += rng.integers(0, 4, positives)
    return both[:positives], both[positives:]


@pytest.mark.parametrize("seed", range(25))
def test_auroc_is_that_of_sklearn_with_ties(seed):
    positive, negative = samples(seed)
    labels = [1] * len(positive) + [0] * len(negative)
    expected = roc_auc_score(labels, np.concatenate([positive, negative]))
    assert areas.estimate(positive, negative).auroc == pytest.approx(expected, abs=1e-12)


def test_samples_that_are_too_small_have_no_interval():
    found = areas.estimate(np.arange(9.0) + 100, np.arange(30.0))
    assert (found.auroc, found.low, found.high) == (1.0, None, None)
    whole = areas.estimate(np.arange(30.0), np.arange(10.0) + 100)
    assert (whole.auroc, whole.low, whole.positives, whole.negatives) == (0.0, 0.0, 30, 10)
    assert whole.high is not None
    assert whole.high < 0.5


@pytest.mark.parametrize(("shift", "true"), [(0.0, 0.5), (1.2, 0.80193), (2.4, 0.95513)])
def test_the_interval_covers_the_true_value(shift, true):
    # 400 draws at 95 %: 20 misses expected at most, 45 or more have a probability below 1e-6.
    rng = np.random.default_rng(7)
    draws = [(rng.normal(shift, 1, 20), rng.normal(0, 1, 40)) for _ in range(400)]
    estimates = [areas.estimate(positive, negative) for positive, negative in draws]
    intervals = [(found.low, found.high) for found in estimates if found.low is not None and found.high is not None]
    assert len(intervals) == 400
    missed = sum(not low <= true <= high for low, high in intervals)
    assert missed < 45
    assert np.mean([high - low for low, high in intervals]) < 0.4


# Counts at a fixed share of false flags


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 1.0])
def test_caught_is_the_best_over_all_thresholds(seed, rate):
    positive, negative = samples(seed, 11, 20, ties=6)
    best = max(
        (int((positive > t).sum()), int((negative > t).sum()))
        for t in [-1.0, *positive, *negative]
        if (negative > t).sum() <= rate * len(negative) + 1e-9
    )
    found = areas.caught(positive, negative, rate)
    assert found[0] == best[0]
    assert found[1] <= rate * len(negative) + 1e-9
