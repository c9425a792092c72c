"""Which prompts a screen chooses, what it is known to keep, and what a gate makes of those that were only screened."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from synthetic_runs import INDEX, calibration, header, match, plan_of, row, searched, write_run

from memdetect.errors import MemdetectError
from memdetect.judging import judge, read_runs
from memdetect.judging.calibration import Calibration
from memdetect.judging.outcome import Verdict
from memdetect.judging.recall_making import findings_of
from memdetect.judging.screen_recall import Asked, Found, Recall, read_recall
from memdetect.judging.screened import as_screened, strongest, unlikely
from memdetect.judging.verdict import Beside, judge_with
from memdetect.runs.header import Header
from memdetect.runs.policy import Policy
from memdetect.runs.records import Measurement
from memdetect.runs.screen import Screen, packed, unpacked

NAMES = ["sharpness", "dcs"]
PLAN = plan_of(detectors=NAMES, combine=[])
SCORES = st.one_of(st.none(), st.integers(0, 6).map(float))


def screen_of(positions: Sequence[int], cutoffs: dict[str, float], plan: Any = PLAN, **changes: Any) -> Screen:
    facts = {"share": 0.2, "detectors": plan.detectors, "steps": 10, "num_seeds": 2, "plan": plan.digest}
    chosen = {"chosen": packed(positions), "count": len(positions), "cutoffs": cutoffs}
    return Screen(**{**facts, **chosen, **changes})


# The choice


@given(st.lists(st.tuples(SCORES, SCORES), max_size=25), st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.5, 0.99]))
def test_the_strongest_share_by_brute_force(scores: list[Any], share: float) -> None:
    """Of r = 1, 2, ... the first for which the r strongest of each detector, with those that equal them, are enough."""
    rows = [row(i, dict(zip(NAMES, own, strict=True))) for i, own in enumerate(scores)]
    finite = [i for i, own in enumerate(scores) if None not in own]
    lost = {i for i in range(len(scores)) if i not in finite}
    wanted, union, cutoffs = math.ceil(round(share * len(finite), 9)), set[int](), dict[str, float]()
    for r in range(1, len(finite) + 1):
        tops = [sorted((scores[i][k] for i in finite), reverse=True)[r - 1] for k in (0, 1)]
        union = {i for i in finite if any(scores[i][k] >= tops[k] for k in (0, 1))}
        cutoffs = dict(zip(NAMES, tops, strict=True))
        if len(union) >= wanted:
            break
    found = strongest(rows, PLAN, share)
    assert list(found.positions) == sorted(lost | union)
    assert found.cutoffs == cutoffs


def test_one_detector_chooses_its_highest_scores() -> None:
    plan = plan_of(detectors=["sharpness"], combine=[])
    rows = [row(i, {"sharpness": float(x)}) for i, x in enumerate([5, 1, 9, 3, 7, 2, 8, 4, 6, 0])]
    assert list(strongest(rows, plan, 0.3).positions) == [2, 4, 6]
    assert strongest(rows, plan, 0.3).cutoffs == {"sharpness": 7.0}


@given(st.sets(st.integers(0, 60)))
def test_positions_are_packed_without_loss(positions: set[int]) -> None:
    assert unpacked(packed(sorted(positions))) == sorted(positions)
    assert packed([0, 1, 2, 7]) == "0-2,7"


def test_prompts_are_chosen_by_their_p_value_among_clean_scores() -> None:
    """19 clean scores 1 to 19: p = (1 + #{clean >= s}) / 20, and a prompt without a score is chosen."""
    clean, plan = calibration([float(x) for x in range(1, 20)]), plan_of()
    scores = [0.0, 10.0, 18.5, 19.0, 20.0, None]
    rows = [row(i, x) for i, x in enumerate(scores)]
    p = [None if x is None else (1 + sum(c >= x for c in range(1, 20))) / 20 for x in scores]
    assert p[:5] == [1.0, 0.55, 0.1, 0.1, 0.05]
    assert list(unlikely(rows, plan, 0.1, clean).positions) == [2, 3, 4, 5]
    assert list(unlikely(rows, plan, 0.05, clean).positions) == [4, 5]


@pytest.mark.parametrize("clean", [None, calibration([1.0, 2.0], settings=plan_of(steps=30).settings)])
def test_without_clean_scores_of_the_screen_no_p_value_chooses(clean: Calibration | None) -> None:
    with pytest.raises(MemdetectError, match=r"--screen-p ranks spikiness of 25 steps among clean scores: .*--screen$"):
        unlikely([], plan_of(), 0.1, clean)


# What is known to be kept

ANY = {"finds": ("copy", "partial-copy", "suspicious")}


def asked_of(**changes: Any) -> Asked:
    facts: dict[str, Any] = {"share": 0.2, "p": None, "detectors": ("sharpness",), "screen": PLAN.settings}
    return Asked(**{**facts, "screen_seeds": 2, "full": PLAN.settings, "full_seeds": 2, "calibration": "", **changes})


def recall_of(found: Sequence[Found], **changes: Any) -> Recall:
    return Recall(**{"memdetect": "0", "about": "", **asked_of().facts(), **ANY, "found": tuple(found), **changes})


def found(family: str, score: float | None, kind: str = "", *, kept: bool = True) -> Found:
    return Found(family=family, kind=kind, scores={"sharpness": score}, kept=kept)


def test_what_is_kept_is_counted_at_the_cut_of_the_judged_run() -> None:
    """A list with more strong prompts is cut higher: what was kept in the measured one may be lost in this."""
    made = recall_of([found(f"f{i}", float(i), kept=i >= 2) for i in range(10)])
    plan = plan_of(detectors=["sharpness"], combine=[])
    assert made.kept_by()[""].kept == 8
    assert made.kept_by(screen_of([], {"sharpness": 2.0}, plan))[""].kept == 8
    assert made.kept_by(screen_of([], {"sharpness": 7.5}, plan))[""].kept == 2


def test_a_family_is_kept_only_with_all_its_prompts_and_kinds_are_apart() -> None:
    some = [found("a", 9.0, "scene"), found("a", 1.0, "scene"), found("b", 9.0, "scene"), found("c", None, "title")]
    known = recall_of(some).kept_by(screen_of([], {"sharpness": 5.0}, plan_of(detectors=["sharpness"], combine=[])))
    assert {kind: (one.kept, one.families) for kind, one in known.items()} == {"scene": (1, 2), "title": (1, 1)}


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_that_of_clopper_and_pearson(counts: tuple[int, int]) -> None:
    kept, families = counts
    known = recall_of([found(f"f{i}", 1.0, kept=i < kept) for i in range(families)]).kept_by()[""]
    whole = binomtest(kept, families).proportion_ci(method="exact")
    lower = binomtest(kept, families, alternative="greater").proportion_ci(method="exact")
    assert known.interval == pytest.approx((whole.low, whole.high), abs=1e-9)
    assert known.low == pytest.approx(lower.low, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"share": 0.1}, "share 0.1 (here 0.2)"),
        ({"share": None, "p": 0.1}, "share none (here 0.2)"),
        ({"detectors": ("dcs",)}, "detectors dcs (here sharpness)"),
        ({"screen_seeds": 1}, "screen seeds 1 (here 2)"),
        ({"full_seeds": 4}, "full seeds 4 (here 2)"),
        ({"screen": plan_of(steps=30).settings}, "steps of the screen 30 (here 25)"),
        ({"full": plan_of(guidance_scale=7.0).settings}, "guidance scale of the full scan 7.0 (here 3.0)"),
        ({"screen": plan_of(model="xyz").settings}, "model of the screen 'xyz' (here 'abc')"),
        ({"calibration": "f"}, "calibration 'f' (here none)"),
    ],
)
def test_a_recall_of_another_screen_is_named(changes: dict[str, Any], said: str) -> None:
    assert recall_of([found("f", 1.0)], **changes).difference(asked_of()) == said
    assert recall_of([found("f", 1.0)]).difference(asked_of()) == ""


