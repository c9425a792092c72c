"""What counts bound: exact coverage by enumeration, sizes by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from memdetect.judging.statistics.beta import beta_binomial_cdf, beta_binomial_interval, upper_bound
from memdetect.judging.statistics.rates import (
    count_rate,
    flagging_level,
    memorized_share,
    most_allowed,
    pass_probability,
    recommended_families,
    smallest_clean,
    smallest_families,
)


def test_the_memorized_share_is_covered_by_enumeration():
    """Design 14: M = 200, 30 canaries. Mutant: the bound of the flagged share alone (coverage 1e-10)."""
    found = {tp: np.array([memorized_share(x, 200, tp, 30) for x in range(201)]) for tp in range(31)}
    for pi in (0.01, 0.05, 0.3, 0.9):
        for sensitivity in (0.05, 0.3, 0.7, 1.0):
            for false in (0.0, 0.01, 0.1):
                q = pi * sensitivity + (1 - pi) * false
                x, tp = stats.binom.pmf(range(201), 200, q), stats.binom.pmf(range(31), 30, sensitivity)
                covered = sum(tp[t] * x[found[t] >= pi].sum() for t in range(31))
                assert covered >= 0.95, (pi, sensitivity, false)


def test_no_canary_found_bounds_nothing():
    assert memorized_share(0, 1000, 0, 20) == 1


def test_families_that_flag_as_one_are_counted_as_one():
    """Design 16: 100 families of 10, all flagged or none, share .02. Mutant: prompts for families (.59)."""
    flagged = np.random.default_rng(0).binomial(100, 0.02, 2000)
    bounds = {x: count_rate(x, 100, 2400, 0.01, 0.95, None).bound for x in range(101)}
    assert np.mean([bounds[int(x)] >= 0.02 for x in flagged]) >= 0.93


def test_false_alarms_of_clean_prompts_are_beta_binomial():
    """Design 17: n = 199, m = 200, 4,000 draws. Mutant: a binomial interval is left .126 of the time."""
    j, n, m = 10, 199, 200
    low, high = beta_binomial_interval(m, j, n + 1 - j)
    tail = beta_binomial_cdf(low - 1, m, j, n + 1 - j) + 1 - beta_binomial_cdf(high, m, j, n + 1 - j)
    assert tail == pytest.approx(0.0357, abs=5e-4)
    rng = np.random.default_rng(1)
    clean, scanned = rng.random((4000, n)), rng.random((4000, m))
    flags = (scanned > np.sort(clean, axis=1)[:, -j, None]).sum(axis=1)
    outside = ((flags < low) | (flags > high)).mean()
    assert abs(outside - tail) < 5 * math.sqrt(tail / 4000)


@pytest.mark.parametrize(("limit", "fewest"), [(0.05, 59), (0.01, 299), (0.005, 598), (0.001, 2995)])
def test_smallest_families_show_the_limit_and_one_less_does_not(limit, fewest):
    assert smallest_families(limit, 0.95) == fewest
    assert upper_bound(0, fewest) <= limit < upper_bound(0, fewest - 1)


def test_recommended_families_let_four_flagged_pass():
    for limit in (0.05, 0.01, 0.005):
        families = recommended_families(limit, 0.95)
        assert most_allowed(families, limit, 0.95) == 4
        assert most_allowed(families - 1, limit, 0.95) == 3
        assert pass_probability(families, round(20 / limit) - 1, 0.01, limit, 0.95) == pytest.approx(0.93, abs=0.01)


def test_a_level_above_the_limit_would_fail_clean_models():
    assert flagging_level(0.01, 0.005) == pytest.approx(0.001)
    assert flagging_level(0.01, 0.5) == 0.01
    assert smallest_clean(0.01, 0.005) == 999


@pytest.mark.parametrize(
    ("flagged", "families", "outcome"), [(0, 299, "pass"), (0, 298, "inconclusive"), (2, 300, "inconclusive")]
)
def test_a_limit_is_met_missed_or_open(flagged, families, outcome):
    assert count_rate(flagged, families, 2400, 0.01, 0.95, 0.01).outcome == outcome
    assert count_rate(30, 300, 2400, 0.01, 0.95, 0.01).outcome == "fail"
    assert count_rate(flagged, families, 2400, 0.01, 0.95, None).outcome == "pass"


def test_pass_probability_by_simulation():
    rng, limit, n, families = np.random.default_rng(2), 0.05, 399, 181
    clean, scanned = rng.random((4000, n)), rng.random((4000, families))
    flags = (scanned > np.sort(clean, axis=1)[:, -4, None]).sum(axis=1)
    seen = (flags <= most_allowed(families, limit, 0.95)).mean()
    expected = pass_probability(families, n, 0.01, limit, 0.95)
    assert abs(seen - expected) < 5 * math.sqrt(expected * (1 - expected) / 4000)
