"""One decision, each item with its reason: never clear without evidence, never passed without every answer."""

from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import INDEX, calibration, header, match, plan_of, row, searched, words

from memdetect.errors import Exit
from memdetect.inputs.wording import family_key
from memdetect.judging import Verdict, judge
from memdetect.runs.policy import Ignore, Policy
from memdetect.runs.records import Measurement, Result


@cache
def clean(n: int, seed: int = 0) -> Any:
    """Clean prompts; the last one is of the family that a column of 9 names."""
    made = calibration(np.random.default_rng(seed).normal(size=n).tolist())
    last = made.items[-1].model_copy(update={"family": family_key({"family": 9}, "")})
    return made.model_copy(update={"items": (*made.items[:-1], last)})


def scanned(m: int, seed: int = 1, detections: int = 0, height: float = 8.0) -> list[Measurement]:
    values = np.random.default_rng(seed).normal(size=m)
    values[:detections] = height + np.arange(detections) / 100
    return [row(i, float(x)) for i, x in enumerate(values)]


def judged(
    rows: list[Measurement], made: Any, policy: Policy | None = None, planned: int | None = None, **changes: Any
) -> tuple[list[Result], Verdict]:
    """Judged as searched in an index, unless `index` says otherwise ({} = none)."""
    index = {**INDEX, **changes.pop("index", {})} if changes.get("index", INDEX) else changes.pop("index")
    head = header(len(rows) if planned is None else planned, made, policy, index=index, **changes)
    return judge(head, searched(rows) if index else rows, made, policy, today=date(2026, 11, 24))


def reason(verdict: Verdict, name: str) -> str:
    return next(rule.reason for rule in verdict.rules if rule.name == name)


# Items


def test_detections_are_suspicious_and_the_rest_is_clear():
    results, verdict = judged(scanned(100, detections=5), clean(2400))
    assert [r.outcome for r in results] == ["suspicious"] * 5 + ["clear"] * 95
    assert results[0].p["combined"] == results[0].p["spikiness"] == 1 / 2401
    assert results[0].reason == "p = 0.00042 among 2400 clean prompts"
    assert (verdict.verdict, verdict.exit, verdict.detections) == ("fail", Exit.FAILED, 1)
    assert verdict.reasons == ["findings: 5 suspicious among 100"]


def test_a_clean_run_passes():
    results, verdict = judged(scanned(100), clean(2400))
    assert (verdict.verdict, verdict.exit) == ("pass", Exit.OK)
    assert {r.outcome for r in results} == {"clear"}
    assert verdict.fixed
    assert verdict.notes == ("the prompts' wording was not compared with that of the clean ones",)


def test_one_hit_that_cannot_be_decided_says_what_it_takes():
    """h = ceil(1000 / (.05 * 751)) = 27 detections, or 1000 / .05 - 1 clean prompts."""
    results, verdict = judged(scanned(1000, detections=1, height=9.0), clean(750))
    assert results[0].outcome == "inconclusive"
    assert "27 such prompts or 19999 clean ones are needed" in results[0].reason
    assert (verdict.verdict, verdict.detections, verdict.needed) == ("inconclusive", 27, 19_999)
    assert "it takes 19999 clean prompts" in reason(verdict, "resolution")
    assert judged(scanned(1000, detections=27, height=9.0), clean(750))[1].counts["suspicious"] >= 27


def test_a_prompt_below_some_clean_one_is_clear_when_not_rejected():
    made = calibration([float(i) for i in range(200)])
    results, _ = judged([row(0, 198.5), *(row(i, float(i)) for i in range(1, 100))], made)
    assert (results[0].p["combined"], results[0].outcome) == (2 / 201, "clear")


def test_a_copy_is_a_copy_whatever_its_score():
    rows = [row(0, None, matches=[match(False), match()]), row(1, 0.0, matches=[match(False)])]
    results, verdict = judged(rows, None, index={"rows": 10, "coverage": 1.0})
    assert [r.outcome for r in results] == ["copy", "inconclusive"]
    assert results[0].reason == "image 0 is a copy of train-7"
    assert verdict.verdict == "fail"


