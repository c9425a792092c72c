"""Areas against scikit-learn, scipy and brute force."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from memdetect.judging.statistics.auroc import (
    auroc,
    auroc_interval,
    clustered_variance,
    delong_variance,
    lower_area,
)


def samples(seed: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 8, 17) + 2.0).tolist(), rng.integers(0, 8, 23).astype(float).tolist()


def test_area_and_variance_are_those_of_others():
    """Design 21. Mutant: ties counted whole."""
    for seed in range(50):
        positive, negative = samples(seed)
        labels = [1] * len(positive) + [0] * len(negative)
        assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, positive + negative), abs=1e-12)
        psi = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive])
        brute = psi.mean(axis=1).var(ddof=1) / len(positive) + psi.mean(axis=0).var(ddof=1) / len(negative)
        assert delong_variance(positive, negative) == pytest.approx(brute, abs=1e-12)
        expected = max(0.0, psi.mean() - stats.norm.ppf(0.95) * math.sqrt(brute))
        assert lower_area(positive, negative) == pytest.approx(expected)


def test_intervals_know_families():
    """Design 22: 15 families of 6, correlated .8, 200 draws. Mutant: scores as families of one cover two thirds."""
    rng, keys, covered = np.random.default_rng(0), np.repeat(np.arange(15), 6).tolist(), 0
    true = float(stats.norm.cdf(1.5 / 2**0.5))
    for _ in range(200):
        draws = [np.repeat(rng.normal(size=15), 6) * 0.8**0.5 + rng.normal(size=90) * 0.2**0.5 for _ in range(2)]
        low, high = auroc_interval((draws[0] + 1.5).tolist(), draws[1].tolist(), (keys, keys))
        covered += low <= true <= high
    assert covered >= 186


def test_a_perfect_area_still_has_an_interval():
    low, high = auroc_interval([float(i) for i in range(100, 140)], [float(i) for i in range(60)])
    assert low <= 0.025 ** (1 / 40)
    assert high == 1


def test_variance_of_families_of_one_is_the_usual():
    values = np.random.default_rng(1).normal(size=30)
    assert clustered_variance(values.tolist()) == pytest.approx(values.var(ddof=1) / 30)
    assert clustered_variance([1.0, 2.0], ["f", "f"]) == math.inf