# Judged


def judged(recall: Recall | None, policy: Policy, kinds: Sequence[str] = ("",), asked: Asked | None = None) -> Any:
    """A run of 40 prompts with nothing to find, of which 8 were sampled in full and looked up."""
    plan = plan_of(detectors=["spikiness"], combine=[])
    head = header(40, None, policy, index=INDEX).model_copy(
        update={"screen": screen_of(range(8), {"sharpness": 5.0}, plan, detectors=("sharpness",))}
    )
    rows = [row(i, 0.0, meta={"kind": kinds[i % len(kinds)]}) for i in range(40)]
    whole = [*searched(rows[:8]), *map(as_screened, rows[8:])]
    return judge_with(head, whole, None, policy, Beside(recall=(recall, asked or asked_of()) if recall else None))


COPIES = Policy(fail_on="copy")


def test_no_run_passes_on_a_screen_of_which_nothing_is_known() -> None:
    results, verdict = judged(None, COPIES)
    assert verdict.verdict == "inconclusive"
    assert [rule.name for rule in verdict.rules if rule.outcome != "pass"] == ["screen"]
    assert verdict.counts["inconclusive"] == 32
    assert {r.reason for r in results[8:]} == {"screened only: what the screen misses is not stated"}
    assert "8 of 40 prompts sampled in full, 32 only screened" in verdict.basis
    assert verdict.usable == "8 of 40 items measured, 32 screened only"
    _, waived = judged(None, Policy(fail_on="copy", min_screen_recall=0.0))
    assert waived.verdict == "inconclusive"


