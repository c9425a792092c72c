"""Clean prompts that are too few to say which prompts are unlike them: no pass by scores rests on them."""

from typing import Any

import pytest
from synthetic_runs import INDEX, ON_BASE, calibration, header, of_base, row, searched

from memdetect.errors import Exit
from memdetect.judging import judge
from memdetect.judging.calibration import Calibration
from memdetect.judging.outcome import Verdict
from memdetect.runs.policy import Policy


def clean(count: int, **changes: Any) -> Calibration:
    return calibration([float(i) for i in range(count)], **changes)


def verdict_of(made: Calibration, policy: Policy | None = None) -> Verdict:
    rows = searched(row(i, float(i)) for i in range(5))
    return judge(header(5, made, policy or Policy(), index=INDEX), rows, made, policy)[1]


def reason(verdict: Verdict, name: str) -> str:
    return next(rule.reason for rule in verdict.rules if rule.name == name)


@pytest.mark.parametrize("count", [20, 99])
def test_a_pass_by_scores_does_not_rest_on_fewer_than_a_hundred(count: int) -> None:
    verdict = verdict_of(clean(count))
    assert verdict.exit == Exit.INCONCLUSIVE
    said = f"{count} clean prompts are too few to go by, at least 100 are asked for; calibrate with more"
    assert reason(verdict, "calibration") == said


def test_copies_alone_need_no_clean_prompts() -> None:
    verdict = verdict_of(clean(20), Policy(fail_on="copy"))
    assert verdict.exit == Exit.OK
    assert "the policy asks for no scores; prompts that have one and are like clean ones are ranked" in verdict.claim


@pytest.mark.parametrize("changes", [of_base(5), {"strata": ["a"] * 300}])
def test_a_base_and_strata_have_sizes_of_their_own(changes: dict[str, Any]) -> None:
    count, plan = (50, ON_BASE) if "base" in changes else (300, {"strata": "kind"})
    made, rows = clean(count, **changes), searched(row(i, float(i), meta={"kind": "a"}) for i in range(5))
    verdict = judge(header(5, made, index=INDEX, plan=plan), rows, made)[1]
    assert "too few" not in reason(verdict, "calibration")
    assert "made with another" not in reason(verdict, "calibration")


def test_what_changed_since_the_first_image_is_named() -> None:
    made, other = clean(300), clean(301)
    rows = searched(row(i, float(i)) for i in range(5))
    head = header(5, made, Policy(), index=INDEX)

    def said(calibration: Calibration, policy: Policy) -> str:
        notes = judge(head, rows, calibration, policy)[1].notes
        return next((note.partition(" named")[0] for note in notes if "before its first image" in note), "")

    assert said(made, Policy()) == ""
    assert said(made, Policy(fdr=0.1)) == "policy is not the one"
    assert said(other, Policy()) == "calibration is not the one"
    assert said(other, Policy(fdr=0.1)) == "policy and calibration are not those"
