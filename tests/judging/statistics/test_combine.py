"""From seeds to a prompt's score, from detectors to one: known values, and levels by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.errors import MemdetectError
from memdetect.judging.statistics.combine import combined, fit_tail, of_seeds, quartile
from memdetect.judging.statistics.conformal import p_value


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [([5.0], 5), ([9, 1], 1), ([1, 2, 3], 2), ([4, 3, 2, 1], 3), ([8, 7, 6, 5, 4, 3, 2, 1], 6)],
)
def test_quartile_of_the_seeds_by_hand(seeds, expected):
    assert quartile([float(seed) for seed in seeds]) == expected


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=16))
def test_about_a_quarter_of_the_seeds_reach_the_quartile(seeds):
    found = quartile(seeds)
    assert found in seeds
    assert sum(seed >= found for seed in seeds) >= math.ceil(len(seeds) / 4)
    assert quartile(seeds[::-1]) == found


def test_seeds_of_one_prompt_are_one_unit():
    """Design 3: n = 19, k = 4, seeds correlated .8. Mutant: the maximum ranked among pooled images (.188)."""
    rng, repeats = np.random.default_rng(0), 6_000
    scores = rng.normal(size=(repeats, 20, 1)) * 0.8**0.5 + rng.normal(size=(repeats, 20, 4)) * 0.2**0.5
    low = 0
    for run in scores.tolist():
        units = [quartile(seeds) for seeds in run]
        low += p_value(sorted(units[1:]), units[0]) <= 0.1 + 1e-12
    assert abs(low / repeats - 0.1) < 5 * math.sqrt(0.09 / repeats)


@pytest.mark.parametrize(("rule", "expected"), [("quartile", 4), ("mean", 4.25), ("prompt", 1)])
def test_a_prompts_score_by_the_rule_of_its_detector(rule, expected):
    """Of 1, 4, 9 and 3: the second highest, their mean, and what all would have where they are compared."""
    assert of_seeds([1.0, 9.0, 4.0, 3.0], rule) == expected
    assert of_seeds([7.0] * 5, rule) == 7
    with pytest.raises(KeyError, match="median"):
        of_seeds([1.0], "median")


def test_two_detectors_combined_by_hand():
    """A as below, B = A / 10: surprises ln(101 / 51) of 51 and ln(10) + 2 of 10.1; the larger one, or their sum."""
    tails = {"a": fit_tail("a", [float(i) for i in range(1, 101)]), "b": fit_tail("b", [i / 10 for i in range(1, 101)])}
    scores = {"a": 51.0, "b": 10.1}
    small, large = math.log(101 / 51), math.log(10) + 2
    assert combined(tails, scores) == combined(tails, scores, "max") == pytest.approx(large)
    assert combined(tails, scores, "sum") == pytest.approx(small + large)
    assert combined({"a": tails["a"]}, scores, "sum") == pytest.approx(small)
    with pytest.raises(KeyError):
        combined(tails, {"a": 51.0}, "sum")


def test_surprise_by_hand():
    """A = 1 .. 100: q = 10, start 90, scale (91 + .. + 100) / 10 - 90 = 5.5."""
    tail = fit_tail("d", [float(i) for i in range(100, 0, -1)])
    assert (tail.start, tail.scale, tail.share) == (90.0, 5.5, 0.1)
    assert tail.surprise(0.0) == pytest.approx(-math.log(101 / 101))
    assert tail.surprise(51.0) == pytest.approx(-math.log(51 / 101))
    assert tail.surprise(90.0) == pytest.approx(-math.log(12 / 101))
    assert tail.surprise(101.0) == pytest.approx(-math.log(0.1) + 2)


@settings(max_examples=50)
@given(st.lists(st.floats(-100, 100), min_size=40, max_size=80, unique=True), st.floats(-200, 200), st.floats(0, 10))
def test_surprise_never_falls(scores, score, more):
    tail = fit_tail("d", scores)
    assert 0 <= tail.surprise(score) <= tail.surprise(score + more) + 1e-12


def test_a_constant_detector_is_an_error():
    """Design 11."""
    with pytest.raises(MemdetectError, match="'flat' is constant on the calibration prompts"):
        fit_tail("flat", [1.0] * 100)
    with pytest.raises(MemdetectError, match="has 10 clean prompts, expected at least 11"):
        fit_tail("d", [float(i) for i in range(10)])


def test_a_missing_detector_is_an_error():
    """Design 11: never the maximum of those that are left."""
    tail = fit_tail("d", [float(i) for i in range(100)])
    with pytest.raises(KeyError):
        combined({"d": tail, "e": tail}, {"d": 5.0})


def test_the_combined_score_keeps_its_level_and_finds_one_loud_detector():
    """Design 10: nA = 30, nB = 19, ten correlated detectors, three lognormal.

    Mutants: tails fitted on calibration (.09 at .05), on both splits (.083), on tuning and the scanned prompt (.026);
    ranks in place of surprises (.04 of loud ones on top).
    """
    rng, repeats = np.random.default_rng(1), 3000
    found, loud = [], 0
    for _ in range(repeats):
        scores = rng.normal(size=(50, 1)) * 0.4**0.5 + rng.normal(size=(50, 10)) * 0.6**0.5
        scores[:, :3] = np.exp(scores[:, :3])
        tails = {str(d): fit_tail(str(d), scores[:30, d].tolist()) for d in range(10)}
        units = [combined(tails, {str(d): float(row[d]) for d in range(10)}) for row in scores[30:]]
        found.append(p_value(sorted(units[:19]), units[19]))
        raised = {str(d): float(scores[49, d]) + (9.0 if d == 9 else 0.0) for d in range(10)}
        loud += p_value(sorted(units[:19]), combined(tails, raised)) == 1 / 20
    for level in (0.05, 0.2):
        share = np.mean(np.array(found) <= level + 1e-12)
        assert abs(share - level) < 5 * math.sqrt(level * (1 - level) / repeats)
    assert loud / repeats > 0.8
