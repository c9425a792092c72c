"""One decision, each with its reason: suspicious, clear, or inconclusive; never clear without evidence."""

from typing import Any

import pytest

from memdetect.calibration import Calibration
from memdetect.errors import Exit
from memdetect.records import Header, Measurement, Result, Score
from memdetect.verdict import judge

PLAN = {
    "model": "abc",
    "steps": 25,
    "num_seeds": 2,
    "detectors": ["spikiness", "spikiness-l4"],
    "layers": ["up"],
    "timesteps": [50],
}


def header(planned: int = 1, **plan: Any) -> Header:
    return Header(memdetect="0", created="", model="tiny", versions={}, plan={**PLAN, **plan}, planned=planned)


def clean(n: int = 199, **settings: Any) -> Calibration:
    """Clean scores 0 .. n - 1 for both detectors, the same for each seed."""
    cells = {"up": {"50": [[float(i), float(i)] for i in range(n)]}}
    scores = {"spikiness": cells, "spikiness-l4": cells}
    return Calibration(settings={"model": "abc", "steps": 25, **settings}, prompts=n, scores=scores)


def item(score: float | None, *, second: float | None = 0.0, **changes: Any) -> Measurement:
    scores = {"spikiness": Score(score=score, cells={}), "spikiness-l4": Score(score=second, cells={})}
    values = {"index": 0, "id": "a", "prompt": "a cat", "source": "p.txt", "scores": scores, **changes}
    return Measurement(**values)


def only(row: Measurement, calibration: Calibration | None, level: float = 0.01, **plan: Any) -> Result:
    results, _ = judge(header(**plan), [row], calibration, level)
    return results[0]


@pytest.mark.parametrize(
    ("score", "p", "outcome", "reason"),
    [
        (1000.0, 1 / 200, "suspicious", "p <= 0.01"),
        (198.0, 2 / 200, "suspicious", "p <= 0.01"),
        (197.0, 3 / 200, "clear", ""),
        (-5.0, 1.0, "clear", ""),
    ],
    ids=["above all", "p is the level itself", "just above the level", "below all"],
)
def test_a_prompt_is_judged_by_its_p_value(score: float, p: float, outcome: str, reason: str) -> None:
    found = only(item(score), clean())
    assert (found.p["spikiness"], found.outcome, found.reason) == (p, outcome, reason)


def test_the_first_detector_decides_and_the_others_are_shown() -> None:
    """Two tests at the level would flag more than the level says."""
    found = only(item(0.0, second=1000.0), clean())
    assert (found.outcome, found.p) == ("clear", {"spikiness": 1.0, "spikiness-l4": 1 / 200})
    found = only(item(0.0, second=1000.0), clean(), detectors=["spikiness-l4", "spikiness"])
    assert found.outcome == "suspicious"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (item(None, status="nonfinite"), "the network gave values that are not finite"),
        (item(500.0, second=None, status="nonfinite"), "the network gave values that are not finite"),
        (item(None, prompt=None, image="x.png", scores={}, status="unreadable"), "the input could not be read"),
        (item(500.0, prompt=None, image="x.png"), "the clean scores are of generated images, not of given ones"),
    ],
    ids=["not finite", "one detector not finite", "unreadable", "given image"],
)
def test_an_item_that_cannot_be_judged_says_why(row: Measurement, reason: str) -> None:
    found = only(row, clean())
    assert (found.outcome, found.reason) == ("inconclusive", reason)


def test_a_score_that_is_not_finite_has_no_p_value() -> None:
    assert only(item(None, status="nonfinite"), clean()).p == {"spikiness": None, "spikiness-l4": 1.0}


def test_given_images_have_no_p_value() -> None:
    """Clean scores of generated latents say nothing of a given image: another population."""
    assert only(item(500.0, prompt=None, image="x.png"), clean()).p == {"spikiness": None, "spikiness-l4": None}


