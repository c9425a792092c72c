"""Without an index a run passes only on scores that are known to notice what this model has memorized."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import INDEX, ON_BASE, calibration, header, known, of_base, row, searched, write_run

from memdetect.errors import Exit
from memdetect.inputs.options import Judging
from memdetect.judging import Verdict, judge
from memdetect.judging.forecast import too_few_rounds
from memdetect.judging.run import judge_folders
from memdetect.judging.statistics.beta import lower_bound
from memdetect.judging.statistics.rates import memorized_share
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement

REFERENCE = [float(i) for i in range(399)]  # h = 1 for 19 prompts: one above all of them is found


def scanned(m: int = 19, kind: str = "scene") -> list[Measurement]:
    return [row(i, 20.5 * i, meta={"kind": kind}) for i in range(m)]


def judged(rows: list[Measurement], policy: Policy | None = None, **changes: Any) -> Verdict:
    made = calibration(REFERENCE, **changes)
    return judge(header(len(rows), made, policy), rows, made, policy)[1]


def reason(verdict: Verdict, name: str) -> str:
    return next(rule.reason for rule in verdict.rules if rule.name == name)


def test_scores_of_which_nothing_is_known_pass_nothing():
    verdict = judged(scanned())
    assert verdict.exit == Exit.INCONCLUSIVE
    assert reason(verdict, "sensitivity").startswith(
        "no index was searched and what the score can miss is not known for 19 of 19 prompts; scan with an index"
    )
    assert verdict.basis == "by scores alone, what they miss is not known"


def test_sensitivity_counts_prompts_that_alone_would_have_kept_a_run_from_passing():
    """n = 399, 19 prompts, 5 %: p * 19 <= .05 takes rank 1 (19 / 400 = .0475), which 398.5 has and 397.5 has not."""
    found = known([398.5, 400.0, 397.5, 10.0])
    verdict = judged(scanned(), **found)
    assert [(s.kind, s.noticed, s.known) for s in verdict.sensitivity] == [("scene", 2, 4)]
    assert verdict.sensitivity[0].low == lower_bound(2, 4, 0.95)
    # With 9 prompts rank 2 is found as well: 2 / 400 * 9 = .045.
    assert judged(scanned(9), **found).sensitivity[0].noticed == 3
    # Among 200 prompts nothing is found alone, and what is above every clean one is undecided: the run does not pass.
    assert judged(scanned(200), **found).sensitivity[0].noticed == 2


@pytest.mark.parametrize(
    ("noticed", "exit"), [(30, Exit.OK), (20, Exit.OK), (19, Exit.INCONCLUSIVE), (0, Exit.INCONCLUSIVE)]
)
def test_the_lower_bound_decides(noticed, exit):
    """Of 30 at least 20 have to be noticed for a lower 95 % bound of one half."""
    assert (lower_bound(noticed, 30, 0.95) >= 0.5) == (exit == Exit.OK)
    verdict = judged(scanned(), **known([500.0] * noticed + [0.0] * (30 - noticed)))
    assert verdict.exit == exit
    if exit == Exit.OK:
        low = f"at least {lower_bound(noticed, 30, 0.95):.0%}"
        assert verdict.basis == (
            f"by scores alone, which notice {noticed} of 30 memorized prompts of kind scene, {low}"
        )
        assert verdict.claim.startswith(verdict.basis.capitalize()[:40])


def test_prompts_of_another_kind_are_inconclusive():
    made = known([500.0] * 30)
    assert judged(scanned(), **made).exit == Exit.OK
    mixed = [*scanned(18), row(18, 5.5, meta={"kind": "emblem"})]
    assert "not known for 1 of 19 prompts" in reason(judged(mixed, **made), "sensitivity")
    plain = [row(i, 20.5 * i) for i in range(19)]
    assert "not known for 19 of 19 prompts" in reason(judged(plain, **made), "sensitivity")
    grouped = [row(i, 20.5 * i, meta={"group": "scene"}) for i in range(19)]
    assert judged(grouped, **made).exit == Exit.OK


def test_the_worst_kind_decides():
    scene, emblem = known([500.0] * 30), known([0.0] * 30, "emblem")
    both = {
        "known": scene["known"] + emblem["known"],
        "known_scores": {"spikiness": {"up": {"50": [[500.0] * 2] * 30 + [[0.0] * 2] * 30}}},
    }
    rows = [*scanned(18), row(18, 5.5, meta={"kind": "emblem"})]
    verdict = judged(rows, **both)
    assert "the score notices 0 of 30 memorized prompts of kind emblem, at least 0%" in reason(verdict, "sensitivity")
    assert judged(scanned(), **both).exit == Exit.OK


def test_the_policy_may_waive_it_by_name_and_every_report_says_so():
    policy = Policy(min_sensitivity=0.0)
    verdict = judged(scanned(), policy)
    assert verdict.exit == Exit.OK
    assert "what they miss is not known" in verdict.claim.lower()
    assert "the policy waives min-sensitivity: what scores alone miss is not asked" in verdict.notes


def test_a_searched_index_takes_its_place_and_copies_alone_need_none():
    made = calibration(REFERENCE)
    rows = searched(scanned())
    assert judge(header(19, made, index=INDEX), rows, made)[1].exit == Exit.OK
    only = Policy(fail_on="copy")
    assert judge(header(19, made, only, index=INDEX), rows, made, only)[1].exit == Exit.OK
    assert judged(scanned(), only).exit == Exit.INCONCLUSIVE


@pytest.mark.parametrize("policy", [Policy(), Policy(min_sensitivity=0.0), Policy(fail_on="none", min_sensitivity=0.0)])
def test_a_run_against_a_base_never_passes_without_an_index(policy):
    rows = scanned()
    made = calibration(REFERENCE, **of_base(19), **known([500.0] * 30))
    verdict = judge(header(19, made, policy, plan=ON_BASE), rows, made, policy)[1]
    assert verdict.exit == Exit.INCONCLUSIVE
    assert "scores against a base are not known to find what comes back" in reason(verdict, "sensitivity")
    assert judge(header(19, made, policy, index=INDEX, plan=ON_BASE), searched(rows), made, policy)[1].exit == Exit.OK


def test_one_memorized_caption_that_could_not_be_found_is_said():
    """50 captions and 4 rounds of the base: h = ceil(50 / (.05 * 201)) = 5."""
    rows = searched([row(i, float(i) + 0.5) for i in range(50)])
    made = calibration([float(i) for i in range(200)], **of_base(50))
    verdict = judge(header(50, made, index=INDEX, plan=ON_BASE), rows, made)[1]
    assert reason(verdict, "calibration") == (
        "one memorized prompt cannot be found among 50: it takes 5 at once; give --base-rounds 20, or --fail-on copy "
        "with an index"
    )
    more = calibration([float(i) for i in range(1000)], **of_base(50))
    assert reason(judge(header(50, more, index=INDEX, plan=ON_BASE), rows, more)[1], "calibration") == ""


def test_what_a_base_drew_is_of_its_own_prompts_alone(tmp_path: Path) -> None:
    """Ids are the callers' own: other prompts may have the same, and another run may have no base at all."""
    rows = searched([row(i, 9.0) for i in range(50)])
    offsets = {"spikiness": {r.id: 100.0 for r in rows}}
    made = calibration([float(i) for i in range(200)], **{**of_base(50), "offsets": offsets})
    plain = calibration([float(i) for i in range(200)])
    (tmp_path / "made.json").write_text(made.model_dump_json())
    (tmp_path / "plain.json").write_text(plain.model_dump_json())
    for clean, plan, said in (
        (made, {}, f"base (calibrated {'b' * 12!r}, scanned 'none'); scan again with --base, into another --out"),
        (
            made,
            {"base": "c" * 64},
            f"base (calibrated {'b' * 12!r}, scanned {'c' * 12!r}); scan again with --base, into another --out",
        ),
        (made, {**ON_BASE, "inputs": "def"}, "list of prompts (calibrated 'abc', scanned 'def'); scan again with"),
        (plain, ON_BASE, f"base (calibrated 'none', scanned {'b' * 12!r}); scan again with --base, into another --out"),
    ):
        results, verdict = judge(header(50, clean, index=INDEX, plan=plan), rows, clean)
        assert f"the clean scores were made with another {said}" in reason(verdict, "calibration")
        assert verdict.exit == Exit.INCONCLUSIVE
        assert {r.judged["combined"] for r in results} == {r.judged["spikiness"] for r in results} == {9.0}
    results, _ = judge(header(50, made, index=INDEX, plan=ON_BASE), rows, made)
    assert {r.judged["combined"] for r in results} == {-91.0}
    run = write_run(tmp_path / "run", header(50, plain, index=INDEX), rows, plain)
    given = Judging(calibration=str(tmp_path / "made.json"))
    assert "made with another base" in judge_folders([run], given).verdict.rules[2].reason


