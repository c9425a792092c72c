"""Runs of machines without a common disk are joined; what is missing is counted, and what differs is refused."""

from pathlib import Path

import pytest
from toy_runs import ToyJob, bytes_of

from memdetect.cli import run
from memdetect.errors import Exit, MemdetectError
from memdetect.judging.merging import close, joined
from memdetect.runs.folder import RunFolder
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.worker import Worker


def some(folder: Path, numbers: range) -> Path:
    """A run with some of its shards."""
    worker = Worker(ToyJob(folder).opened())
    assert {outcome.state for outcome in worker.through(numbers)} == {"made"}
    return folder


def test_joined_runs_are_the_run_of_one_machine(tmp_path: Path) -> None:
    go_through(ToyJob(tmp_path / "alone").opened(), Watch())
    close(tmp_path / "alone")
    parts = [some(tmp_path / "a", range(5)), some(tmp_path / "b", range(3, 9)), some(tmp_path / "c", range(9, 11))]
    before = bytes_of(parts[1])
    home = joined(parts, tmp_path / "whole")
    judged = close(home)
    assert bytes_of(home) == bytes_of(tmp_path / "alone")
    assert judged.found.altered == ()
    assert bytes_of(parts[1]) == before
    assert joined(parts) == parts[0]
    assert close(parts[0]).verdict == judged.verdict
    assert bytes_of(parts[0]) == bytes_of(home)
    with pytest.raises(MemdetectError, match="is there already; choose another --out"):
        joined(parts, tmp_path / "whole")


def test_what_is_missing_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some(tmp_path / "a", range(5))
    assert run(["merge", str(tmp_path / "a")]) == Exit.INCONCLUSIVE
    assert f"6 of 11 shards are missing in {tmp_path / 'a'}, the first is 5; " in capsys.readouterr().err
    assert not (tmp_path / "a" / "results.jsonl").exists()
    some(tmp_path / "b", range(5, 11))
    assert run(["merge", str(tmp_path / "a"), str(tmp_path / "b")]) == Exit.OK
    assert len(RunFolder(tmp_path / "a").results()) == 41


def test_runs_of_different_plans_are_not_joined(tmp_path: Path) -> None:
    some(tmp_path / "a", range(1))
    ToyJob(tmp_path / "b", size=5).opened()
    with pytest.raises(MemdetectError, match=r"a and .*b differ in their plan; only runs of one plan are joined"):
        joined([tmp_path / "a", tmp_path / "b"])
