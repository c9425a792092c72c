"""What people say is no copy: what else is not known of the item stays, and only what they looked at is lifted."""

from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, match, part, row, searched, words

from memdetect.copies.match import GONE, Match
from memdetect.judging import Verdict, judge
from memdetect.judging.rows import Records, rows_of
from memdetect.runs.policy import Ignore, Policy
from memdetect.runs.records import Measurement, Result
from memdetect.runs.review import LIFTED, Reviewed, fingerprint, shown_matches

CLEAN = calibration(np.random.default_rng(0).normal(size=999).tolist())
SUSPICIOUS, COPY, PARTIAL, NONE = (Policy(fail_on=name) for name in ("suspicious", "copy", "partial-copy", "none"))


def said(about: Measurement, decision: Any = "not a copy", *training: str, name: str = "Ann Lee") -> Reviewed:
    return Reviewed(
        id=about.id,
        fingerprint=fingerprint(about.prompt, about.sha256, about.matches),
        pictures=("a" * 64,),
        decision=decision,
        name=name,
        time="2026-11-30T09:05:00Z",
        **({"training": training} if training else {}),
    )


def judged(
    first: Measurement, *decisions: Reviewed, policy: Policy = SUSPICIOUS, fill: bool = True, index: Any = INDEX
) -> tuple[Result, Verdict]:
    """The first item of a run of 100, of which the others are clear, with what people decided of it."""
    scores = np.random.default_rng(1).normal(size=99).clip(-2, 2)
    others = searched(row(i, float(x)) for i, x in enumerate(scores, 1))
    head = header(100, CLEAN, policy, index=index)
    rows = rows_of([*(searched([first]) if fill else [first]), *others], head.plan)
    if decisions:
        rows = rows.changed(decisions={0: decisions})
    results, verdict = judge(head, Records(rows, head.plan), CLEAN, policy)
    return results[0], verdict


def rule(verdict: Verdict, name: str) -> Any:
    return next(rule for rule in verdict.rules if rule.name == name)


def copied(score: float | None = -1.0, *matches: Match, **changes: Any) -> Measurement:
    return row(0, score, matches=matches or [match()], **changes)


def gone(seed: int = 1) -> Match:
    return Match(seed=seed, rank=1, key="train-9", similarity=0.9, similar=True, note=GONE)


# What lies beneath a copy that is none


@pytest.mark.parametrize("decision", LIFTED)
def test_a_score_that_cannot_be_decided_stays_open(decision: str) -> None:
    """Above every clean prompt, and not rejected among a hundred: as without the false copy."""
    first = copied(9.0)
    assert judged(copied(9.0, match(False)))[1].exit == 3
    found, verdict = judged(first, said(first, decision))
    assert (found.outcome, verdict.exit) == ("copy", 3)
    assert rule(verdict, "resolution").observed == 1
    assert judged(first, said(first, decision), policy=COPY)[1].exit == 0


@pytest.mark.parametrize("decision", LIFTED)
@pytest.mark.parametrize("policy", [SUSPICIOUS, COPY, PARTIAL, NONE])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "nonfinite"}, "not finite"),
        ({"status": "unreadable", "notes": ["the first of 3 frames was read"]}, "could not be read as a whole"),
        ({"status": "lost"}, "could not be measured"),
        ({"one_colour": [0, 1]}, "a single colour"),
    ],
)
def test_what_was_not_measured_stays_open(decision: str, policy: Policy, changes: Any, reason: str) -> None:
    for found in (match(), part()):
        first = copied(-1.0, found, **changes)
        verdict = judged(first, said(first, decision), policy=policy)[1]
        assert verdict.exit == 3
        assert reason in rule(verdict, "undetectable").reason


def test_an_item_without_a_p_value_stays_open() -> None:
    first = copied(-1.0, prompt=words(0, "clean"))
    verdict = judged(first, said(first))[1]
    assert verdict.exit == 3
    assert "is among the clean ones" in rule(verdict, "undetectable").reason
    assert judged(first, said(first), policy=COPY)[1].exit == 0


@pytest.mark.parametrize("policy", [SUSPICIOUS, COPY, PARTIAL, NONE])
def test_what_was_not_searched_or_compared_stays_open(policy: Policy) -> None:
    first = copied(-1.0, match(), gone())
    verdict = judged(first, said(first), policy=policy)[1]
    assert verdict.exit == 3
    assert "was not there to be compared" in rule(verdict, "index").reason
    first = copied(-1.0)
    verdict = judged(first, said(first), policy=policy, fill=False)[1]
    assert verdict.exit == 3
    assert "99 of 100 items were searched" in rule(verdict, "index").reason