@pytest.mark.parametrize(("n", "outcome"), [(0, "inconclusive"), (98, "inconclusive"), (99, "suspicious")])
def test_too_few_clean_scores_are_inconclusive(n: int, outcome: str) -> None:
    """The smallest p-value is 1 / (n + 1), so that 1 % takes 99 clean scores."""
    assert only(item(1000.0), clean(n)).outcome == outcome


def test_too_few_clean_scores_are_counted_in_the_reason() -> None:
    found = only(item(-1.0), clean(98))
    assert (found.outcome, found.reason) == ("inconclusive", "98 clean scores cannot show p <= 0.01")
    assert only(item(-1.0), clean(98), level=0.05).outcome == "clear"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": "xyz"}, "model (calibrated 'xyz', scanned 'abc')"),
        ({"steps": 50}, "steps (calibrated 50, scanned 25)"),
        ({"dtype": "fp16"}, "dtype (calibrated 'fp16', scanned None)"),
    ],
)
def test_clean_scores_of_another_setting_are_refused_by_its_name(settings: dict[str, Any], named: str) -> None:
    results, verdict = judge(header(), [item(1000.0)], clean(**settings))
    assert (results[0].outcome, results[0].p["spikiness"]) == ("inconclusive", None)
    assert results[0].reason == verdict.missing == f"the clean scores were made with another {named}"
    assert verdict.calibrated == 0


@pytest.mark.parametrize(
    "plan", [{"layers": ["mid"]}, {"timesteps": [60]}, {"num_seeds": 3}, {"layers": ["up", "mid"]}]
)
def test_clean_scores_that_do_not_cover_the_scan_are_not_used(plan: dict[str, Any]) -> None:
    results, verdict = judge(header(**plan), [item(1000.0)], clean())
    assert results[0].outcome == "inconclusive"
    assert (
        results[0].reason
        == verdict.missing
        == "the clean scores do not cover this choice of layers, timesteps and seeds"
    )


def test_without_clean_scores_nothing_is_clear() -> None:
    results, verdict = judge(header(planned=2), [item(0.0), item(0.0, prompt=None, image="x.png")], None)
    assert [row.outcome for row in results] == ["inconclusive", "inconclusive"]
    assert {row.reason for row in results} == {verdict.missing} == {"there are no clean scores for this model"}
    assert verdict.exit == Exit.OK


def test_counts_of_a_run() -> None:
    rows = [
        item(1000.0),
        item(0.0),
        item(1.0),
        item(None, status="nonfinite"),
        item(None, prompt=None, image="x.png", scores={}, status="unreadable"),
    ]
    results, verdict = judge(header(planned=7), rows, clean())
    assert [row.outcome for row in results] == ["suspicious", "clear", "clear", "inconclusive", "inconclusive"]
    assert dict(verdict.counts) == {"copy": 0, "suspicious": 1, "clear": 2, "inconclusive": 2}
    assert (verdict.planned, verdict.measured, verdict.unusable, verdict.calibrated) == (7, 5, 2, 199)
    assert not verdict.complete
    assert judge(header(planned=5), rows, clean())[1].complete


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([item(None, status="nonfinite"), item(None, prompt=None, image="x", status="unreadable")], Exit.INCONCLUSIVE),
        ([item(None, status="nonfinite"), item(0.0)], Exit.OK),
        ([item(1000.0)], Exit.OK),
        ([], Exit.INCONCLUSIVE),
    ],
    ids=["nothing usable", "one usable", "suspicious", "nothing at all"],
)
def test_a_scan_exits_inconclusive_only_when_nothing_was_usable(rows: list[Measurement], code: Exit) -> None:
    assert judge(header(), rows, clean())[1].exit == code


def test_a_measurement_is_kept_whole_in_its_result() -> None:
    row = item(1.0, line=3, meta={"group": "x"}, seeds=[1, 2], files=["images/0.png"], notes=["cut"])
    found = only(row, clean())
    assert found.model_dump(exclude={"p", "outcome", "reason"}) == row.model_dump()
