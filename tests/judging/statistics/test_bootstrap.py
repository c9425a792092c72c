"""Intervals of means against the normal theory, and what families do to them."""

import random
from statistics import NormalDist, fmean, stdev

import pytest

from memdetect.judging.statistics.bootstrap import mean_difference_interval


def normal(count: int, mean: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, 1) for _ in range(count)]


def test_a_mean_has_the_interval_of_the_normal_theory():
    values = normal(200, 3.0, 1)
    low, high = mean_difference_interval((values, range(200)))
    half = NormalDist().inv_cdf(0.975) * stdev(values) / 200**0.5
    assert low == pytest.approx(fmean(values) - half, abs=0.1 * half)
    assert high == pytest.approx(fmean(values) + half, abs=0.1 * half)


def test_a_difference_adds_the_variances():
    first, second = normal(100, 1.0, 2), normal(150, 0.0, 3)
    low, high = mean_difference_interval((first, range(100)), (second, range(100, 250)))
    half = NormalDist().inv_cdf(0.975) * (stdev(first) ** 2 / 100 + stdev(second) ** 2 / 150) ** 0.5
    middle = fmean(first) - fmean(second)
    assert low == pytest.approx(middle - half, abs=0.12 * half)
    assert high == pytest.approx(middle + half, abs=0.12 * half)


def test_pairs_that_share_a_family_stay_pairs():
    """What moves both of a pair drops out of their difference."""
    base = normal(60, 0.0, 4)
    low, high = mean_difference_interval(([b + 1 for b in base], range(60)), (base, range(60)))
    assert low == pytest.approx(1.0)
    assert high == pytest.approx(1.0)


def test_repeated_items_of_a_family_add_nothing():
    values = normal(30, 0.0, 5)
    once = mean_difference_interval((values, range(30)))
    assert mean_difference_interval((values * 4, [*range(30)] * 4)) == pytest.approx(once)


def test_a_single_family_varies_with_nothing():
    assert mean_difference_interval(([1.0, 3.0], [0, 0])) == (2.0, 2.0)


def test_no_draw_lacks_a_group():
    assert mean_difference_interval(([1.0], ["a"]), ([0.0], ["b"])) == (1.0, 1.0)