def test_a_screen_that_is_known_to_keep_enough_passes_and_the_claim_names_the_bound() -> None:
    known = recall_of([found(f"f{i}", 6.0) for i in range(29)])
    results, verdict = judged(known, COPIES)
    assert verdict.verdict == "pass"
    assert verdict.counts["clear"] == 40
    assert "the screen keeps 29 of 29 families of findings, at least 90% with 95 % confidence" in verdict.claim
    assert results[20].reason.startswith("screened only: below the cut of sharpness at the first of 10 steps")
    assert results[20].p["combined"] is None
    _, fewer = judged(recall_of([found(f"f{i}", 6.0) for i in range(28)]), COPIES)
    assert "28 of 28 families of findings, at least 90%, expected at least 90%" in fewer.reasons[0]


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.floats(0, 10)), max_size=80),
    st.sampled_from([("",), ("a",), ("a", "b")]),
    st.sampled_from([0.0, 0.3, 0.8]),
)
def test_a_pass_is_worth_what_was_measured(some: list[Any], kinds: tuple[str, ...], limit: float) -> None:
    """Whatever was measured: a pass only where each kind that was left has families, and enough of them are kept."""
    known = recall_of([found(f"f{i}", x, kind) for i, (kind, x) in enumerate(some)])
    _, verdict = judged(known, Policy(fail_on="copy", min_screen_recall=limit), kinds)
    worst = 1.0
    for kind in kinds:
        own = [x >= 5.0 for k, x in some if k == kind]
        low = binomtest(sum(own), len(own), alternative="greater").proportion_ci(method="exact").low if own else -1.0
        worst = min(worst, low)
    if abs(worst - limit) > 1e-9:
        assert (verdict.verdict == "pass") == (worst > limit)
    assert (verdict.verdict == "pass") == (verdict.counts["inconclusive"] == 0)


def test_a_recall_of_another_screen_does_not_pass() -> None:
    known = recall_of([found(f"f{i}", 6.0) for i in range(60)], share=0.4)
    _, verdict = judged(known, COPIES)
    assert verdict.verdict == "inconclusive"
    assert "the recall of the screen was measured for share 0.4 (here 0.2)" in verdict.reasons[0]


SCORED, FOUND = Policy(), [found(f"f{i}", 6.0) for i in range(40)]
CLEAN = calibration([float(x) for x in range(999)])


def screen_rule_of(recall: Recall, policy: Policy, **changes: Any) -> str:
    """Why the rule `screen` is not met, of a run that was searched, and whose scores are ranked."""
    plan = plan_of(detectors=["spikiness"], combine=[])
    head = header(40, CLEAN, policy, **{"index": INDEX, **changes}).model_copy(
        update={"screen": screen_of(range(8), {"sharpness": 5.0}, plan, detectors=("sharpness",))}
    )
    rows = [row(i, float(i)) for i in range(40)]
    whole = [*searched(rows[:8]), *map(as_screened, rows[8:])]
    _, verdict = judge_with(head, whole, CLEAN, policy, Beside(recall=(recall, asked_of())))
    return next(rule.reason for rule in verdict.rules if rule.name == "screen")


@pytest.mark.parametrize(
    ("finds", "policy", "index", "said"),
    [
        (["copy"], Policy(fail_on="copy"), INDEX, ""),
        (["copy"], Policy(fail_on="partial-copy"), INDEX, "copy, and this gate fails on partial-copy as well"),
        (["copy"], SCORED, INDEX, "copy, and this gate fails on partial-copy and suspicious as well"),
        (["suspicious"], SCORED, INDEX, "suspicious, and this gate fails on copy and partial-copy as well"),
        (["suspicious"], SCORED, {}, ""),
        (["copy", "partial-copy", "suspicious"], SCORED, INDEX, ""),
        (["copy"], Policy(fail_on="none"), INDEX, ""),
    ],
)
def test_a_recall_says_nothing_of_what_the_full_scan_could_not_find(
    finds: list[Any], policy: Policy, index: Any, said: str
) -> None:
    reason = screen_rule_of(recall_of(FOUND, finds=tuple(finds)), policy, index=index)
    assert reason.startswith(f"the recall of the screen was measured of what is {said}; measure it" if said else "")
    assert bool(reason) == bool(said)


