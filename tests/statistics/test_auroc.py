"""Areas, thresholds and paired tests against scikit-learn, scipy and brute force."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from memdetect.statistics.auroc import (
    auroc,
    auroc_interval,
    clustered_variance,
    delong_variance,
    lower_area,
    share_interval,
    sign_flip,
    tpr_at,
)
from memdetect.statistics.beta import interval


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


def test_tpr_is_the_best_over_all_thresholds():
    """Design 23: integer scores with ties. Mutants: `>=` for `>`; the threshold nearest to the level."""
    for seed in range(300):
        positive, negative = samples(seed)
        for level in (0.0, 0.05, 0.2, 1.0):
            best = max(
                np.mean([x > t for x in positive])
                for t in [-1.0, *positive, *negative]
                if np.mean([x > t for x in negative]) <= level + 1e-12
            )
            assert tpr_at(positive, negative, level) == pytest.approx(best)


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (7, 3), (10, 10), (1, 12)])
def test_flipping_signs_of_single_prompts_is_mcnemars_test(won, lost):
    """Design 24."""
    first = {i: float(i < won) for i in range(won + lost + 5)}
    second = {i: float(won <= i < won + lost) for i in range(won + lost + 5)}
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert sign_flip(first, second) == pytest.approx(expected, abs=1e-12)
    assert sign_flip(second, first) == pytest.approx(sign_flip(first, second), abs=1e-12)


def test_many_families_are_flipped_at_random():
    first, second = dict.fromkeys(range(40), 1.0), {i: float(i < 12) for i in range(40)}
    rng = np.random.default_rng(0)
    assert sign_flip(first, second, lambda bits: int(rng.integers(0, 2**bits))) < 0.001
    with pytest.raises(ValueError, match="28 families differ"):
        sign_flip(first, second)


def test_variance_of_families_of_one_is_the_usual():
    values = np.random.default_rng(1).normal(size=30)
    assert clustered_variance(values.tolist()) == pytest.approx(values.var(ddof=1) / 30)
    assert clustered_variance([1.0, 2.0], ["f", "f"]) == math.inf


def test_shares_of_families_are_wider_than_of_prompts():
    hits = [True] * 10 + [False] * 90
    alone, together = share_interval(hits, range(100)), share_interval(hits, [i // 10 for i in range(100)])
    assert alone == pytest.approx(interval(10, 100), abs=1e-3)
    assert together[0] < alone[0] < alone[1] < together[1]
    assert share_interval([False] * 100, [i // 10 for i in range(100)]) == pytest.approx(interval(0, 10))
