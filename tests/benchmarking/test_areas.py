"""AUROC and its intervals against scikit-learn, brute force and simulation."""

import math

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
    assert areas.auroc(positive, negative) == pytest.approx(expected, abs=1e-12)


def test_auroc_has_one_direction():
    assert areas.auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert areas.auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0
    assert areas.auroc(np.array([1.0]), np.array([1.0])) == 0.5


@pytest.mark.parametrize("seed", range(10))
def test_delong_variance_is_that_of_all_pairs(seed):
    positive, negative = samples(seed, 9, 13)
    psi = np.array([[1.0 if x > y else 0.5 if x == y else 0.0 for y in negative] for x in positive])
    m, n = psi.shape
    area = psi.mean()
    s10 = sum((psi[i].mean() - area) ** 2 for i in range(m)) / (m - 1)
    s01 = sum((psi[:, j].mean() - area) ** 2 for j in range(n)) / (n - 1)
    assert areas.delong_variances(positive, negative) == pytest.approx((s10 / m, s01 / n), abs=1e-12)


@pytest.mark.parametrize("area", [0.0, 0.03, 0.5, 0.8, 0.97, 1.0])
@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (20, 80), (40, 15)])
def test_score_interval_is_the_set_of_values_not_rejected(area, positives, negatives):
    low, high = areas.score_interval(area, positives, negatives)
    z = 1.959963984540054
    for true in np.linspace(0.001, 0.999, 999):
        a = float(true)
        spread = a * (1 - a) * (1 + (positives - 1) * (1 - a) / (2 - a) + (negatives - 1) * a / (1 + a))
        kept = abs(area - a) <= z * math.sqrt(spread / (positives * negatives))
        if min(abs(a - low), abs(a - high)) > 1e-6:
            assert kept == (low < a < high), a


def test_hanley_mcneil_variance_of_ten_and_ten():
    # By hand: Q1 = a/(2-a), Q2 = 2a^2/(1+a), [a(1-a) + 9(Q1-a^2) + 9(Q2-a^2)] / 100 at a = 0.8.
    q1, q2 = 0.8 / 1.2, 2 * 0.64 / 1.8
    expected = (0.16 + 9 * (q1 - 0.64) + 9 * (q2 - 0.64)) / 100
    assert areas.hanley_mcneil_variance(0.8, 10, 10) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_the_interval_is_the_hull_of_both_and_mirrors(seed):
    positive, negative = samples(seed)
    low, high = areas.auroc_interval(positive, negative)
    logit = areas.logit_interval(positive, negative)
    score = areas.score_interval(areas.auroc(positive, negative), len(positive), len(negative))
    assert (low, high) == (min(logit[0], score[0]), max(logit[1], score[1]))
    assert 0 <= low < areas.auroc(positive, negative) < high <= 1
    assert areas.auroc_interval(-positive, -negative) == pytest.approx((1 - high, 1 - low), abs=1e-6)
    wider = areas.auroc_interval(positive, negative, level=0.99)
    assert wider[0] < low
    assert wider[1] > high


def test_a_perfect_score_still_has_an_interval():
    positive, negative = np.arange(40) + 100.0, np.arange(60) * 1.0
    low, high = areas.auroc_interval(positive, negative)
    assert low <= 0.025 ** (1 / 40)
    assert high == 1
    low, high = areas.auroc_interval(negative, positive)
    assert low == 0
    assert high >= 1 - 0.025 ** (1 / 40)


def test_equal_scores_have_an_interval_around_one_half():
    low, high = areas.auroc_interval(np.ones(20), np.ones(20))
    assert low == pytest.approx(1 - high, abs=1e-9)
    assert 0.25 < low < 0.4


@pytest.mark.parametrize(("shift", "true"), [(0.0, 0.5), (1.2, 0.80193), (2.4, 0.95513)])
def test_the_interval_covers_the_true_value(shift, true):
    # 400 draws at 95 %: 20 misses expected at most, 45 or more have a probability below 1e-6.
    rng = np.random.default_rng(7)
    draws = [(rng.normal(shift, 1, 20), rng.normal(0, 1, 40)) for _ in range(400)]
    intervals = [areas.auroc_interval(positive, negative) for positive, negative in draws]
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