def test_a_recall_of_what_other_detectors_find_is_none_of_these() -> None:
    assert screen_rule_of(recall_of(FOUND, deciding=("spikiness",)), SCORED) == ""
    other = recall_of(FOUND, deciding=("agreement",))
    assert "of what agreement finds suspicious, and here spikiness decides; " in screen_rule_of(other, SCORED)
    assert screen_rule_of(other, COPIES) == ""


def test_what_counts_is_what_the_gate_fails_on_and_what_was_not_decided_is_lost_where_it_is_not_kept() -> None:
    """Forty suspicious prompts that are kept say nothing of a copy that is not."""
    lost = found("copied", 1.0, kept=False).model_copy(update={"outcome": "copy"})
    scored = [one.model_copy(update={"outcome": "suspicious"}) for one in FOUND]
    open_ = [found(f"o{i}", x).model_copy(update={"outcome": "inconclusive"}) for i, x in enumerate([9.0, 1.0, 2.0])]
    known, screen = recall_of([lost, *scored]), screen_of([], {"sharpness": 5.0}, detectors=("sharpness",))
    assert (known.kept_by(screen, ("copy",))[""].kept, known.kept_by(screen, ("copy",))[""].families) == (0, 1)
    assert (known.kept_by(screen)[""].kept, known.kept_by(screen)[""].families) == (40, 41)
    assert "0 of 1 families of findings" in screen_rule_of(known, COPIES)
    half = recall_of([*FOUND, *open_]).kept_by(screen, ("copy",))[""]
    assert (half.kept, half.families) == (40, 42)


def full_scan(folder: Path, clean: Calibration | None = CLEAN, **changes: Any) -> Path:
    """A scan of 40 prompts of which the first is a copy, the second no number, and the last above all clean ones."""
    policy = changes.pop("policy", None)
    scores = [0.0, None, *(i * 20.0 for i in range(2, 39)), 9000.0]
    rows = [row(i, x, matches=[match()] if i == 0 else []) for i, x in enumerate(scores)]
    head = header(40, clean, policy, **{"index": INDEX, **changes})
    return write_run(folder, head, searched(rows) if head.index else rows, clean)


@pytest.mark.parametrize(
    ("changes", "finds", "told"),
    [
        ({}, ("copy", "partial-copy", "suspicious"), ["i0", "i39"]),
        ({"policy": Policy(fail_on="copy")}, ("copy",), ["i0"]),
        ({"clean": None}, ("copy", "partial-copy"), ["i0"]),
        ({"clean": None, "index": {**INDEX, "part_limit": 1.0}}, ("copy",), ["i0"]),
        ({"index": {**INDEX, "recall": None}}, ("suspicious",), ["i0", "i39"]),
    ],
)
def test_a_full_scan_finds_what_its_policy_index_and_clean_scores_allow(
    tmp_path: Path, changes: dict[str, Any], finds: Any, told: list[str]
) -> None:
    known = findings_of(full_scan(tmp_path / "full", **changes))
    assert tuple(known.finds) == finds
    assert known.undecided == 1
    assert [name for name, outcome in known.outcomes.items() if outcome != "inconclusive"] == told


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clean": None, "index": {}}, "could find nothing that a screen should keep: there are no clean scores"),
        ({"policy": Policy(fail_on="copy"), "index": {}}, "should keep: no training images were searched; give a scan"),
    ],
)
def test_a_full_scan_that_can_find_nothing_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MemdetectError, match=said):
        findings_of(full_scan(tmp_path / "full", **changes))


def test_a_recall_that_does_not_say_what_could_be_found_has_to_be_measured_again(tmp_path: Path) -> None:
    held = json.loads(recall_of(FOUND).model_dump_json())
    old = {key: value for key, value in held.items() if key not in ("finds", "deciding")}
    (tmp_path / "old.json").write_text(json.dumps({**old, "schema_version": 1}))
    said = r"old\.json does not say which outcomes could be found \(schema 1, expected 2\); measure it with"
    with pytest.raises(MemdetectError, match=said):
        read_recall(tmp_path / "old.json")


