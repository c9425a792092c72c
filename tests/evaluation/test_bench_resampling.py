"""Intervals over families, against the same draws written out item by item, and against what they promise."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from memdetect.evaluation.bench import resampling
from memdetect.evaluation.bench.resampling import (
    difference,
    drawn_areas,
    drawn_tprs,
    draws_of,
    share_interval,
    tpr_of,
)
from memdetect.evaluation.estimates import Sample, tpr_at_fpr
from memdetect.judging.statistics.auroc import auroc


def samples(seed: int, ties: bool = True) -> tuple[Sample, Sample]:
    """Scores with ties; some families are of one side, some of both."""
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, 6, n).astype(float) + (0 if ties else rng.random(n)) for n in (14, 23))
    return (
        Sample((first + 1).tolist(), [f"p{i // 2}" if i < 10 else "both" for i in range(14)]),
        Sample(second.tolist(), [f"q{i // 3}" if i < 21 else "both" for i in range(23)]),
    )


def repeated(sample: Sample, weights: np.ndarray) -> list[float]:
    """The scores as a draw has them, one by one."""
    return [score for score, times in zip(sample.scores, weights, strict=True) for _ in range(int(times))]


@pytest.mark.parametrize("seed", range(4))
def test_draws_are_those_of_items_written_out(seed, monkeypatch):
    monkeypatch.setattr(resampling, "DRAWS", 60)
    positive, negative = samples(seed)
    own, other = draws_of((positive.families, negative.families))
    areas = drawn_areas(positive, negative)
    tprs = {level: drawn_tprs(positive, negative, level) for level in (0.05, 0.2)}
    for k in range(60):
        first, second = repeated(positive, own[k]), repeated(negative, other[k])
        assert areas[k] == pytest.approx(auroc(first, second))
        for level, drawn in tprs.items():
            assert drawn[k] == pytest.approx(tpr_at_fpr(first, second, level)[0] / len(first))


def test_a_family_is_drawn_as_a_whole_and_sides_are_never_empty():
    positive, negative = samples(1)
    own, other = draws_of((positive.families, negative.families), 300)
    for sample, weights in ((positive, own), (negative, other)):
        for family in set(sample.families):
            members = [i for i, name in enumerate(sample.families) if name == family]
            assert (weights[:, members] == weights[:, members[:1]]).all()
        assert weights.sum(axis=1).min() > 0
    shared = [sample.families.index("both") for sample in (positive, negative)]
    assert (own[:, shared[0]] == other[:, shared[1]]).all()
    assert (own == draws_of((positive.families, negative.families), 300)[0]).all(), "of one seed"


def test_the_rule_for_the_threshold_is_the_smallest_that_flags_no_more():
    for seed in range(30):
        positive, negative = samples(seed)
        found = tpr_of(positive, negative, 0.2)
        rules = {t: (sum(s > t for s in positive.scores), sum(s > t for s in negative.scores)) for t in range(-1, 9)}
        best = max(own for own, false in rules.values() if false <= 0.2 * 23)
        assert (found.found, found.false <= 4) == (best, True)


def test_a_level_that_the_negatives_cannot_resolve_has_no_tpr():
    positive, negative = Sample([9.0] * 20, list(map(str, range(20)))), Sample([1.0] * 19, list(map(str, range(19))))
    assert tpr_of(positive, negative, 0.05).found is None
    more = Sample([1.0] * 20, list(map(str, range(20, 40))))
    assert tpr_of(positive, more, 0.05).found == 20
    assert tpr_of(positive, more, 0.01).found is None


def test_intervals_need_families_and_resolved_levels():
    few = Sample([float(i) for i in range(30)], [str(i % 9) for i in range(30)])
    many = Sample([float(i) for i in range(60)], [f"n{i}" for i in range(60)])
    assert tpr_of(few, many, 0.05).low is None
    ten = Sample(few.scores, [str(i % 10) for i in range(30)])
    assert tpr_of(ten, many, 0.05).low is not None
    assert tpr_of(ten, Sample(many.scores[:59], many.families[:59]), 0.05).low is None, "fewer than three may pass"


def test_all_found_is_not_certain():
    positive, negative = (Sample([x] * n, [f"{x}{i}" for i in range(n)]) for x, n in ((9.0, 30), (1.0, 60)))
    found = tpr_of(positive, negative, 0.05)
    assert found.share == 1.0
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 30)), 1.0)


def test_of_single_items_the_interval_of_a_share_is_clopper_and_pearson_s_of_one_item_fewer():
    """By the variance p (1 - p) / (n - 1); where none or all are found, of all items."""
    for n, x in product((12, 40), (0, 1, 7, 12)):
        hits = [1.0] * x + [0.0] * (n - x)
        m = n if x in (0, n) else n - 1
        y = x * m / n
        low = stats.beta.ppf(0.025, y, m - y + 1) if x else 0.0
        high = stats.beta.ppf(0.975, y + 1, m - y) if x < n else 1.0
        assert share_interval(hits, [str(i) for i in range(n)]) == (pytest.approx(low), pytest.approx(high))


def test_of_families_that_agree_the_interval_is_that_of_the_families():
    hits = [float(i < 6) for i in range(20) for _ in range(5)]
    low, high = share_interval(hits, [str(i) for i in range(20) for _ in range(5)])
    own = (stats.beta.ppf(0.025, 6, 15), stats.beta.ppf(0.975, 7, 14))
    assert low == pytest.approx(own[0], abs=0.03)
    assert high == pytest.approx(own[1], abs=0.03)
    naive = share_interval(hits, [str(i) for i in range(100)])
    assert high - low > 1.8 * (naive[1] - naive[0])


def test_the_interval_covers_the_rate_of_the_true_threshold(monkeypatch):
    """TPR .64 at 5 %: 60 runs of 30 families of two and 60 clean prompts; nominal 95 %."""
    monkeypatch.setattr(resampling, "DRAWS", 300)
    rng, covered = np.random.default_rng(5), 0
    true = stats.norm.sf(stats.norm.isf(0.05) - 2)
    for _ in range(60):
        shared = np.repeat(rng.normal(size=30), 2)
        scores = 2 + np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal(size=60)
        positive = Sample(scores.tolist(), [f"p{i // 2}" for i in range(60)])
        negative = Sample(rng.normal(size=60).tolist(), [f"q{i}" for i in range(60)])
        found = tpr_of(positive, negative, 0.05)
        covered += found.low <= true <= found.high
    assert covered >= 50  # binomial(60, .93): 49 or fewer have a probability of 1 in 2,000


def test_a_difference_is_of_pairs_and_holds_its_own_value():
    positive, negative = samples(3, ties=False)
    areas = drawn_areas(positive, negative)
    same = difference(areas, areas, 0.0)
    assert (same.value, same.low, same.high, same.shown) == (0.0, None, None, False), "draws that know no doubt"
    worse = Sample([s - 3 for s in positive.scores], positive.families)
    gap = auroc(worse.scores, negative.scores) - auroc(positive.scores, negative.scores)
    found = difference(drawn_areas(worse, negative), areas, gap)
    assert found.low <= found.value <= found.high < 0
    assert found.shown