def test_an_index_without_a_threshold_clears_nothing():
    """No copy can be told by it, so that no item is clear and no gate on copies passes."""
    rows = [row(i, 0.0, matches=[match(False)]) for i in range(50)]
    index = {"rows": 10, "coverage": 1.0, "similarity": None}
    results, verdict = judged(rows, clean(2400), Policy(fail_on="copy"), index=index)
    assert {r.outcome for r in results} == {"inconclusive"}
    assert results[0].reason.startswith("the index has no threshold")
    assert reason(verdict, "index").startswith("the index has no threshold")
    assert verdict.exit == Exit.INCONCLUSIVE
    results, verdict = judged(rows, clean(2400), Policy(fail_on="copy"), index={**index, "similarity": 0.8})
    assert {r.outcome for r in results} == {"clear"}
    assert "index" not in {rule.name for rule in verdict.rules}


def test_an_item_that_is_like_a_training_image_is_similar():
    """The embedder alone is no proof of a copy, and nothing that it calls similar is clear."""
    alike = match(False).model_copy(update={"seed": 1, "similar": True, "tile": 0.3, "ssim": 0.5})
    rows = [row(0, 0.0, matches=[match(False), alike]), row(1, 0.0, matches=[match(False)]), *scanned(50)[2:]]
    results, _ = judged(rows, clean(2400), index={"rows": 10, "coverage": 1.0})
    assert [(r.outcome, r.reason) for r in results[:2]] == [
        ("similar", "image 1 is similar to train-7, but the pixels differ"),
        ("clear", ""),
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"status": "unreadable", "scores": {}, "prompt": None, "image": "x"},
            "the input could not be read as a whole",
        ),
        ({"status": "nonfinite"}, "the network gave values that are not finite"),
        ({"prompt": None, "image": "x.png"}, "the clean scores are of generated images, not of given ones"),
        ({"meta": {"family": 9}}, "the prompt, or one of its family, is among the clean ones"),
        (
            {"prompt": words(4, "CLEAN ").replace(" ", "  ")},
            "the prompt, or one of its family, is among the clean ones",
        ),
        ({"scores": {}}, "spikiness has no score for every layer, timestep and seed"),
    ],
)
def test_an_item_that_cannot_be_judged_says_why(changed, said):
    rows = [row(0, 50.0).model_copy(update=changed), *scanned(50)[1:]]
    results, verdict = judged(rows, clean(2400))
    assert (results[0].outcome, results[0].reason) == ("inconclusive", said)
    assert verdict.exit == Exit.INCONCLUSIVE
    assert said in reason(verdict, "undetectable")


@pytest.mark.parametrize("cells", [[1.0], [1.0, None], [1.0, float("nan")], [1.0, 2.0, 3.0], []])
def test_an_item_that_lost_a_seed_is_never_judged_by_the_others(cells):
    """Design 11."""
    broken = row(0, 9.0)
    held = broken.scores["spikiness"].model_copy(update={"cells": {"up": {"50": cells}}})
    results, _ = judged([broken.model_copy(update={"scores": {"spikiness": held}}), *scanned(50)[1:]], clean(2400))
    assert results[0].outcome == "inconclusive"


def test_without_clean_scores_nothing_is_clear():
    results, verdict = judged(scanned(3), None)
    assert {r.outcome for r in results} == {"inconclusive"}
    assert verdict.missing == "there are no clean scores for this model; run `memdetect calibrate`"
    assert (verdict.exit, verdict.scan_exit) == (Exit.INCONCLUSIVE, Exit.OK)


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ({"model": "xyz"}, "model (calibrated 'abc', scanned 'xyz')"),
        ({"steps": 50}, "steps (calibrated 25, scanned 50)"),
        ({"layers": ["mid"]}, "layer (calibrated up, scanned mid)"),
        ({"timesteps": [60]}, "timestep (calibrated 50, scanned 60)"),
        ({"num_seeds": 3}, "num_seeds (calibrated 2, scanned 3)"),
        ({"detectors": ["spikiness", "other"], "combine": ["other"]}, "detector (calibrated spikiness, scanned other)"),
        ({"strata": "kind"}, "strata (calibrated '', scanned 'kind')"),
    ],
)
def test_clean_scores_of_another_setting_are_refused_by_its_name(plan, named):
    results, verdict = judged(scanned(40), clean(400), plan=plan)
    assert verdict.missing == f"the clean scores were made with another {named}; calibrate again"
    assert {r.outcome for r in results} == {"inconclusive"}
    assert verdict.exit == Exit.INCONCLUSIVE