def test_no_rate_is_bounded_and_the_bulk_is_no_warning() -> None:
    """The chosen have small p-values by design: neither a shift of the prompts nor their share says anything."""
    clean = calibration([float(x) for x in range(999)])
    head = header(1000, clean, index=INDEX).model_copy(update={"screen": screen_of(range(50), {"sharpness": 5.0})})
    rows = [row(i, 930.0 + i if i < 50 else 0.0) for i in range(1000)]
    whole = [*searched(rows[:50]), *map(as_screened, rows[50:])]
    _, verdict = judge(head, whole, clean, Policy(max_rate=0.05))
    assert verdict.rate is None
    assert not verdict.shift.warning
    reasons = {rule.name: rule.reason for rule in verdict.rules if rule.outcome == "inconclusive"}
    assert reasons["max-rate"] == "prompts that were only screened have no p-value"
    assert set(reasons) == {"max-rate", "screen"}


# On disk


def on_disk(folder: Path, scores: Sequence[float], share: float = 0.2) -> tuple[Header, list[Measurement]]:
    """A screened run as a scan leaves it, of these scores of its screen."""
    plan = plan_of(detectors=["sharpness"], combine=[])
    rows = [row(i, {"sharpness": x}) for i, x in enumerate(scores)]
    write_run(folder / "screen", header(len(rows), plan={"detectors": ["sharpness"], "combine": []}), rows, None)
    made = read_runs([folder / "screen"]).header.plan
    choice = strongest(rows, plan, share)
    screen = screen_of(choice.positions, choice.cutoffs, made, share=share)
    plain = header(len(rows), plan={"inputs": made.inputs}, index=INDEX)
    head = plain.model_copy(update={"screen": screen})
    full = [row(i, 1.0, id=f"i{k}", prompt=rows[k].prompt) for i, k in enumerate(choice.positions)]
    write_run(folder, head, searched(full), None)
    return head, rows


def verdict_of(folder: Path) -> tuple[Any, Verdict]:
    runs = read_runs([folder])
    return judge_with(runs.header, runs.rows, None, COPIES, Beside(altered=runs.altered, recall=runs.recall))


def test_a_run_is_read_with_the_prompts_that_were_only_screened(tmp_path: Path) -> None:
    _, rows = on_disk(tmp_path, [float(x) for x in range(20)])
    results, verdict = verdict_of(tmp_path)
    assert [r.id for r in results] == [r.id for r in rows]
    assert [r.index for r in results] == list(range(20))
    assert [r.status for r in results] == ["screened"] * 16 + ["ok"] * 4
    assert results[3].scores["screen:sharpness"].score == 3.0
    assert results[3].notes == ["screened only: measured by its first steps, no image was made"]
    assert verdict.complete
    assert [rule.name for rule in verdict.rules if rule.outcome != "pass"] == ["screen"]


@pytest.mark.parametrize("change", ["choice", "row", "gone"])
def test_a_screen_that_was_exchanged_is_seen(tmp_path: Path, change: str) -> None:
    """Another choice than the rows give, another row than the journal names, and no screen at all."""
    head, _ = on_disk(tmp_path, [float(x) for x in range(20)])
    assert head.screen
    if change == "choice":
        other = head.screen.model_copy(update={"chosen": "15-17,19"})
        text = read_runs([tmp_path]).header.model_copy(update={"screen": other, "seal": ""}).sealed()
        (tmp_path / "run.json").write_text(text.model_dump_json(indent=1) + "\n")
    elif change == "row":
        shard = tmp_path / "screen" / "shards" / "0000000001.jsonl"
        shard.write_text(shard.read_text().replace('"i9"', '"j9"'))
    else:
        (tmp_path / "screen" / "run.json").unlink()
    _, verdict = verdict_of(tmp_path)
    assert verdict.verdict == "inconclusive"
    assert any(rule.name == "integrity" for rule in verdict.rules)


def test_a_screened_run_is_judged_alone(tmp_path: Path) -> None:
    on_disk(tmp_path / "a", [1.0, 2.0, 3.0])
    on_disk(tmp_path / "b", [1.0, 2.0, 3.0])
    with pytest.raises(MemdetectError, match="a screened run is judged alone"):
        read_runs([tmp_path / "a", tmp_path / "b"])


def test_the_header_refuses_a_screen_that_makes_no_sense() -> None:
    for changes in ({"p": 0.1}, {"share": None}, {"share": 1.0}, {"chosen": "3-"}, {"count": 9}):
        held = json.loads(screen_of([0, 1], {"sharpness": 1.0}).model_dump_json())
        with pytest.raises(ValueError, match=r"screen|share|chosen"):
            Screen.model_validate_json(json.dumps({**held, **changes}))
