"""Estimates of two samples against scikit-learn, brute force and simulation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memdetect.evaluation import estimates


def sample(scores, families=None) -> estimates.Sample:
    values = [float(x) for x in scores]
    return estimates.Sample(values, families or [str(i) for i in range(len(values))])


def samples(seed: int, positives: int = 17, negatives: int = 23, ties: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    both = rng.integers(0, ties, positives + negatives).astype(float)
    both[:positives] += rng.integers(0, 4, positives)
    return both[:positives], both[positives:]


def test_auroc_is_that_of_sklearn_with_ties():
    for seed in range(25):
        positive, negative = samples(seed)
        labels = [1] * len(positive) + [0] * len(negative)
        expected = roc_auc_score(labels, np.concatenate([positive, negative]))
        assert estimates.estimate(sample(positive), sample(negative)).auroc == pytest.approx(expected, abs=1e-12), seed


def test_samples_that_are_too_small_have_no_interval():
    found = estimates.estimate(sample(np.arange(9.0) + 100), sample(np.arange(30.0)))
    assert (found.auroc, found.low, found.high) == (1.0, None, None)
    whole = estimates.estimate(sample(np.arange(30.0)), sample(np.arange(10.0) + 100))
    assert (whole.auroc, whole.low, whole.positives, whole.negatives) == (0.0, 0.0, 30, 10)
    assert whole.high is not None
    assert whole.high < 0.5


@pytest.mark.parametrize(("shift", "true"), [(0.0, 0.5), (1.2, 0.80193), (2.4, 0.95513)])
def test_the_interval_covers_the_true_value(shift, true):
    # 400 draws at 95 %: 20 misses expected at most, 45 or more have a probability below 1e-6.
    rng = np.random.default_rng(7)
    draws = [(rng.normal(shift, 1, 20), rng.normal(0, 1, 40)) for _ in range(400)]
    found_all = [estimates.estimate(sample(positive), sample(negative)) for positive, negative in draws]
    intervals = [(found.low, found.high) for found in found_all if found.low is not None and found.high is not None]
    assert len(intervals) == 400
    missed = sum(not low <= true <= high for low, high in intervals)
    assert missed < 45
    assert np.mean([high - low for low, high in intervals]) < 0.4


# Counts at a fixed share of false flags


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 1.0])
def test_caught_is_the_best_over_all_thresholds(rate):
    for seed in range(15):
        positive, negative = samples(seed, 11, 20, ties=6)
        best = max(
            (int((positive > t).sum()), int((negative > t).sum()))
            for t in [-1.0, *positive, *negative]
            if (negative > t).sum() <= rate * len(negative) + 1e-9
        )
        found = estimates.tpr_at_fpr(positive.tolist(), negative.tolist(), rate)
        assert found[0] == best[0], seed
        assert found[1] <= rate * len(negative) + 1e-9, seed


def test_variants_of_one_family_are_not_counted_as_if_they_were_independent():
    """Eight equal scores a family: the interval is that of the families, not of eight times as many items."""
    rng = np.random.default_rng(0)
    own, other = rng.normal(1, 1, 20), rng.normal(0, 1, 20)
    families = [str(i // 8) for i in range(160)]
    alone = estimates.estimate(sample(own), sample(other))
    many = estimates.estimate(sample(np.repeat(own, 8), families), sample(np.repeat(other, 8), families))
    assert many.auroc == pytest.approx(alone.auroc)
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    fewer = estimates.estimate(sample(np.repeat(own[:5], 8), families[:40]), sample(other))
    assert fewer.low is None


def test_labels_are_dealt_within_families_that_hold_both():
    labels, families = np.array([True, False, True, False, False, True]), np.array([0, 0, 1, 1, 2, 2])
    dealt = estimates.shuffle(np.random.default_rng(0), labels, families)
    assert [dealt[families == k].sum() for k in range(3)] == [1, 1, 1]
    alone = [estimates.shuffle(np.random.default_rng(k), labels, np.arange(6)) for k in range(9)]
    assert all(row.sum() == 3 for row in alone)
    assert any((row[:2].sum() != 1) for row in alone)


def test_families_of_one_label_are_dealt_as_wholes():
    """20 and 20 families of 8 equal variants: as wide as Mann and Whitney say of 20 and 20, not of 160 and 160."""
    rng = np.random.default_rng(0)
    scores, families = np.repeat(rng.normal(size=40), 8), np.repeat(np.arange(40), 8)
    labels = np.repeat(np.arange(40) < 20, 8)
    dealt = [estimates.shuffle(rng, labels, families) for _ in range(400)]
    assert all(len(set(row[families == k])) == 1 for row in dealt[:20] for k in range(40))
    assert all(row.sum() == 160 for row in dealt)
    spread = np.std([roc_auc_score(row, scores) for row in dealt])
    assert spread == pytest.approx(np.sqrt(41 / (12 * 20 * 20)), rel=0.15)
    beside = np.append(families, [40, 40]), np.append(labels, [True, False])
    mixed = [estimates.shuffle(np.random.default_rng(k), beside[1], beside[0]) for k in range(20)]
    assert all(row[-2:].sum() == 1 for row in mixed)
    assert len({tuple(row[:-2]) for row in mixed}) == 20
