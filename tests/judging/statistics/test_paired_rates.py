"""Paired shares: published intervals, the likelihood by brute force, and coverage by enumeration."""

from math import comb, inf, log, sqrt
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from memdetect.judging.statistics.paired import PairedShare, mcnemar, paired_share, score_interval

counts = st.integers(0, 30)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 3), (5, 1), (0, 9), (40, 22), (300, 250)])
def test_mcnemar_is_the_binomial_test_of_what_changed(gained: int, lost: int) -> None:
    n = gained + lost
    expected = binomtest(gained, n, 0.5).pvalue if n else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, abs=1e-12)
    exact = min(1, 2 * sum(comb(n, i) for i in range(min(gained, lost) + 1)) / 2**n)
    assert mcnemar(gained, lost) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "confidence", "expected"),
    [
        # Bentur et al. 2009, airway hyper-responsiveness (1, 1; 7, 12): Fagerland, Lydersen, Laake 2014.
        (1, 7, 21, 0.95, (-0.517, -0.026)),
        # PropCIs::scoreci.mp(25, 28, 618), level 0.90, to four decimals.
        (28, 25, 618, 0.90, (-0.0148, 0.0247)),
    ],
)
def test_published_intervals(gained: int, lost: int, n: int, confidence: float, expected: tuple[float, float]) -> None:
    digits = 3 if n == 21 else 4
    found = score_interval(gained, lost, n, confidence)
    assert tuple(round(end, digits) for end in found) == expected


@pytest.mark.parametrize("n", [1, 10, 60, 1000])
def test_where_nothing_changed_the_interval_has_a_closed_form(n: int) -> None:
    z2 = NormalDist().inv_cdf(0.975) ** 2
    assert score_interval(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-9)


def likeliest(d: float, gained: int, lost: int, n: int) -> float:
    """The share of lost families of largest likelihood at a difference d, by search over all of them."""

    def likelihood(q: float) -> float:
        parts = ((gained, q + d), (lost, q), (n - gained - lost, 1 - 2 * q - d))
        if any(p < -1e-15 for _, p in parts):
            return -inf
        return sum(0.0 if not x else x * log(p) if p > 0 else -inf for x, p in parts)

    low, high = max(0.0, -d), (1 - d) / 2
    for _ in range(60):  # the likelihood has one maximum: golden sections are not needed
        grid = [low + (high - low) * i / 20 for i in range(21)]
        best = max(range(21), key=lambda i: likelihood(grid[i]))
        low, high = grid[max(0, best - 1)], grid[min(20, best + 1)]
    return (low + high) / 2


@settings(max_examples=30)
@given(counts, counts, st.integers(0, 40))
def test_the_ends_are_where_the_score_test_by_brute_force_rejects(gained: int, lost: int, same: int) -> None:
    n, z = gained + lost + same, NormalDist().inv_cdf(0.975)
    if not n:
        assert score_interval(0, 0, 0) == (-1.0, 1.0)
        return
    low, high = score_interval(gained, lost, n)
    assert low <= (gained - lost) / n <= high
    for end in (low, high):
        if abs(end) < 1 - 1e-6:
            variance = n * (2 * likeliest(end, gained, lost, n) + end * (1 - end))
            assert abs(gained - lost - n * end) == pytest.approx(z * sqrt(variance), rel=1e-4)
    assert score_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("q_gained", "q_lost"), [(0.1, 0.1), (0.3, 0.05), (0.02, 0.2), (0.5, 0.3)])
def test_coverage_by_enumeration(q_gained: float, q_lost: float) -> None:
    """Exact over all outcomes of 40 families: close to 95 %; the least of these is .9297, where one share is near 0."""
    n, covered = 40, 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            low, high = score_interval(gained, lost, n)
            if low <= q_gained - q_lost <= high:
                ways = comb(n, gained) * comb(n - gained, lost)
                rest = (1 - q_gained - q_lost) ** (n - gained - lost)
                covered += ways * q_gained**gained * q_lost**lost * rest
    assert 0.925 <= covered <= 0.985


def test_families_of_both_runs_are_counted() -> None:
    old = {"a": True, "b": True, "c": False, "d": False, "only old": True}
    new = {"a": True, "b": False, "c": True, "d": False, "only new": True}
    found = paired_share("copies", old, new, 0.95)
    assert found == PairedShare("copies", 1, 1, 1, 1, 0.95)
    assert (found.families, found.old, found.new, found.difference, found.p) == (4, 2, 2, 0.0, 1.0)
    assert paired_share("copies", {}, new, 0.95).interval == (-1.0, 1.0)