# Several detectors


def test_several_detectors_are_combined_on_the_calibration_split():
    rng = np.random.default_rng(3)
    made = calibration({"spikiness": rng.normal(size=1000).tolist(), "other": rng.normal(size=1000).tolist()}, 200)
    plan = {"detectors": ["spikiness", "other"], "combine": ["spikiness", "other"]}
    rows = [row(i, {"spikiness": float(a), "other": float(b)}) for i, (a, b) in enumerate(rng.normal(size=(60, 2)))]
    rows[0] = row(0, {"spikiness": 0.0, "other": 9.0})
    rows[1] = row(1, {"spikiness": 9.0, "other": None})
    results, verdict = judged(rows, made, plan=plan)
    assert verdict.calibrated == 800
    assert results[0].p["combined"] == 1 / 801
    assert results[0].p["spikiness"] > 0.2
    assert results[1].outcome == "inconclusive"


def test_a_constant_detector_is_named():
    """Design 11."""
    made = calibration({"spikiness": np.random.default_rng(0).normal(size=300).tolist(), "flat": [1.0] * 300}, 100)
    plan = {"detectors": ["spikiness", "flat"], "combine": ["spikiness", "flat"]}
    _, verdict = judged([row(0, {"spikiness": 1.0, "flat": 1.0})], made, plan=plan)
    assert verdict.missing == "detector 'flat' is constant on the calibration prompts; leave it out"


def test_given_parts_keep_what_choices_were_made_on_out_of_the_reference_scores():
    scores = np.random.default_rng(0).normal(size=300).tolist()
    assert judged(scanned(5), calibration(scores, 100))[1].calibrated == 200
    assert judged(scanned(5), calibration(scores))[1].calibrated == 300


def test_strata_have_their_own_reference_scores_and_small_ones_none():
    scores = [float(i) for i in range(200)] + [1000.0 + i for i in range(50)]
    made = calibration(scores, strata=["low"] * 200 + ["high"] * 50)
    rows = [row(i, 150.5 if i % 2 else 20.5, meta={"kind": "low"}) for i in range(20)]
    rows += [row(20, 1020.5, meta={"kind": "high"}), row(21, 0.0)]
    results, _ = judged(rows, made, plan={"strata": "kind"})
    assert results[1].p["combined"] == 50 / 201
    assert results[20].reason == "stratum 'high' has 50 clean prompts, expected 200"
    assert results[21].reason == "it has no value in column 'kind', which p-values stay within"


# The run


def test_items_that_were_never_measured_count_and_keep_a_run_from_passing():
    """Design 7. Mutant: m = measured."""
    made, rows = clean(399), scanned(100)[:90]
    _, verdict = judged(rows, made, planned=100)
    assert verdict.verdict == "inconclusive"
    assert reason(verdict, "complete") == (
        "90 of 100 planned items were measured; run the same scan again to resume, or join it by memdetect merge with "
        "the runs that hold the rest"
    )
    assert verdict.detections == 5


def test_items_that_are_there_twice_do_not_stand_for_those_that_are_missing():
    rows = scanned(50)
    _, verdict = judged([*rows[:49], rows[0]], clean(2400), planned=50)
    assert reason(verdict, "complete") == "1 items are in the records twice"


@pytest.mark.parametrize("rows", [[], [row(0, None)]])
def test_nothing_usable_is_never_a_pass(rows):
    _, verdict = judged(rows, clean(2400))
    assert (verdict.exit, verdict.scan_exit) == (Exit.INCONCLUSIVE, Exit.INCONCLUSIVE)


def test_too_few_clean_prompts_say_how_many_it_takes():
    _, verdict = judged(scanned(5), clean(18))
    assert "18 clean prompts can show nothing at a false discovery rate of 0.05, at least 19 can" in reason(
        verdict, "calibration"
    )
    assert verdict.exit == Exit.INCONCLUSIVE


