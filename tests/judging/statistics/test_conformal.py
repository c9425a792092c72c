"""p-values by hand, by brute force and by simulation; ranks that hold for one given calibration set."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.errors import MemdetectError
from memdetect.judging.statistics.conformal import (
    conditional_rank,
    p_value,
    rank,
    rank_at,
    simes_levels,
    smallest_conditional_n,
    smallest_n,
)

numbers = st.floats(allow_nan=False) | st.integers(-3, 3).map(float)


@pytest.mark.parametrize(("score", "expected"), [(1, 4 / 6), (2, 2 / 6), (3, 1 / 6), (-1, 1), (0, 1), (1.5, 2 / 6)])
def test_p_value_by_hand(score, expected):
    """Design 2: a tie counts against the score. Mutants: `>` for `>=`, the sign flipped."""
    assert p_value([0, 0, 1, 1, 2], score) == expected


def test_a_score_far_above_all_has_the_smallest_p():
    reference = sorted(np.random.default_rng(0).normal(size=99).tolist())
    assert p_value(reference, 8.0) == 1 / 100
    assert p_value([], 5.0) == 1


@pytest.mark.parametrize("reference", [[], [0.0, 1.0]])
def test_a_score_that_is_no_number_is_refused(reference):
    with pytest.raises(MemdetectError, match="not a number"):
        rank(reference, math.nan)


@settings(max_examples=50)
@given(st.lists(numbers), numbers)
def test_p_value_is_its_definition(reference, score):
    assert p_value(sorted(reference), score) == (1 + sum(x >= score for x in reference)) / (1 + len(reference))


@settings(max_examples=50)
@given(st.lists(numbers, min_size=1), numbers, numbers)
def test_a_higher_score_has_no_higher_p(reference, first, second):
    ordered = sorted(reference)
    assert p_value(ordered, max(first, second)) <= p_value(ordered, min(first, second))


def test_p_values_of_clean_scores_are_uniform():
    """Design 1: 40,000 draws, n = 19, one clean score each. Mutants: no + 1; n off by one."""
    draws = np.random.default_rng(1).normal(size=(40_000, 20))
    found = np.array([p_value(sorted(d[1:].tolist()), float(d[0])) for d in draws])
    assert found.max() == 1
    for i in range(1, 20):
        level = i / 20
        error = math.sqrt(level * (1 - level) / len(found))
        assert abs((found <= level + 1e-12).mean() - level) < 5.2 * error


@pytest.mark.parametrize(("level", "n"), [(0.05, 19), (0.01, 99), (0.005, 199), (0.001, 999), (0.3, 3)])
def test_smallest_n_reaches_its_level_and_one_less_does_not(level, n):
    assert smallest_n(level) == n
    assert rank_at(n, level) == 1
    assert rank_at(n - 1, level) == 0


def test_conditional_ranks_of_the_table():
    """Design 8: delta = .05. Mutant: j off by one."""
    assert [conditional_rank(750, a, 0.05) for a in (0.01, 0.05)] == [3, 28]
    assert [conditional_rank(2400, a, 0.05) for a in (0.01, 0.05)] == [16, 103]
    assert [conditional_rank(n, 0.001, 0.05) for n in (2994, 3000, 10_000)] == [0, 1, 5]
    assert [smallest_conditional_n(a, 0.05) for a in (0.05, 0.01, 0.005, 0.001)] == [59, 299, 598, 2995]
    assert conditional_rank(299, 0.05, 0.1) == 10


def test_a_conditional_rank_holds_for_most_calibration_sets():
    """Design 8: n = 299, alpha .05, delta .1, j = 10; the true rate of one set is 1 - F(j-th largest)."""
    uniform = np.sort(np.random.default_rng(2).random((20_000, 299)), axis=1)
    rates = 1 - uniform[:, ::-1]
    over = [(rates[:, j - 1] > 0.05).mean() for j in (10, 11)]
    assert abs(over[0] - 0.0665) < 5 * math.sqrt(0.0665 * 0.9335 / 20_000)
    assert over[1] > 0.1


def test_simes_levels_by_hand():
    """n = 4, K = 2: b_1 = 1 - delta^(1/2), b_2 = 1 - (delta * 3 * 2 / (4 * 3))^(1/2); ranks below n / 2 count as 1."""
    found = simes_levels(4, 0.1)
    assert found[0] == pytest.approx(1 - 0.1**0.5)
    assert found[1] == pytest.approx(1 - (0.1 * 6 / 12) ** 0.5)
    assert found[2] == pytest.approx(1 - (0.1 * 2 / 12) ** 0.5)
    assert found[3:] == [1.0, 1.0]


def test_simes_levels_hold_for_all_ranks_of_most_sets():
    """Design 9: n = 200, delta .1, 4,000 sets. Mutants: the index shifted by one (.20), delta doubled (.21)."""
    levels = np.array(simes_levels(200, 0.1))[:200]
    true = np.sort(np.random.default_rng(3).random((4000, 200)), axis=1)
    assert 0.076 <= (true > levels).any(axis=1).mean() <= 0.124


@settings(max_examples=50)
@given(st.integers(2, 400), st.floats(0.01, 0.5))
def test_simes_levels_are_rising_and_above_the_marginal_ones(n, delta):
    found = simes_levels(n, delta)
    assert len(found) == n + 1
    assert all(a <= b + 1e-12 for a, b in pairwise(found))
    assert found[0] == pytest.approx(1 - delta ** (1 / (n // 2)))
