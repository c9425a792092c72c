"""Runs from disk: damaged lines are named, several runs are one, and what differs is refused by its name."""

import numpy as np
import pytest
from synthetic_runs import calibration, header, match, row, write_run

from memdetect.errors import MemdetectError
from memdetect.records import RunFolder
from memdetect.verdict import judge, read_runs

MADE = calibration(np.random.default_rng(0).normal(size=999).tolist())


def one(folder, first=0, count=20, made=MADE, **changes):
    rows = [row(i, float(x)) for i, x in enumerate(np.random.default_rng(first).normal(size=count), first)]
    return write_run(folder, header(count, made, **changes), rows, made)


def test_a_run_is_read_as_it_was_written(tmp_path):
    folder = one(tmp_path / "a")
    found = read_runs([folder])
    assert found.rows == list(RunFolder(folder).measurements())
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
    [({"plan": {"steps": 50}}, "steps"), ({"plan": {"model": "x"}}, "model"), ({"index": {"digest": "z"}}, "index")],
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