@pytest.mark.parametrize("values", [[0.7] * 40, [0.7] * 25 + [0.1 * i for i in range(15)]])
def test_a_dead_detector_is_seen(values):
    _, verdict = judged([row(i, x) for i, x in enumerate(values)], clean(2400))
    assert "the same score; it measures nothing here" in reason(verdict, "shift")
    assert verdict.exit == Exit.INCONCLUSIVE


def test_a_flipped_sign_is_seen():
    made = calibration(np.random.default_rng(0).normal(5, 1, 400).tolist())
    _, verdict = judged([row(i, -5.0 - i / 10) for i in range(5)], made)
    assert "every prompt scores below every clean one" in reason(verdict, "shift")
    assert verdict.exit == Exit.INCONCLUSIVE


def test_under_a_shift_warning_only_copies_fail():
    shifted = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(5).normal(2.5, 1, 200))]
    _, verdict = judged(shifted, clean(2400))
    assert verdict.counts["suspicious"] > 0
    assert verdict.shift.warning
    assert (verdict.verdict, verdict.exit) == ("inconclusive", Exit.INCONCLUSIVE)
    copied = [shifted[0].model_copy(update={"matches": [match()]}), *shifted[1:]]
    assert judged(copied, clean(2400))[1].exit == Exit.FAILED


def test_words_that_tell_the_prompts_apart_raise_the_warning():
    made = clean(2400)
    rows, digest = scanned(100, detections=5), header(1, made).calibration
    _, verdict = judged(rows, made, wording={"auroc": 0.9, "low": 0.85, "calibration": digest})
    assert "told from the clean ones by their text (AUROC at least 0.85)" in reason(verdict, "shift")
    assert verdict.exit == Exit.INCONCLUSIVE
    _, verdict = judged(rows, made, wording={"auroc": 0.7, "low": 0.65, "calibration": digest})
    assert verdict.exit == Exit.FAILED
    _, verdict = judged(rows, made, wording={"auroc": 0.9, "low": 0.85, "calibration": "another"})
    assert verdict.exit == Exit.FAILED
    assert any("wording was not compared" in note for note in verdict.notes)


# The policy


def test_only_copies_fail_where_the_policy_says_so_and_that_takes_an_index():
    policy = Policy(fail_on="copy")
    rows = scanned(100, detections=5)
    assert "no training images were searched" in reason(judged(rows, clean(2400), policy, index={})[1], "index")
    assert judged(rows, clean(2400), policy)[1].exit == Exit.OK
    assert judged(rows, None, policy)[1].exit == Exit.OK
    copied = [rows[0].model_copy(update={"matches": [match()]}), *rows[1:]]
    assert judged(copied, None, policy)[1].reasons == ["findings: 1 copy among 100"]


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"rows": 0, "coverage": 1.0}, "the index covers no training image"),
        ({"rows": 10, "coverage": 0.0}, "the index covers no training image"),
        ({"similarity": None}, "the index has no threshold"),
        ({"recall": None}, "whether the index finds a copy at all is not known"),
        ({"planted": 0}, "whether the index finds a copy at all is not known"),
        ({"recall": 0.36}, "the index calls 36% of 200 planted copies of its own images copies, expected at least 90%"),
    ],
)
def test_an_index_that_finds_nothing_by_design_is_seen(index, said):
    _, verdict = judged(scanned(100), clean(2400), index=index)
    assert said in reason(verdict, "index")
    assert verdict.exit == Exit.INCONCLUSIVE


def test_an_index_that_can_find_no_part_does_not_pass_where_parts_fail():
    for limit, said in ((0.9, "more than 90% of a training image would have to agree"), (None, "scan anew")):
        index = {"part_limit": limit}
        assert said in reason(judged(scanned(100), clean(2400), index=index)[1], "parts")
        parts = Policy(fail_on="partial-copy")
        assert said in reason(judged(scanned(100), clean(2400), parts, index=index)[1], "parts")
        assert judged(scanned(100), clean(2400), Policy(fail_on="copy"), index=index)[1].exit == Exit.OK
    assert judged(scanned(100), clean(2400), index={"part_limit": 0.89})[1].exit == Exit.OK