@pytest.mark.parametrize("policy", [SUSPICIOUS, COPY, PARTIAL, NONE])
def test_of_a_whole_item_nothing_stays(policy: Policy) -> None:
    for found in (match(), part()):
        first = copied(-1.0, found)
        assert judged(first, said(first), policy=policy)[1].exit == 0


# Images that are similar, with other pixels


def near(seed: int = 0, key: str = "train-3") -> Match:
    return Match(seed=seed, rank=1, key=key, similarity=0.9, similar=True, tile=0.4, ssim=0.3)


def test_what_a_person_says_is_similar_is_not_counted_as_similar_once_more() -> None:
    strict = {**INDEX, "level": 0.02}  # of so loose a level not one image may be similar
    first = copied(-1.0, near())
    assert rule(judged(first, index=strict)[1], "similar").observed == 1
    assert judged(first, said(first, "similar"), index=strict)[1].exit == 0
    assert rule(judged(first, said(first, "needs the owner"), index=strict)[1], "similar").observed == 1
    lifted = copied(-1.0, match())
    assert judged(lifted, said(lifted), index=strict)[1].exit == 0
    two = copied(-1.0, near(), near(1, "train-4").model_copy(update={"similarity": 0.85}))
    assert rule(judged(two, said(two, "similar"), index=strict)[1], "similar").observed == 1
    assert rule(judged(two, said(two, "similar", "train-3", "train-4"), index=strict)[1], "similar").observed == 0


def test_a_sibling_nearer_than_the_copy_is_shown_to_whoever_lifts_it() -> None:
    """Else it would count as similar for ever, and nobody would be asked."""
    strict = {**INDEX, "level": 0.02}
    sibling = near().model_copy(update={"similarity": 0.99})
    first = copied(-1.0, match(), sibling)
    names = [one.key for one in shown_matches(first.matches)]
    assert names == [match().key, "train-3"]
    assert judged(first, said(first, "not a copy", *names), index=strict)[1].exit == 0
    assert rule(judged(first, said(first, "not a copy", names[0]), index=strict)[1], "similar").observed == 1


# Which training images a decision is about

X, Y = match(), Match(seed=1, rank=1, key="train-8", similarity=0.95, copy_found=True)


def test_a_decision_lifts_the_training_image_that_it_names_and_no_other() -> None:
    first = copied(-1.0, X, Y)
    assert judged(first, said(first, "not a copy", "train-7", "train-8"))[1].exit == 0
    for training in ((), ("train-7",), ("train-8",), ("train-7", "train-80")):
        found, verdict = judged(first, said(first, "not a copy", *training))
        assert (verdict.exit, found.lifted) == (1, False)
        told = "1 decision leaves out training images that the item repeats; decide again"
        assert rule(verdict, "review").reason == told
        assert rule(verdict, "findings").outcome == "fail"


def test_a_part_that_nobody_looked_at_is_left() -> None:
    for other in (part("train-8", 1), part("train-8", 0)):
        first = copied(-1.0, match(), other)
        assert judged(first, said(first))[1].exit == 1
        assert judged(first, said(first, "similar", "train-7", "train-8"))[1].exit == 0


def test_a_training_image_that_came_into_the_index_later_is_left() -> None:
    old, new = copied(-1.0, X), copied(-1.0, X, Y)
    assert said(old).fingerprint == said(new).fingerprint
    assert judged(old, said(old, "not a copy", "train-7"))[1].exit == 0
    assert judged(new, said(old, "not a copy", "train-7"))[1].exit == 1
    assert judged(new, said(old))[1].exit == 1


def test_crops_and_decodings_of_a_training_image_are_the_same() -> None:
    cropped = Y.model_copy(update={"key": "train-7#plain#0,0,64,64"})
    first = copied(-1.0, X.model_copy(update={"key": "train-7#white"}), cropped)
    for training in ((), ("train-7",)):
        assert judged(first, said(first, "not a copy", *training))[1].exit == 0


def test_each_person_whose_decision_counts_has_to_name_them_all() -> None:
    first = copied(-1.0, X, Y)
    whole = said(first, "not a copy", "train-7", "train-8", name="Bo Ek")
    verdict = judged(first, said(first), whole)[1]
    assert verdict.exit == 1
    assert rule(verdict, "review").observed == 1
    later = said(first, "similar", "train-8", "train-7").model_copy(update={"time": "2026-12-01T00:00:00Z"})
    assert judged(first, said(first), whole, later)[1].exit == 0


def test_a_suppression_answers_for_what_a_decision_leaves_out() -> None:
    entry = Ignore.model_validate_json(
        '{"id": "i0", "outcome": "copy", "model": "tiny", "reason": "r", "owner": "o", "expires": "2999-01-01"}'
    )
    first = copied(-1.0, X, Y)
    verdict = judged(first, said(first), policy=Policy(ignore=(entry,)))[1]
    assert (verdict.exit, rule(verdict, "review").outcome) == (0, "pass")
