"""What is not known of an item stays open, whatever else is known of it: exactly one rule counts it."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, calibration, header, known, match, part, row, searched, words

from memdetect.copies.match import GONE, Match
from memdetect.judging import Verdict, judge
from memdetect.judging.outcome import KeptOf, Screened
from memdetect.judging.screened import as_screened
from memdetect.runs.policy import Ignore, Policy
from memdetect.runs.records import Measurement, Result

CLEAN = calibration(np.random.default_rng(0).normal(size=399).tolist(), **known([0.0, 9.0]))
POLICIES = {
    "suspicious": Policy(),
    "copy": Policy(fail_on="copy"),
    "partial-copy": Policy(fail_on="partial-copy"),
    "none": Policy(fail_on="none"),
    "copy and a rate": Policy(fail_on="copy", max_rate=0.9),
}


def judged(first: Measurement, policy: Policy, planned: int = 20, *, fill: bool = True) -> tuple[Result, Verdict]:
    """The first item of a run of which the others are clear."""
    scores = np.random.default_rng(1).normal(size=planned - 1).clip(-2, 2)
    others = searched(row(i, float(x)) for i, x in enumerate(scores, 1))
    head = header(planned, CLEAN, policy, index=INDEX)
    results, verdict = judge(head, [*(searched([first]) if fill else [first]), *others], CLEAN, policy)
    return results[0], verdict


def near(seed: int, **changes: Any) -> Match:
    facts = {"similar": True, "tile": 0.4, "ssim": 0.3}
    return Match(**{"seed": seed, "rank": 1, "key": "train-9", "similarity": 0.9, **facts, **changes})


def rule(verdict: Verdict, name: str) -> Any:
    return next((rule for rule in verdict.rules if rule.name == name), None)


# What somebody answers for


def entry(**what: Any) -> Policy:
    given = {"model": "tiny", "reason": "r", "owner": "o", "expires": "2999-01-01", **what}
    return Policy(ignore=(Ignore.model_validate({"id": "i0", **given}, strict=False),))


ANSWERS = [{"copy_of": "train-7"}, {"outcome": "copy"}]


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("fail_on", ["suspicious", "copy", "partial-copy", "none"])
@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"matches": [match(), near(1, tile=None, note=GONE)]}, "index", "was not there to be compared"),
        ({"matches": [match(), near(1, similar=False, note=GONE)]}, "index", "was not there to be compared"),
        ({"matches": [match()]}, "index", "19 of 20 items were searched"),
        ({"matches": [match()], "status": "nonfinite"}, "undetectable", "not finite"),
        ({"matches": [match()], "status": "unreadable"}, "undetectable", "could not be read"),
        ({"matches": [match()], "status": "lost"}, "undetectable", "could not be measured"),
        ({"matches": [part()], "status": "nonfinite"}, "undetectable", "not finite"),
    ],
)
def test_an_answer_for_one_image_hides_nothing_of_another(
    what: Any, fail_on: Any, changes: Any, name: str, said: str
) -> None:
    policy = entry(**what).model_copy(update={"fail_on": fail_on})
    found, verdict = judged(row(0, -1.0, **changes), policy, fill=False)
    assert found.suppressed
    assert (verdict.exit, rule(verdict, name).outcome) == (3, "inconclusive")
    assert said in rule(verdict, name).reason


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("changes", [{}, {"prompt": words(0, "clean")}, {"prompt": words(0, "scene")}])
def test_a_copy_that_is_answered_for_explains_its_score(what: Any, changes: Any) -> None:
    """Whether it ranks first, or cannot be ranked, or is known to be memorized."""
    for score in (-1.0, 9.0):
        assert judged(row(0, score, matches=[match()], **changes), entry(**what), 30)[1].exit == 0


@pytest.mark.parametrize("changes", [{"status": "nonfinite"}, {"status": "lost"}, {"status": "unreadable"}])
def test_a_part_is_not_all_that_can_be_found_where_whole_copies_fail(changes: Any) -> None:
    found, verdict = judged(row(0, -1.0, matches=[part()], **changes), POLICIES["copy"])
    assert (found.outcome, verdict.exit) == ("partial-copy", 3)
    assert judged(row(0, -1.0, matches=[part()], **changes), POLICIES["partial-copy"])[1].exit == 1


def test_an_answer_for_a_score_is_none_for_images_that_show_nothing() -> None:
    first = row(0, 9.0, one_colour=[0, 1])
    assert judged(first, Policy())[1].exit == 1
    found, verdict = judged(first, entry(outcome="suspicious"))
    assert (found.outcome, bool(found.suppressed), verdict.exit) == ("suspicious", True, 3)
    assert "a single colour" in rule(verdict, "undetectable").reason
    assert judged(row(0, 9.0), entry(outcome="suspicious"))[1].exit == 0


# Every inconclusive item


RANKS = {"rejected": (9.0, 20), "first": (9.0, 30), "ordinary": (0.0, 20), "without": (0.0, 20)}
REASONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "one colour": {"one_colour": [0, 1]},
    "not searched": {"matches": [match(False)]},
    "not compared": {"matches": [near(0, tile=None, note=GONE), match(False, 1)]},
    "may hold a part": {"matches": [near(0, similar=False, note=GONE), match(False, 1)]},
    "similar": {"matches": [near(0), match(False, 1)]},
    "nonfinite": {"status": "nonfinite"},
    "lost": {"status": "lost"},
    "memorized": {"prompt": words(0, "scene")},
    "memorized and similar": {"prompt": words(0, "scene"), "matches": [near(0), match(False, 1)]},
}


@pytest.mark.parametrize(("rank", "name", "reason"), [*product(RANKS, POLICIES, REASONS)])
def test_every_inconclusive_item_is_counted_by_one_rule(rank: str, name: str, reason: str) -> None:
    """One of `resolution` and `undetectable` counts it; `index` tells beside them what was not searched or compared."""
    (score, planned), changes = RANKS[rank], dict(REASONS[reason])
    if rank == "without":
        changes["prompt"] = words(0, "clean") if "prompt" not in changes else changes["prompt"]
    found, verdict = judged(row(0, score, **changes), POLICIES[name], planned, fill="matches" not in changes)
    counted = [r for r in verdict.rules if r.name in ("resolution", "undetectable") and r.observed]
    if found.outcome == "inconclusive":
        assert (verdict.exit, [r.observed for r in counted]) == (3, [1])
    else:
        unasked = reason.startswith("memorized") and not POLICIES[name].asks_scores
        assert name == "suspicious" or reason in ("nothing", "similar") or unasked


@pytest.mark.parametrize("name", ["copy", "partial-copy", "none", "copy and a rate"])
def test_a_score_that_fails_nothing_hides_no_question(name: str) -> None:
    for reason, said in (("one colour", "a single colour"), ("not searched", "was not searched")):
        first = row(0, 9.0, **REASONS[reason])
        found, verdict = judged(first, POLICIES[name], fill=reason == "one colour")
        assert (found.outcome, verdict.exit) == ("inconclusive", 3)
        assert said in found.reason
    assert judged(row(0, 9.0), POLICIES[name])[0].outcome == "suspicious"


# Prompts that are known to be memorized

SCREENED = Screened(1, 40, "score", (KeptOf("", 100, 100, 0.97, (0.97, 1.0)),), "", 0.9)


def screened(policy: Policy, kept: Screened | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of which every prompt was only screened; what the screen keeps is as given."""
    monkeypatch.setattr("memdetect.judging.verdict.screened_of", lambda *_: kept)
    rows = [as_screened(row(i, 0.0, prompt=words(i, "scanned" if i else "scene"))) for i in range(40)]
    return judge(header(len(rows), CLEAN, policy, index=INDEX), rows, CLEAN, policy)