@pytest.mark.parametrize(
    ("rounds", "planned", "deciding"), [(20, 50, 2), (20, 30, 2), (21, 30, 2), (4, 50, 1), (7, 30, 1)]
)
def test_rounds_that_are_advised_are_enough(rounds, planned, deciding):
    """Where several detectors decide, every other round tells how to combine them and is not ranked among."""
    names = ["spikiness", "agreement"][:deciding]
    changes = {"plan": {"detectors": names, "combine": names, **ON_BASE}}
    rows = searched([row(i, {name: float(i) + 0.5 for name in names}) for i in range(planned)])

    def judged_with(rounds):
        offsets = {name: {r.id: 0.0 for r in rows} for name in names}
        table = {name: [float(i) for i in range(planned * rounds)] for name in names}
        held = {**of_base(planned), "offsets": offsets}
        held["provenance"] = {**held["provenance"], "rounds": rounds}
        made = calibration(table, **held)
        items = [
            i.model_copy(update={"part": "calibration" if k % rounds % 2 else "tuning"})
            for k, i in enumerate(made.items)
        ]
        made = made.model_copy(update={"items": tuple(items)})
        return reason(judge(header(planned, made, index=INDEX, **changes), rows, made)[1], "calibration")

    said = judged_with(rounds)
    advised = int(re.search(r"give --base-rounds (\d+),", said).group(1))
    assert advised > rounds
    assert judged_with(advised) == ""
    assert f"give --base-rounds {advised}," in too_few_rounds(planned, rounds, Policy(), deciding)
    assert too_few_rounds(planned, advised, Policy(), deciding) == ""


def test_the_share_that_may_be_memorized_is_bounded_by_the_known_ones():
    made = known([500.0] * 20)
    verdict = judged(scanned(), **made)
    flagged = verdict.rate.flagged
    assert verdict.memorized == memorized_share(flagged, 19, 20, 20)
    assert f"at most {verdict.memorized:.2%} are memorized if those are noticed like the known ones" in verdict.claim
    assert judged(scanned()).memorized is None


def test_known_prompts_without_a_score_of_a_deciding_detector_tell_nothing():
    rng = np.random.default_rng(0)
    scores = {"spikiness": rng.normal(size=400).tolist(), "other": rng.normal(size=400).tolist()}
    made = calibration(scores, 100, **known([500.0] * 30))
    plan = {"detectors": ["spikiness", "other"], "combine": ["spikiness", "other"]}
    rows = [row(i, {"spikiness": i / 50, "other": i / 60}, meta={"kind": "scene"}) for i in range(19)]
    verdict = judge(header(19, made, plan=plan), rows, made)[1]
    assert verdict.sensitivity == ()
    assert verdict.exit == Exit.INCONCLUSIVE
