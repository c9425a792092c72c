"""Exact bounds: scipy as the oracle, coverage by enumeration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from memdetect.judging.statistics.beta import (
    beta_binomial,
    beta_binomial_cdf,
    beta_binomial_interval,
    beta_quantile,
    incomplete_beta,
    interval,
    lower_bound,
    t_quantile,
    upper_bound,
)


@pytest.mark.parametrize("a", [0.5, 1, 3.7, 20, 400, 5000])
@pytest.mark.parametrize("b", [0.5, 1, 2.2, 37, 900, 20000])
def test_incomplete_beta_is_that_of_scipy(a, b):
    """Design 13. Mutant: the symmetry I_x(a, b) = 1 - I_(1-x)(b, a) without the 1."""
    for x in [0.0, 1e-6, 0.01, 0.2, 0.5, a / (a + b), 0.9, 0.999, 1.0]:
        assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), abs=1e-10)


@settings(max_examples=50)
@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.5, 500), st.floats(0.5, 500))
def test_a_quantile_is_the_inverse(q, a, b):
    assert incomplete_beta(beta_quantile(q, a, b), a, b) == pytest.approx(q, abs=1e-7)


@pytest.mark.parametrize(("x", "n"), [(0, 1), (0, 60), (3, 60), (59, 60), (60, 60), (7, 10_000), (2.5, 17.3)])
def test_clopper_pearson_is_that_of_scipy(x, n):
    low = stats.beta.ppf(0.025, x, n - x + 1) if x else 0.0
    high = stats.beta.ppf(0.975, x + 1, n - x) if x < n else 1.0
    assert interval(x, n) == pytest.approx((low, high), abs=1e-9)


def test_bounds_by_hand():
    """0 of n: 1 - 0.05^(1/n); n of n: 0.05^(1/n). 298 show not yet 1 %, 299 do."""
    assert upper_bound(0, 10) == pytest.approx(1 - 0.05**0.1)
    assert lower_bound(10, 10) == pytest.approx(0.05**0.1)
    assert upper_bound(0, 298) > 0.01 > upper_bound(0, 299)


def test_bounds_cover_by_enumeration():
    """Design 13: n = 60. Mutant: Wald's interval covers 5.8 % somewhere."""
    n, counts = 60, np.arange(61)
    highs, lows = ([bound(int(x), n) for x in counts] for bound in (upper_bound, lower_bound))
    for p in [0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.999]:
        mass = stats.binom.pmf(counts, n, p)
        assert mass[np.array(highs) >= p].sum() >= 0.95
        assert mass[np.array(lows) <= p].sum() >= 0.95


@pytest.mark.parametrize(("m", "a", "b"), [(30, 1, 19), (200, 10, 190), (1000, 24, 2377)])
def test_beta_binomial_is_that_of_scipy(m, a, b):
    theirs = stats.betabinom(m, a, b)
    for k in (0, 1, m // 20, m // 2, m):
        assert beta_binomial(k, m, a, b) == pytest.approx(theirs.pmf(k), rel=1e-8)
        assert beta_binomial_cdf(k, m, a, b) == pytest.approx(theirs.cdf(k), abs=1e-9)
    assert beta_binomial_cdf(-1, m, a, b) == 0


def test_an_interval_of_counts_leaves_half_a_tail_on_each_side():
    for m, a, b in [(200, 10, 190), (1000, 24, 2377), (1000, 240, 2161)]:
        low, high = beta_binomial_interval(m, a, b)
        assert beta_binomial_cdf(low - 1, m, a, b) <= 0.025 < beta_binomial_cdf(low, m, a, b)
        assert 1 - beta_binomial_cdf(high, m, a, b) <= 0.025 < 1 - beta_binomial_cdf(high - 1, m, a, b)


@pytest.mark.parametrize("df", [1, 2.5, 10, 300])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.975])
def test_t_quantile_is_that_of_scipy(q, df):
    assert t_quantile(q, df) == pytest.approx(stats.t.ppf(q, df), rel=1e-8, abs=1e-6)