def test_coverage_below_the_limit_is_inconclusive():
    near, policy = scanned(100), Policy(min_coverage=0.8)
    low = judged(near, clean(2400), policy, index={"coverage": 0.5})[1]
    assert reason(low, "min-coverage") == "the index covers 50.00% of the training set, expected at least 80.00%"
    assert judged(near, clean(2400), policy, index={"coverage": 0.8})[1].exit == Exit.OK
    unknown = judged(near, clean(2400), policy, index={"coverage": None})[1]
    assert unknown.exit == Exit.INCONCLUSIVE


def test_a_few_items_without_p_may_be_tolerated_but_none_above_every_clean_prompt():
    rows = [row(0, None), *scanned(100)[1:]]
    assert judged(rows, clean(2400))[1].exit == Exit.INCONCLUSIVE
    assert judged(rows, clean(2400), Policy(max_undetectable=0.01))[1].exit == Exit.OK
    top = scanned(1000, detections=1, height=9.0)
    assert judged(top, clean(750), Policy(max_undetectable=0.5))[1].exit == Exit.INCONCLUSIVE


def test_findings_that_somebody_answers_for_fail_nothing_until_they_expire():
    entry = {"outcome": "suspicious", "model": "tiny", "reason": "licensed", "owner": "ada"}
    rows = scanned(100, detections=1)
    policy = Policy(ignore=(Ignore(id="i0", expires=date(2026, 11, 24), **entry),))
    results, verdict = judged(rows, clean(2400), policy)
    assert (results[0].outcome, results[0].suppressed) == ("suspicious", "ada until 2026-11-24: licensed")
    assert (verdict.exit, verdict.suppressed) == (Exit.OK, 1)
    late = Policy(ignore=(Ignore(id="i0", expires=date(2026, 11, 23), **entry),))
    _, verdict = judged(rows, clean(2400), late)
    assert verdict.exit == Exit.FAILED
    assert any("expired on 2026-11-23" in note for note in verdict.notes)


def test_a_limit_of_the_rate_is_judged_on_families_and_its_bound():
    made = clean(2400)
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(1).normal(size=400).clip(-3, 2.5))]
    passed = judged(rows, made, Policy(max_rate=0.05))[1]
    assert (passed.exit, passed.rate.families, passed.rate.rank) == (Exit.OK, 400, 24)
    small = judged(scanned(40), made, Policy(max_rate=0.05))[1]
    assert "to show 5.00% takes 59 families" in reason(small, "max-rate")
    failed = judged(scanned(400, detections=60), made, Policy(max_rate=0.05, fail_on="none"))[1]
    assert failed.exit == Exit.FAILED
    few = judged(scanned(400), clean(98), Policy(max_rate=0.05, fdr=0.5))[1]
    assert "98 clean prompts cannot flag at 0.01, at least 99 can" in reason(few, "max-rate")
    one = [r.model_copy(update={"meta": {"family": "f"}}) for r in scanned(400)]
    assert judged(one, made, Policy(max_rate=0.05))[1].rate.families == 1


def test_five_hits_among_too_few_clean_prompts_are_never_green():
    """Design 15: n = 750, m = 300, max-rate 1 %. Mutant: the bound on BH discoveries is green in 199 of 200."""
    for draw in range(25):
        _, verdict = judged(scanned(300, 100 + draw, detections=5), clean(750, draw), Policy(max_rate=0.01))
        assert verdict.exit != Exit.OK


def test_memorized_prompts_among_the_clean_ones_hide_findings_until_they_are_removed():
    """Design 25: three clean prompts at +9 SD make h = 32 for twelve detections below them; without them h = 9."""
    bad = np.random.default_rng(7).normal(size=750)
    bad[:3] = 9.0
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(8).normal(size=300))]
    rows[:12] = [row(i, 8.0 + i / 100) for i in range(12)]
    assert judged(rows, calibration(bad.tolist()))[1].counts["suspicious"] == 0
    cleaned, found = judged(rows, calibration(bad[3:].tolist()))
    assert {row.outcome for row in cleaned[:12]} == {"suspicious"}
    assert found.detections == 9


