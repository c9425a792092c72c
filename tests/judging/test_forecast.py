"""What a plan can show, against simulated judgements."""

import re

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, row, searched

from memdetect.errors import Exit
from memdetect.judging import judge
from memdetect.judging.forecast import clean_count, forecast, forecast_lines
from memdetect.runs.policy import Policy


@pytest.mark.parametrize(("n", "m"), [(119, 20), (399, 20)])
def test_clean_runs_pass_as_often_as_forecast(n, m):
    """h = 5 and 1. 150 runs each; 5 SE."""
    expected = forecast(m, m, n, Policy()).passing
    passed = 0
    for draw in range(150):
        rng = np.random.default_rng(draw)
        made = calibration(rng.normal(size=n).tolist())
        rows = [row(i, float(x)) for i, x in enumerate(rng.normal(size=m))]
        passed += judge(header(m, made, index=INDEX), searched(rows), made)[1].exit == Exit.OK
    assert abs(passed / 150 - expected) < 5 * (expected * (1 - expected) / 150) ** 0.5 + 0.02


def test_the_forecast_says_h_and_what_is_needed():
    lines = "\n".join(forecast_lines(forecast(1000, 990, 750, Policy(max_rate=0.01)), Policy(max_rate=0.01)))
    assert "1000 items of 990 families against 750 clean prompts" in lines
    assert "27 above every clean prompt; 19999 clean prompts would make it 1" in lines
    assert "P(pass | clean), no finding by scores and none undecided: 0.43" in lines
    assert "smallest scan that can show the policy: 299 families against 499 clean prompts" in lines


def test_without_clean_scores_nothing_is_promised():
    lines = "\n".join(forecast_lines(forecast(10, 10, 0, Policy()), Policy()))
    assert "nothing can be decided" in lines
    assert "P(pass" not in lines


@pytest.mark.parametrize("n", [0, 2400])
@pytest.mark.parametrize(
    "policy",
    [
        Policy(fdr=1e-6, level=1e-6, delta=1e-6),
        Policy(fdr=0.123456789012345, max_rate=0.0123456789012345, confidence=0.9999999999999),
        Policy(fdr=1e-6, level=1e-6, max_rate=1e-6),
    ],
)
def test_no_number_has_more_digits_than_somebody_reads(policy, n):
    lines = "\n".join(forecast_lines(forecast(10**6, 10**6, n, policy), policy))
    assert not re.search(r"\d{8}", lines)


def test_clean_prompts_that_count():
    assert clean_count(None, 1) == 0
    assert clean_count(calibration([1.0, 2.0, 3.0], 1), 1) == 2
    assert clean_count(calibration([1.0, 2.0, 3.0]), 1) == 3
    assert clean_count(calibration([1.0, 2.0, 3.0], 1), 2) == 2
