"""Benjamini-Hochberg against scipy, by hand and by simulation; what it takes to find anything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from memdetect.judging.statistics.conformal import p_value
from memdetect.judging.statistics.multiple import benjamini_hochberg, chance_of_top, detections_needed, n_needed


def test_equal_to_scipy_on_lattices():
    """Design 6: 500 random lattices of ranks, scipy's adjusted values nudged. Mutants: step-down, bare floats."""
    rng = np.random.default_rng(0)
    for _ in range(500):
        n, m = int(rng.integers(5, 400)), int(rng.integers(1, 60))
        p = (rng.integers(1, 2 + int(rng.integers(0, n + 1)), m)) / (n + 1)
        expected = false_discovery_control(p, method="bh") <= 0.05 * (1 + 1e-9)
        assert benjamini_hochberg(p.tolist(), 0.05, m) == expected.tolist()


def test_by_hand():
    """Design 6: (.02, .03, .9) at .05 rejects two, by stepping up past .02 > .05 / 3."""
    assert benjamini_hochberg([0.02, 0.03, 0.9], 0.05, 3) == [True, True, False]
    assert benjamini_hochberg([0.9, 0.03, 0.02], 0.05, 3) == [False, True, True]
    assert benjamini_hochberg([], 0.05, 0) == []


def test_exact_equalities_are_rejected():
    """Design 6: with n + 1 a multiple of m / rate, p_(r) = r * rate / m holds exactly. Mutant: bare floats."""
    for m in range(1, 60):
        n = m * 20 - 1
        for r in range(1, m + 1):
            p = [r / (n + 1)] * r + [1.0] * (m - r)
            assert sum(benjamini_hochberg(p, 0.05, m)) == r, (m, r)


def test_what_was_not_measured_counts():
    """Design 7: ten detections among ten, and among a hundred of which ninety are missing. Mutant: m = measured."""
    detections: list[float | None] = [0.004] * 10
    assert sum(benjamini_hochberg(detections, 0.05, 10)) == 10
    assert sum(benjamini_hochberg([*detections, *[None] * 90], 0.05, 100)) == 10
    assert sum(benjamini_hochberg(detections, 0.05, 100)) == 10
    weak: list[float | None] = [0.02] * 10
    assert sum(benjamini_hochberg(weak, 0.05, 10)) == 10
    assert sum(benjamini_hochberg([*weak, *[None] * 90], 0.05, 100)) == 0
    assert sum(benjamini_hochberg(weak, 0.05, 100)) == 0


@settings(max_examples=50)
@given(st.lists(st.none() | st.floats(0, 1), max_size=30), st.floats(0.001, 0.5))
def test_rejections_are_the_smallest_and_grow_with_the_rate(p, rate):
    found = benjamini_hochberg(p, rate, len(p))
    kept = [value for value, out in zip(p, found, strict=True) if not out and value is not None]
    gone = [value for value, out in zip(p, found, strict=True) if out and value is not None]
    assert not gone or not kept or max(gone) < min(kept)
    assert all(not out for value, out in zip(p, found, strict=True) if value is None)
    assert sum(benjamini_hochberg(p, rate * 2, len(p))) >= sum(found)


def runs(shifted: int, seed: int, repeats: int = 1500) -> tuple[list[float], list[bool]]:
    """False discovery proportion and whether anything was found: n = 799, m = 40, `shifted` of them by 4 SD."""
    rng, shares, found = np.random.default_rng(seed), [], []
    for _ in range(repeats):
        reference = np.sort(rng.normal(size=799))
        scores = rng.normal(size=40)
        scores[:shifted] += 4
        ranks = 1 + 799 - np.searchsorted(reference, scores, side="left")
        rejected = np.array(benjamini_hochberg((ranks / 800).tolist(), 0.05, 40))
        shares.append(float(rejected[shifted:].sum() / max(1, rejected.sum())))
        found.append(bool(rejected.any()))
    return shares, found


def test_false_discoveries_are_as_many_as_stated():
    """Design 4: true value .040, 5 SE. Mutants: Benjamini-Yekutieli .007, uncorrected .155."""
    assert 0.031 <= np.mean(runs(8, 4)[0]) <= 0.049


def test_a_clean_run_finds_something_as_often_as_stated():
    """Design 5: true value .05, 5 SE. Mutants: no + 1 in p .099, strict < .002, uncorrected .86."""
    assert 0.022 <= np.mean(runs(0, 5)[1]) <= 0.078
    assert p_value(sorted(map(float, range(799))), 1000.0) == 1 / 800


@pytest.mark.parametrize(
    ("n", "expected"),
    [(600, [2, 4, 10, 34, 100, 333]), (2400, [1, 1, 3, 9, 25, 84]), (20_000, [1, 1, 1, 1, 3, 10])],
)
def test_detections_needed_of_the_table(n, expected):
    assert [detections_needed(n, m, 0.05) for m in (50, 100, 300, 1000, 3000, 10_000)] == expected


@settings(max_examples=50)
@given(st.integers(1, 2000), st.integers(1, 500))
def test_h_detections_are_found_and_fewer_are_not(n, m):
    h = detections_needed(n, m, 0.05)
    top = [1 / (n + 1)]
    if h <= m:
        assert sum(benjamini_hochberg(top * h, 0.05, m)) == h
    if 1 < h <= m:
        assert sum(benjamini_hochberg(top * (h - 1), 0.05, m)) == 0
    assert detections_needed(n_needed(m, 0.05), m, 0.05) == 1


def test_chance_of_a_clean_prompt_above_all():
    rng = np.random.default_rng(6)
    seen = np.mean([rng.random(30).max() > rng.random(60).max() for _ in range(20_000)])
    assert chance_of_top(60, 30) == pytest.approx(1 / 3)
    assert abs(seen - 1 / 3) < 5 * (2 / 9 / 20_000) ** 0.5
