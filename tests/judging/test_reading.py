"""Runs from disk: damaged lines are named, several runs are one, and what differs is refused by its name."""

import sys

import numpy as np
import pytest
from synthetic_runs import calibration, header, match, row, write_run

from memdetect.errors import MemdetectError
from memdetect.judging import judge, read_runs
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy

MADE = calibration(np.random.default_rng(0).normal(size=999).tolist())


def one(folder, first=0, count=20, made=MADE, **changes):
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(first).normal(size=count), first)]
    return write_run(folder, header(count, made, **changes), rows, made)


def test_a_run_is_read_as_it_was_written(tmp_path):
    folder = one(tmp_path / "a")
    found = read_runs([folder])
    assert list(found.rows) == list(RunFolder(folder).measurements())
    assert found.calibration == MADE.cut(found.header.plan)
    assert found.damaged == ()
    assert judge(found.header, found.rows, found.calibration)[1].fixed


def test_a_damaged_line_is_named_and_left_out(tmp_path):
    folder = one(tmp_path / "a")
    shard = sorted((folder / "shards").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-20])
    found = read_runs([folder])
    assert len(found.rows) == 19
    assert found.damaged == (f"{shard}, line 8 is damaged; delete this shard and scan again",)


def test_several_runs_are_judged_as_one(tmp_path):
    folders = [one(tmp_path / "a"), one(tmp_path / "b", 100, 30, plan={"inputs": "def", "seed": 4})]
    found = read_runs(folders)
    assert found.header.planned == len(found.rows) == 50
    assert [r.index for r in found.rows] == list(range(50))
    results, verdict = judge(found.header, found.rows, found.calibration)
    assert (len(results), verdict.planned, verdict.complete) == (50, 50, True)


def test_the_same_run_twice_is_never_a_pass(tmp_path):
    folder = one(tmp_path / "a")
    found = read_runs([folder, folder])
    assert judge(found.header, found.rows, found.calibration)[1].verdict == "inconclusive"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"plan": {"steps": 50}}, "steps"),
        ({"plan": {"model": "x"}}, "model"),
        ({"index": {"digest": "z", "rows": 1}}, "index"),
    ],
)
def test_runs_that_differ_are_refused_by_what_they_differ_in(changes, named, tmp_path):
    with pytest.raises(MemdetectError, match=f"differ in {named} .*judge them one by one"):
        read_runs([one(tmp_path / "a"), one(tmp_path / "b", 100, **changes)])


def test_clean_scores_may_come_from_a_file(tmp_path):
    folder = one(tmp_path / "a")
    (folder / "calibration.json").unlink()
    assert read_runs([folder]).calibration is None
    path = tmp_path / "clean.json"
    path.write_text(MADE.model_dump_json(), encoding="utf-8")
    found = read_runs([folder], path)
    assert judge(found.header, found.rows, found.calibration)[1].fixed
    with pytest.raises(MemdetectError, match="there is no calibration"):
        read_runs([folder], tmp_path / "none.json")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(MemdetectError, match=r"is not a run: it has no run\.json"):
        read_runs([tmp_path])


def test_the_least_covered_index_and_the_strangest_words_stand_for_all(tmp_path):
    index = {"digest": "d", "rows": 5}
    folders = [
        one(tmp_path / "a", index={**index, "coverage": 0.9}, wording={"low": 0.5}),
        one(tmp_path / "b", 100, index={**index, "coverage": 0.4}, wording={"low": 0.8}),
    ]
    head = read_runs(folders).header
    assert (head.index["coverage"], head.wording["low"]) == (0.4, 0.8)
    assert match().copy_found


INDEX = {"digest": "d", "rows": 500, "coverage": 0.9, "recall": 0.95, "similarity": 0.8, "embedder": "e"}
INDEX |= {"level": 0.01, "null_queries": 400, "part_limit": 0.3}
WORSE = {"coverage": 0.2, "rows": 9, "recall": 0.5, "level": 0.1, "part_limit": 0.4}
DIFFERING = {
    "index": ({"index": INDEX}, {"index": INDEX | WORSE}),
    "coverage": ({"index": INDEX}, {"index": {**INDEX, "coverage": None}}),
    "wording": ({"wording": {"low": 0.2, "auroc": 0.5}}, {"wording": {"low": 0.9, "auroc": 0.95}}),
    "missing": ({"wording": {"low": 0.2, "auroc": 0.5}}, {"wording": {"missing": "why"}}),
    "few": ({"wording": {"few": "two"}}, {}),
    "sigmas": ({"sigmas": {"50": 0.25}}, {"sigmas": {"50": 0.5}}),
    "created": ({"created": "2026"}, {"created": "2025"}),
    "name": ({"model": "one"}, {"model": "two"}),
    "dropped": ({"dropped": {"blank": 1}}, {"dropped": {"repeated": 2}}),
    "seed": ({"plan": {"seed": 3}}, {"plan": {"seed": 1}}),
    "versions": ({"versions": {"torch": "1"}}, {"versions": {"torch": "2"}}),
    "policy": ({"policy": Policy(fdr=0.1)}, {}),
}


