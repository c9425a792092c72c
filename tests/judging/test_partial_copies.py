"""A part of a training image that comes back: worse than a high score, less than a copy of the whole."""

from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, match, part, row, searched

from memdetect.judging import Verdict, judge
from memdetect.judging.run import _row
from memdetect.judging.search_rules import alike, parts
from memdetect.runs.policy import Policy
from memdetect.runs.records import COPIES, FINDINGS, Measurement, Outcome, Result

SIMILAR = {"similar": True, "tile": 0.4, "ssim": 0.3, "similarity": 0.9}


@cache
def clean() -> Any:
    return calibration(np.random.default_rng(0).normal(size=2400).tolist())


def judged(first: dict[str, Any], policy: Policy | None = None, score: float | None = 0.0) -> tuple[Result, Verdict]:
    """The first item of a run of 100 searched prompts, of which the others are clear."""
    scores = np.random.default_rng(1).normal(size=100).clip(-2, 2)
    rows = [row(0, score, **first), *(row(i, float(x)) for i, x in enumerate(scores[1:], 1))]
    head = header(100, clean(), policy, index=INDEX)
    results, verdict = judge(head, searched(rows), clean(), policy, today=date(2026, 11, 24))
    assert {result.outcome for result in results[1:]} == {"clear"}
    return results[0], verdict


FIRST: dict[Outcome, tuple[dict[str, Any], float | None]] = {
    "copy": ({"matches": [match()]}, 0.0),
    "partial-copy": ({"matches": [part()]}, 0.0),
    "suspicious": ({}, 9.0),
    "similar": ({"matches": [match(False).model_copy(update=SIMILAR)]}, 0.0),
    "clear": ({}, 0.0),
    "inconclusive": ({}, None),
}


@pytest.mark.parametrize(
    ("outcome", "copy", "partial", "suspicious", "none"),
    [
        ("copy", 1, 1, 1, 0),
        ("partial-copy", 0, 1, 1, 0),
        ("suspicious", 0, 0, 1, 0),
        ("similar", 0, 0, 0, 0),
        ("clear", 0, 0, 0, 0),
        ("inconclusive", 3, 3, 3, 3),
    ],
)
def test_what_fails_by_what_is_asked(outcome: Outcome, copy: int, partial: int, suspicious: int, none: int) -> None:
    first, score = FIRST[outcome]
    names = ("copy", "partial-copy", "suspicious", "none")
    for name, code in zip(names, (copy, partial, suspicious, none), strict=True):
        found, verdict = judged(first, Policy.model_validate({"fail_on": name}), score)
        assert found.outcome == outcome
        assert verdict.counts[outcome] == (100 if outcome == "clear" else 1)
        assert (name, int(verdict.exit)) == (name, code)


def test_the_order_of_outcomes() -> None:
    assert tuple(FINDINGS) == ("copy", "partial-copy", "suspicious", "similar")
    assert tuple(COPIES) == ("copy", "partial-copy")
    failing = {name: tuple(Policy(fail_on=name).failing) for name in ("copy", "partial-copy", "suspicious", "none")}
    assert failing == {
        "copy": ("copy",),
        "partial-copy": ("copy", "partial-copy"),
        "suspicious": ("copy", "partial-copy", "suspicious"),
        "none": (),
    }


@pytest.mark.parametrize(
    ("matches", "score", "outcome", "reason"),
    [
        ([part(), match(seed=1)], 9.0, "copy", "image 1 is a copy of train-7"),
        (
            [match().model_copy(update={"affine": (-1, 0, 1, 0, 1, 0)})],
            0.0,
            "copy",
            "image 0 is a copy of train-7, mirrored",
        ),
        ([part()], 9.0, "partial-copy", "image 0 repeats a part of train-7: 31% of its area agrees, mirrored"),
        ([part(affine=None)], None, "partial-copy", "image 0 repeats a part of train-7: 31% of its area agrees"),
        (
            [part(), part("train-8", 1, agreed=0.5, affine=(1.25, 0, -0.25, 0, 1, 0))],
            0.0,
            "partial-copy",
            "image 1 repeats a part of train-8: 50% of its area agrees, enlarged to 112%, cut to 20-100% of its width",
        ),
        (
            [part(agreed=None, affine=None)],
            0.0,
            "partial-copy",
            "image 0 repeats a part of train-7: an unknown share of its area agrees",
        ),
        # Neither a training image that is gone nor one that is similar hides it.
        ([part(), match(False, 1).model_copy(update={"similar": True})], 0.0, "partial-copy", None),
        ([part(**SIMILAR)], 0.0, "partial-copy", None),
    ],
)
def test_the_worst_outcome_and_its_reason(matches: Any, score: float | None, outcome: str, reason: str | None) -> None:
    found, _ = judged({"matches": matches}, score=score)
    assert found.outcome == outcome
    assert reason is None or found.reason == reason


def test_images_are_counted_once() -> None:
    """A copy of a training image repeats parts of others as well; an image with a part is not merely similar."""
    both = [match(), part("train-8"), part("train-9", 1), part("train-10", 1, **SIMILAR, agreed=0.6)]
    one: Measurement = row(0, 0.0, matches=both)
    assert [found.key for found in parts(one)] == ["train-10", "train-9"]
    assert alike(one) == []
    tally = judged({"matches": both})[1].tally
    assert (tally.copied, tally.partial, tally.similar) == (1, 1, 0)


def test_an_image_that_was_not_searched_may_be_a_copy() -> None:
    """Beside a part in one image the other is not known to be no copy: that is what is asked."""
    unseen = match(False, 1).model_copy(update={"similar": True})
    for asked, code in (("copy", 3), ("partial-copy", 1)):
        _, verdict = judged({"matches": [part(), unseen]}, Policy.model_validate({"fail_on": asked}))
        assert int(verdict.exit) == code


def test_a_part_fails_under_a_distribution_shift_warning_and_needs_no_clean_scores() -> None:
    rows = [row(i, 9.0, matches=[part()] if i == 0 else []) for i in range(50)]
    for made in (clean(), None):
        head = header(50, made, index=INDEX)
        results, verdict = judge(head, searched(rows), made)
        assert results[0].outcome == "partial-copy"
        assert verdict.verdict == "fail"
    assert next(rule for rule in verdict.rules if rule.name == "findings").reason == "1 partial-copy among 50"


def test_families_of_which_a_part_comes_back_count_towards_the_rate() -> None:
    policy = Policy(max_rate=0.2, fail_on="none")
    verdict = judged({"matches": [part()]}, policy)[1]
    assert verdict.rate is not None
    assert verdict.rate.copies == 1
    assert "1 came back as copies, whole or in part" in verdict.claim


def test_a_policy_on_copies_in_part_wants_an_index_and_no_scores() -> None:
    policy = Policy(fail_on="partial-copy")
    assert not policy.asks_scores
    assert Policy(fail_on="partial-copy", max_rate=0.1).asks_scores
    _, verdict = judge(header(1, None, policy), [row(0, 0.0)], None, policy)
    assert "index: no training images were searched; scan with an index" in verdict.reasons


def test_flat_rows_say_what_comes_back() -> None:
    found, _ = judged({"matches": [part(), match(False, 1).model_copy(update={"similarity": 0.7})]})
    flat = _row(found)
    assert (flat["match"], flat["copy"], flat["partial_copy"], flat["agreed"]) == ("train-7", False, True, 0.31)


def test_a_match_is_kept_whole_in_a_record() -> None:
    held = row(0, 0.0, matches=[part()])
    assert Measurement.model_validate_json(held.model_dump_json()) == held
