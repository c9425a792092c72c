"""p-values by hand, by brute force and by simulation; nulls by hand; what a calibration refuses."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memdetect.calibration import Calibration, p_value, read_calibration
from memdetect.errors import Exit, MemdetectError

numbers = st.floats(allow_nan=False)


def calibration(**changes: Any) -> Calibration:
    """Two layers, two timesteps, two seeds, three prompts."""
    scores = {
        "up": {"50": [[1.0, 3.0], [5.0, 7.0], [0.0, 0.0]], "100": [[3.0, 5.0], [7.0, 9.0], [2.0, 2.0]]},
        "mid": {"50": [[10.0, 12.0], [14.0, 16.0], [9.0, 9.0]], "100": [[12.0, 14.0], [16.0, 18.0], [11.0, 11.0]]},
    }
    settings = {"model": "abc", "steps": 25, "guidance_scale": 7.5}
    return Calibration(**{"settings": settings, "prompts": 3, "scores": {"spikiness": scores}, **changes})


@pytest.mark.parametrize(("score", "expected"), [(1, 4 / 6), (2, 2 / 6), (3, 1 / 6), (-1, 1), (0, 1), (1.5, 2 / 6)])
def test_p_value_by_hand(score: float, expected: float) -> None:
    """A tie counts against the score, and the score itself is one of the n + 1."""
    assert p_value([0, 0, 1, 1, 2], score) == expected


def test_p_value_without_clean_scores_says_nothing() -> None:
    assert p_value([], 5.0) == 1


@pytest.mark.parametrize("null", [[], [0.0, 1.0]])
def test_p_value_refuses_a_score_that_is_no_number(null: list[float]) -> None:
    with pytest.raises(MemdetectError, match="not a number"):
        p_value(null, float("nan"))


@given(st.lists(numbers | st.integers(-3, 3).map(float)), numbers | st.integers(-3, 3).map(float))
def test_p_value_is_its_definition(null: list[float], score: float) -> None:
    assert p_value(sorted(null), score) == (1 + sum(x >= score for x in null)) / (1 + len(null))


@pytest.mark.parametrize("values", [8, 10**9], ids=["many ties", "no ties"])
@pytest.mark.parametrize("n", [9, 19, 99])
def test_p_value_keeps_its_level(n: int, values: int) -> None:
    """P(p <= a) <= a for exchangeable scores; without ties it is a itself, wherever a is a multiple of 1 / (n + 1)."""
    random.seed(n)
    runs = 4000
    drawn = [[random.randrange(values) for _ in range(n + 1)] for _ in range(runs)]
    found = [p_value(sorted(scores[1:]), scores[0]) for scores in drawn]
    for level in (0.1, 0.2, 0.5):
        rate, error = sum(p <= level for p in found) / runs, (level * (1 - level) / runs) ** 0.5
        assert rate <= level + 4 * error
        if values > n * 1000:
            assert rate >= level - 4 * error


def test_null_means_by_hand() -> None:
    """A prompt's clean score is its mean over the chosen layers, timesteps and first seeds; the null is sorted."""
    clean = calibration()
    assert clean.null("spikiness", ["up"], ["50"], 1) == [0, 1, 5]
    assert clean.null("spikiness", ["up"], ["50"], 2) == [0, 2, 6]
    assert clean.null("spikiness", ["up"], ["50", "100"], 2) == [1, 3, 7]
    assert clean.null("spikiness", ["up", "mid"], ["50", "100"], 2) == [5.5, 7.5, 11.5]


@pytest.mark.parametrize(
    ("detector", "layers", "timesteps", "seeds"),
    [
        ("other", ["up"], ["50"], 1),
        ("spikiness", ["down"], ["50"], 1),
        ("spikiness", ["up", "down"], ["50"], 1),
        ("spikiness", ["up"], ["60"], 1),
        ("spikiness", ["up"], ["50"], 3),
        ("spikiness", [], ["50"], 1),
    ],
)
def test_null_is_none_where_nothing_was_kept(
    detector: str, layers: list[str], timesteps: list[str], seeds: int
) -> None:
    assert calibration().null(detector, layers, timesteps, seeds) is None


def test_null_of_an_empty_calibration_is_none() -> None:
    empty = calibration(prompts=0, scores={"spikiness": {"up": {"50": []}}})
    assert empty.null("spikiness", ["up"], ["50"], 1) is None


def test_difference_names_the_key() -> None:
    same = {"model": "abc", "steps": 25, "guidance_scale": 7.5, "seed": 3}
    assert calibration().difference(same) is None
    assert calibration().difference({**same, "steps": 50}) == "steps (calibrated 25, scanned 50)"
    assert calibration().difference({**same, "model": "xyz"}) == "model (calibrated 'abc', scanned 'xyz')"
    assert calibration().difference({"model": "abc", "steps": 25}) == "guidance_scale (calibrated 7.5, scanned None)"


def test_read_calibration_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    assert read_calibration(path) is None
    path.write_text(calibration().model_dump_json(), encoding="utf-8")
    assert read_calibration(path) == calibration()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "Invalid JSON"),
        ("[]", "file"),
        ('{"settings": {}, "prompts": 1}', "scores"),
        ('{"settings": {}, "prompts": 1, "scores": {}, "colour": 1}', "colour"),
        ('{"settings": {}, "prompts": 2, "scores": {"s": {"up": {"50": [[1.0]]}}}}', "s, up, t=50.*expected 2"),
        ('{"settings": {}, "prompts": 2, "scores": {"s": {"up": {"50": [[1.0], []]}}}}', "s, up, t=50.*expected 2"),
        ('{"settings": {}, "prompts": 1, "scores": {"s": {"up": {"50": [[NaN]]}}}}', "finite"),
        ('{"settings": {}, "prompts": 1, "scores": {"s": {"up": {"50": [[null]]}}}}', "scores.s.up.50.0.0"),
        (json.dumps({"settings": {}, "prompts": 1, "scores": {}}).encode("utf-16"), "file"),
    ],
)
def test_read_calibration_refuses_what_is_none(text: str | bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MemdetectError, match=f"calibration.json is no calibration: .*{named}") as raised:
        read_calibration(path)
    assert raised.value.exit == Exit.USAGE
    assert "\n" not in str(raised.value)