def test_a_conditional_guarantee_takes_more_detections():
    """b_1 = 1 - delta^(1 / 375) = .0061, 4.6 times 1 / 751."""
    made, rows = clean(750), scanned(300, detections=8)
    assert judged(rows, made)[1].counts["suspicious"] >= 8
    _, verdict = judged(rows, made, Policy(delta=0.1))
    assert (verdict.detections, verdict.counts["suspicious"]) == (37, 0)
    assert "but for 0.1 of calibration sets" in verdict.claim


def test_the_bar_is_known_to_be_set_before_or_after():
    made, rows = clean(2400), scanned(100)
    head = header(100, made, Policy())
    assert judge(head, rows, made, Policy())[1].fixed
    assert not judge(head, rows, made, Policy(fdr=0.1))[1].fixed
    assert not judge(head, rows, clean(2400, 9), Policy())[1].fixed
    assert not judge(head.model_copy(update={"plan": plan_of(seed=5)}), rows, made, Policy())[1].fixed


def high(rows: list[Measurement]) -> int:
    """How many of the rows at most 23 of the 2,400 clean scores reach: a level of at most .01."""
    reference = np.sort(np.random.default_rng(0).normal(size=2400))
    values = [row.scores["spikiness"].score for row in rows]
    return sum(int((reference >= value).sum()) <= 23 for value in values)


def test_the_claim_says_bound_scope_assumption_and_what_was_left():
    claim = judged(scanned(100), clean(2400))[1].claim
    for part in (
        "Searched an index of 500 training images, 97.00% of the training set as --training-set states its size; the",
        "100 of 100 items measured: 0 copy, 0 partial-copy, 0 suspicious, 0 similar, 0 inconclusive, 100 clear",
        "ranked among 2400 clean scores at a false discovery rate of 0.05",
        "of 100 prompt families 0 came back as copies, whole or in part, and of the others "
        f"{high(scanned(100))} score above level 0.01",
        "for tiny by spikiness, 2 images a prompt, 25 steps",
        "assumes clean calibration prompts, not checked; a model that memorized nothing fails by scores with a "
        "probability of at most 0.05 on average over calibration sets and by the index with at most 0.001 for each",
        "other prompts, seeds and settings were not tested.",
    ):
        assert part in claim
    assert claim.count(". ") == 0


def test_the_claim_tells_copies_from_high_scores():
    rows = scanned(60)
    copied = [r.model_copy(update={"matches": [match()]}) if i < 21 else r for i, r in enumerate(rows)]
    claim = judged(copied, clean(2400))[1].claim
    others = high(rows[21:])
    assert (
        "of 60 prompt families 21 came back as copies, whole or in part, and of the others "
        f"{others} score above level 0.01" in claim
    )


def test_a_measurement_is_kept_whole_in_its_result():
    measured = row(0, 1.0, line=3, meta={"group": "x"}, seeds=[1, 2], files=["images/0.png"], notes=["cut"])
    found = judged([measured], clean(99), index={})[0][0]
    assert (
        found.model_dump(exclude={"judged", "p", "outcome", "reason", "suppressed", "decisions"})
        == measured.model_dump()
    )


@settings(max_examples=40)
@given(st.lists(st.floats(-5, 12), min_size=1, max_size=25), st.integers(0, 5), st.randoms())
def test_no_pass_with_anything_open_and_order_changes_nothing(values, missing, random):
    made = clean(400)
    rows = [row(i, x) for i, x in enumerate(values)]
    results, verdict = judged(rows, made, planned=len(rows) + missing)
    assert sum(verdict.counts.values()) == len(rows)
    if verdict.verdict == "pass":
        assert not missing
        assert {r.outcome for r in results} == {"clear"}
    shuffled = list(rows)
    random.shuffle(shuffled)
    again, second = judged(shuffled, made, planned=len(rows) + missing)
    assert second.verdict == verdict.verdict
    assert {r.id: r.outcome for r in again} == {r.id: r.outcome for r in results}