@pytest.mark.parametrize("what", DIFFERING)
def test_the_order_in_which_runs_are_given_changes_nothing(what, tmp_path):
    """Mutant: the first header that is given stands for all."""
    a, b = (one(tmp_path / name, 100 * i, **DIFFERING[what][i]) for i, name in enumerate("ab"))
    verdicts, headers = [], []
    for folders in ([a, b], [b, a]):
        found = read_runs(folders)
        headers.append(found.header)
        policy = Policy(min_coverage=0.5, max_rate=0.2)
        results, verdict = judge(found.header, found.rows, found.calibration, policy, altered=found.altered)
        verdicts.append((sorted(r.id for r in results), verdict, found.damaged, found.altered))
    assert headers[0] == headers[1]
    assert verdicts[0] == verdicts[1]
    assert found.altered == ()
    assert {p.digest for p in found.policies} == {h.policy_digest for h in map(header_of, (a, b))}


def header_of(folder):
    return RunFolder(folder).header()


def test_of_every_fact_the_worst_stands_for_all(tmp_path):
    folders = [one(tmp_path / name, 100 * i, **DIFFERING["index"][i]) for i, name in enumerate("ab")]
    head = read_runs(folders).header
    assert head.index == INDEX | WORSE
    unknown = [one(tmp_path / name, 100 * i, **DIFFERING["coverage"][i]) for i, name in enumerate("cd")]
    assert read_runs(unknown).header.index["coverage"] is None
    words = [one(tmp_path / name, 100 * i, **DIFFERING["missing"][i]) for i, name in enumerate("ef")]
    assert read_runs(words).header.wording == {"low": 0.2, "auroc": 0.5, "missing": "why"}
    dropped = [one(tmp_path / name, 100 * i, **DIFFERING["dropped"][i]) for i, name in enumerate("gh")]
    assert read_runs(dropped).header.dropped == {"blank": 1, "repeated": 2}


def test_runs_together_have_a_plan_of_their_own(tmp_path):
    """A suppression that was given for one of them is not for all."""
    folders = [one(tmp_path / "a"), one(tmp_path / "b", 100)]
    head = read_runs(folders).header
    assert head.plan_digest == head.plan.digest
    assert head.plan_digest not in [header_of(folder).plan_digest for folder in folders]


def test_a_second_run_without_its_clean_scores_is_named(tmp_path):
    folders = [one(tmp_path / "a"), one(tmp_path / "b", 100)]
    (folders[1] / "calibration.json").unlink()
    for order in (folders, folders[::-1]):
        assert [line for line in read_runs(order).altered if "calibration.json is missing" in line]


def wordless(made):
    return made.model_copy(update={"items": tuple(i.model_copy(update={"prompt": ""}) for i in made.items)})


def test_other_clean_scores_are_compared_in_their_wording_anew(tmp_path, monkeypatch):
    """Mutant: the wording of the run's own clean scores is kept."""
    folder = one(tmp_path / "a", wording={"low": 0.1, "auroc": 0.4, "calibration": MADE.cut(header(1).plan).digest})
    assert read_runs([folder]).header.wording["low"] == 0.1
    path = tmp_path / "other.json"
    path.write_text(wordless(MADE).model_dump_json(), encoding="utf-8")
    assert read_runs([folder], path).header.wording["low"] == 0.1  # the same ones
    other = calibration(np.random.default_rng(9).normal(size=999).tolist())

    def shift(made):
        path.write_text(made.model_dump_json(), encoding="utf-8")
        found = read_runs([folder], path)
        verdict = judge(found.header, found.rows, found.calibration, altered=found.altered)[1]
        return verdict, next(rule for rule in verdict.rules if rule.name == "shift")

    verdict, rule = shift(other)
    assert verdict.shift.low > 0.7  # "scanned abc" and "clean abc" are told apart by their first word
    assert rule.outcome == "inconclusive"
    verdict, rule = shift(wordless(other))
    assert rule.reason.endswith("the clean scores were kept without the words of 999 of their prompts")
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    verdict, rule = shift(other)
    assert (rule.outcome, verdict.exit) == ("inconclusive", 3)
    assert "scikit-learn is not installed here" in rule.reason


def test_too_few_prompts_to_compare_are_a_note(tmp_path):
    folder = one(tmp_path / "a", count=12)
    other = calibration(np.random.default_rng(9).normal(size=999).tolist())
    (tmp_path / "other.json").write_text(other.model_dump_json(), encoding="utf-8")
    found = read_runs([folder], tmp_path / "other.json")
    verdict = judge(found.header, found.rows, found.calibration)[1]
    assert next(rule for rule in verdict.rules if rule.name == "shift").outcome == "pass"
    assert any("12 scanned and 999 clean families of prompts, it takes 20 of each" in note for note in verdict.notes)


def test_a_wording_against_other_clean_scores_says_nothing_of_these():
    head = header(20, MADE, wording={"low": 0.1, "calibration": "another"})
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(1).normal(size=20).clip(-2, 2))]
    verdict = judge(head, rows, MADE)[1]
    assert (
        "shift: the prompts' wording was not compared with that of the clean ones: it was compared with other"
        in (verdict.reasons[0])
    )
