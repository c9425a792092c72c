"""Two runs compared: what is new, gone, worse and better by hand, and no pass where something could not be told."""

import shutil
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from recorded_runs import scene
from synthetic_runs import INDEX, calibration, header, match, part, row, searched, write_run

from memdetect.errors import Exit, MemdetectError
from memdetect.judging.comparing import CHANGES, Comparison, compare
from memdetect.runs.policy import Policy

CLEAN_SCORES = np.random.default_rng(0).normal(size=999).tolist()
CLEAN = calibration(CLEAN_SCORES)
NORMAL = NormalDist()
NEXT = {"model": "def", "steps": 50}
FAR = {"matches": [match(False, 0), match(False, 1)]}
COPY = {"matches": [match(), match(False, 1)]}
OTHER = {"matches": [match().model_copy(update={"key": "train-8"}), match(False, 1)]}
PART = {"matches": [part(), match(False, 1)]}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def written(folder: str, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A run of items with these fields; scores are spread like those of the clean prompts but where given."""
    made = [
        row(
            i,
            held.get("value", NORMAL.inv_cdf((i * 37 % 61 + 0.5) / 62)),
            **{k: v for k, v in held.items() if k != "value"},
        )
        for i, held in enumerate(rows)
    ]
    clean = CLEAN if not changes.get("plan") else calibration(CLEAN_SCORES, settings=header(1, **changes).plan.settings)
    return write_run(Path(folder), header(len(made), clean, index=INDEX, **changes), searched(made), clean)


def compared(old: list[dict[str, Any]], new: list[dict[str, Any]], fail_on: Any = "none") -> Comparison:
    return compare(written("old", old), written("new", new, plan=NEXT), fail_on=fail_on)


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (FAR, COPY, "new"),
        (FAR, PART, "new"),
        (FAR, {"value": 9.0}, "new"),
        ({"value": 9.0}, COPY, "worse"),
        (PART, COPY, "worse"),
        ({"value": 9.0}, PART, "worse"),
        (COPY, PART, "better"),
        (COPY, {"value": 9.0}, "better"),
        (COPY, FAR, "gone"),
        ({"value": 9.0}, FAR, "gone"),
        (COPY, COPY, "unchanged"),
        (COPY, OTHER, "new"),
        (FAR, FAR, "clear"),
        ({"value": None}, COPY, "new"),
        (COPY, {"value": None}, "undecided"),
        ({"value": None}, FAR, "undecided"),
        (FAR, {"value": None}, "undecided"),
    ],
)
def test_what_changed_of_an_item(old: dict[str, Any], new: dict[str, Any], change: str) -> None:
    rest = [FAR] * 30
    found = compared([old, *rest], [new, *rest])
    assert found.counts == {name: (name == change) + 30 * (name == "clear") for name in CHANGES}
    assert [pair.change for pair in found.pairs] == ([change] if change != "clear" else [])
    assert found.verdict == ("inconclusive" if None in (old.get("value", 0), new.get("value", 0)) else "pass")


def near(*found: tuple[str, int, bool]) -> dict[str, Any]:
    """An item whose images are copies of these training images: key, number of the image, and whether whole."""
    made = [match(seed=k).model_copy(update={"key": key}) if whole else part(key, k) for key, k, whole in found]
    return {"matches": made}


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ([("x", 0, True)], [("x", 0, True), ("y", 1, True)], "new"),
        ([("x", 0, False)], [("x", 0, True), ("y", 1, True)], "new"),
        ([("x", 0, True)], [("x", 0, True), ("y", 1, False)], "new"),
        ([("x", 0, True)], [("y", 0, False)], "new"),
        ([("x", 0, True), ("y", 1, True)], [("x", 0, True)], "unchanged"),
        ([("x", 0, True), ("y", 1, False)], [("x", 0, True), ("y", 1, True)], "worse"),
        ([("x", 0, True)], [("x", 0, True), ("x#plain", 1, True), ("x#0,0,64,64", 1, True)], "unchanged"),
        ([("x#white,unturned", 0, True)], [("x", 1, False)], "better"),
    ],
)
def test_a_copy_of_a_picture_that_was_not_copied_is_new(old: Any, new: Any, change: str) -> None:
    """Also beside an old one; the crops and decodings of a training image are that image."""
    rest = [FAR] * 30
    found = compared([near(*old), *rest], [near(*new), *rest], "new")
    assert [pair.change for pair in found.pairs] == [change]
    assert found.exit == (Exit.FAILED if change == "new" else Exit.OK)


def test_an_entry_for_one_picture_answers_for_no_other(tmp_path: Path) -> None:
    tmp_path.joinpath(".memdetectignore.toml").write_text(
        '[[ignore]]\nid = "i0"\ncopy-of = "x"\nmodel = "tiny"\nreason = "licensed"\nowner = "legal"\n'
        "expires = 2999-01-01\n"
    )
    rest = [FAR] * 30
    found = compared([near(("x", 0, True)), *rest], [near(("x", 0, True), ("y", 1, True)), *rest], "new")
    assert (found.exit, found.counts["new"]) == (Exit.FAILED, 1)


def test_only_what_is_a_finding_can_be_new() -> None:
    """Where whole copies alone are findings, a part is none, and a whole copy of what was a part before is new."""
    Path("memdetect.toml").write_text('[policy]\nfail-on = "copy"\n')
    rest = [FAR] * 30
    whole, more = near(("x", 0, True)), near(("x", 0, True), ("y", 1, False))
    both = near(("x", 0, True), ("y", 1, True))
    assert [pair.change for pair in compared([whole, *rest], [more, *rest], "new").pairs] == ["unchanged"]
    shutil.rmtree("old")
    shutil.rmtree("new")
    assert [pair.change for pair in compared([more, *rest], [both, *rest], "new").pairs] == ["new"]


def test_the_worst_change_stands_first() -> None:
    old = [FAR, COPY, PART, COPY, {"value": 9.0}, FAR, COPY]
    new = [{"value": 9.0}, FAR, COPY, PART, {"value": 9.0}, COPY, COPY]
    rest = [FAR] * 30
    found = compared([*old, *rest], [*new, *rest])
    changes = [(pair.change, pair.item.id) for pair in found.pairs]
    assert changes == [
        ("new", "i5"),
        ("new", "i0"),
        ("worse", "i2"),
        ("gone", "i1"),
        ("better", "i3"),
        ("unchanged", "i6"),
        ("unchanged", "i4"),
    ]


def test_shares_are_of_families_and_paired() -> None:
    """Of 40 prompts 6 are copies before and 3 after: 2 stay, 4 go, 1 comes. Two prompts are one family."""
    old = [COPY] * 6 + [FAR] * 34
    new = [COPY] * 2 + [FAR] * 4 + [COPY] + [FAR] * 33
    for rows in (old, new):
        rows[0], rows[1] = ({**held, "meta": {"family": "one"}} for held in rows[:2])
    found = compared(old, new)
    copies, flagged = found.shares
    assert (copies.both, copies.old_only, copies.new_only, copies.neither) == (1, 4, 1, 33)
    assert (copies.old, copies.new, copies.families) == (5, 2, 39)
    assert copies.p == pytest.approx(2 * (1 + 5) / 2**5)
    assert copies.what == "copies"
    assert flagged.what.startswith("copies or scores above level 0.0")
    assert flagged.families == 39


def test_a_family_that_is_not_decided_is_in_no_share_of_copies() -> None:
    found = compared([COPY, FAR, {"value": None}, FAR], [COPY, {"value": None}, FAR, FAR])
    assert (found.shares[0].families, found.shares[0].both) == (2, 1)


@pytest.mark.parametrize(("fail_on", "exit"), [("none", 0), ("new", 0), ("worse", 1)])
def test_what_fails(fail_on: str, exit: int) -> None:
    rest = [FAR] * 30
    found = compared([PART, COPY, *rest], [COPY, COPY, *rest], fail_on)
    assert (found.exit, found.failing) == (exit, exit)


@pytest.mark.parametrize("new", [COPY, PART, {"value": 9.0}])
def test_a_new_finding_fails(new: dict[str, Any]) -> None:
    found = compared([FAR] * 31, [new, *[FAR] * 30], "new")
    assert found.exit == Exit.FAILED
    assert found.reasons == ["1 finding is new"]


def test_a_finding_that_somebody_answers_for_fails_nothing(tmp_path: Path) -> None:
    tmp_path.joinpath(".memdetectignore.toml").write_text(
        '[[ignore]]\nid = "i0"\noutcome = "copy"\nmodel = "tiny"\nreason = "licensed"\nowner = "legal"\n'
        "expires = 2999-01-01\n"
    )
    found = compared([FAR] * 31, [COPY, *[FAR] * 30], "new")
    assert (found.exit, found.failing, found.counts["new"]) == (0, 0, 1)
    assert found.pairs[0].new is not None
    assert found.pairs[0].new.suppressed


def test_under_a_shift_scores_fail_nothing_and_pass_nothing() -> None:
    """Most prompts above the clean ones: the p-values promise nothing."""
    found = compared([FAR] * 60, [{"value": 9.0}] * 40 + [FAR] * 20, "new")
    assert found.new.verdict.shift.warning
    assert (found.exit, found.failing) == (Exit.INCONCLUSIVE, 0)
    copied = compared([FAR] * 60, [COPY] + [{"value": 9.0}] * 40 + [FAR] * 19, "new")
    assert (copied.exit, copied.failing) == (Exit.FAILED, 1)


@pytest.mark.parametrize("side", ["old", "new"])
def test_an_unfinished_run_is_inconclusive(side: str) -> None:
    rows = {"old": [FAR] * 31, "new": [FAR] * 31}
    folders = {}
    for name in rows:
        changes = {"plan": {**NEXT}} if name == "new" else {}
        folders[name] = written(name, rows[name], **changes)
    (sorted((folders[side] / "shards").iterdir())[-1]).unlink()
    found = compare(folders["old"], folders["new"], fail_on="new")
    assert found.exit == Exit.INCONCLUSIVE
    assert found.counts["undecided"] == 7
    assert found.reasons[0].startswith(f"{side.upper()}: complete: 24 of 31 planned items were measured")


def test_a_new_finding_of_an_unfinished_run_fails() -> None:
    old, new = written("old", [FAR] * 31), written("new", [COPY, *[FAR] * 30], plan=NEXT)
    (sorted((new / "shards").iterdir())[-1]).unlink()
    found = compare(old, new, fail_on="new")
    assert found.exit == Exit.FAILED
    assert len(found.reasons) == 2


def test_an_altered_run_is_inconclusive() -> None:
    old, new = written("old", [FAR] * 31), written("new", [FAR] * 31, plan=NEXT)
    shard = sorted((new / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes().replace(b'"similarity":0.4', b'"similarity":0.3'))
    found = compare(old, new)
    assert found.exit == Exit.INCONCLUSIVE
    assert "NEW: integrity: " in found.reasons[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"plan": {"num_seeds": 1}}, "num_seeds is 2 and 1; scan again with the same num_seeds"),
        ({"plan": {"seed": 7}}, "seed is 0 and 7"),
        ({"plan": {"noise": "shared"}}, "noise is"),
        (
            {"plan": {"detectors": ["agreement"], "combine": ["agreement"]}},
            "deciding is ('spikiness',) and ('agreement',)",
        ),
        ({"plan": {"index": "f" * 64}}, "index is"),
        ({"plan": {"base": "f" * 64}}, "one is ranked among what a base draws"),
        (
            {"policy": Policy(fdr=0.1)},
            "fdr of their policies is 0.05 and 0.1; say which policy holds, with --policy FILE",
        ),
    ],
)
def test_what_does_not_compare_is_refused_by_its_key(changes: dict[str, Any], said: str) -> None:
    rows = [row(i, -1.0) for i in range(3)]
    old = write_run(Path("old"), header(3), rows, None)
    new = write_run(Path("new"), header(3, **changes), rows, None)
    with pytest.raises(MemdetectError, match="do not compare") as caught:
        compare(old, new)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_prompts_are_refused_with_the_first() -> None:
    old = write_run(Path("old"), header(2), [row(0, -1.0), row(1, -1.0)], None)
    new = write_run(Path("new"), header(2), [row(0, -1.0), row(1, -1.0, prompt="another")], None)
    with pytest.raises(MemdetectError, match=r"inputs is .* \(first: item 'i1'\); scan again with the same inputs"):
        compare(old, new)


def test_a_policy_in_a_file_holds_for_both(tmp_path: Path) -> None:
    old = write_run(Path("old"), header(1), [row(0, -1.0)], None)
    new = write_run(Path("new"), header(1, policy=Policy(fdr=0.1)), [row(0, -1.0)], None)
    tmp_path.joinpath("memdetect.toml").write_text("[policy]\nfail-on = 'copy'\n")
    assert compare(old, new).findings == ("copy",)


def test_a_real_run_against_itself_has_no_difference(tmp_path: Path) -> None:
    folder = scene("memorizing").write(tmp_path / "run")
    found = compare(folder, folder, fail_on="worse")
    assert (found.exit, found.differs) == (Exit.OK, [])
    assert {name: count for name, count in found.counts.items() if count} == {"unchanged": 20, "clear": 40}
    assert [(share.both, share.p, share.difference) for share in found.shares] == [(20, 1.0, 0.0)] * 2


def test_a_real_run_that_lost_its_copies(tmp_path: Path) -> None:
    """The same prompts of which all matches are far: the copies are gone, some are suspicious still."""
    held = scene("memorizing")
    far = tuple(
        r.model_copy(
            update={"matches": [m.model_copy(update={"copy_found": False, "similar": False}) for m in r.matches]}
        )
        for r in held.rows
    )
    old = held.write(tmp_path / "old")
    new = type(held)(held.header, far, held.calibration).write(tmp_path / "new")
    found = compare(old, new, fail_on="new")
    assert found.failing == 0
    assert found.counts["gone"] + found.counts["better"] + found.counts["undecided"] == 20
    assert found.shares[0].new == 0