@pytest.mark.parametrize("name", ["suspicious", "none", "copy and a rate"])
def test_a_known_prompt_is_never_clear(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where an image is similar, nor where it was only screened."""
    for reason in ("memorized", "memorized and similar"):
        found, verdict = judged(row(0, 0.0, **REASONS[reason]), POLICIES[name], fill=reason == "memorized")
        assert (found.outcome, verdict.exit) == ("inconclusive", 3)
        assert "known to be memorized" in rule(verdict, "undetectable").reason
    results, verdict = screened(POLICIES[name], SCREENED, monkeypatch)
    assert (results[0].outcome, results[1].outcome) == ("inconclusive", "clear")
    assert rule(verdict, "screen").outcome == "pass"
    assert rule(verdict, "undetectable").observed == 1
    assert "known to be memorized" in rule(verdict, "undetectable").reason


def test_where_copies_alone_fail_scores_play_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("copy", "partial-copy"):
        for reason in ("memorized", "memorized and similar"):
            found, verdict = judged(row(0, 0.0, **REASONS[reason]), POLICIES[name], fill=reason == "memorized")
            assert found.outcome == ("similar" if "similar" in reason else "clear")
            assert rule(verdict, "undetectable").observed == 0
        results, verdict = screened(POLICIES[name], SCREENED, monkeypatch)
        assert (results[0].outcome, verdict.exit) == ("clear", 0)


def test_screened_items_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule `screen`, where what the screen keeps is not enough; else, and where no screen is named, each."""
    lost = replace(SCREENED, reason="not stated")
    for kept, screen, count in ((lost, "inconclusive", 0), (SCREENED, "pass", 1), (None, "", 40)):
        _, verdict = screened(Policy(), kept, monkeypatch)
        found = rule(verdict, "screen")
        assert (found.outcome if found else "") == screen
        assert (verdict.exit, rule(verdict, "undetectable").observed) == (3, count)
