"""What is not joined, what is not copied, and what closing a run refuses: runs on disk that no network made."""

from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import calibration, header, row, write_run

from memdetect.errors import Exit, MemdetectError
from memdetect.judging.merging import close, joined
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy
from memdetect.runs.screen import Screen

COUNT = 12
CLEAN = calibration([float(i) for i in range(40)])
SCREEN = Screen(share=0.5, detectors=("spikiness",), steps=10, num_seeds=2, plan="a" * 64, chosen="0-5", count=6)


def made(folder: Path, first: int = 0, last: int = COUNT, clean: Any = CLEAN, **changes: Any) -> Path:
    """A run of twelve items in shards of four, of which some are there."""
    policy = changes.pop("policy", Policy())
    rows = [row(i, float(i)) for i in range(COUNT)]
    run = write_run(folder, header(COUNT, clean, policy, plan={"shard_size": 4}, **changes), rows, clean, shard=4)
    for number in range(COUNT // 4):
        if not first <= 4 * number < last:
            RunFolder(run).shard(number).unlink()
    return run


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("their policy", {"policy": Policy(fdr=0.1)}),
        ("their clean scores", {"clean": calibration([i + 0.5 for i in range(40)])}),
        ("what their screen chose", {"screen": SCREEN}),
    ],
)
def test_runs_that_differ_in_what_they_are_judged_by_are_not_joined(what: str, changes: Any, tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", **changes)]
    for order in (runs, runs[::-1]):
        with pytest.raises(MemdetectError, match=f"differ in {what}; only runs of one plan are joined"):
            joined(order)


def test_of_a_shard_that_two_hold_the_first_counts(tmp_path: Path) -> None:
    home, other = made(tmp_path / "a", last=8), made(tmp_path / "b", first=4)
    held = RunFolder(home).shard(1).read_bytes()
    RunFolder(other).shard(1).write_bytes(held.replace(b"scanned", b"changed"))
    joined([home, other])
    assert RunFolder(home).shard(1).read_bytes() == held
    assert RunFolder(home).shard(2).read_bytes() == RunFolder(other).shard(2).read_bytes()
    assert len(close(home).results) == COUNT


def test_images_come_along_but_for_what_is_being_written(tmp_path: Path) -> None:
    home, other = made(tmp_path / "a", last=8), made(tmp_path / "b", first=8)
    pictures = RunFolder(other).pictures(2)
    pictures.mkdir(parents=True)
    (pictures / "0.png").write_bytes(b"whole")
    (pictures / ".1.png.tmp").write_bytes(b"half")
    joined([home, other])
    assert {path.name: path.read_bytes() for path in RunFolder(home).pictures(2).iterdir()} == {"0.png": b"whole"}


def test_to_join_twice_changes_nothing(tmp_path: Path) -> None:
    """Journals of one process in two runs have one name: neither is lost, and none is there twice."""
    home, other = made(tmp_path / "a", last=8), made(tmp_path / "b", first=8)
    journal = [path.name for path in RunFolder(other).journal.files()]
    (other / "journal" / journal[0]).write_bytes((other / "journal" / journal[0]).read_bytes() + b'{"event": "x"}\n')
    joined([home, other])
    before = {path.name: path.read_bytes() for path in (home / "journal").iterdir()}
    joined([home, other])
    assert {path.name: path.read_bytes() for path in (home / "journal").iterdir()} == before
    assert sum(b'"x"' in data for data in before.values()) == 1


def test_a_run_with_a_damaged_shard_is_not_closed(tmp_path: Path) -> None:
    run = made(tmp_path / "a")
    shard = RunFolder(run).shard(1)
    shard.write_bytes(shard.read_bytes().replace(b"{", b"[", 1))
    with pytest.raises(MemdetectError, match=r"0000000001.jsonl, line 1 is damaged; ") as caught:
        close(run)
    assert caught.value.exit == Exit.ERROR
    assert not (run / "results.jsonl").exists()


def test_a_journal_that_only_grew_is_taken_in_its_place(tmp_path: Path) -> None:
    """A copy of a run went on: its journal begins as that of the run, and replaces it."""
    home, other = made(tmp_path / "a", last=8), made(tmp_path / "b", first=8)
    (name,) = [path.name for path in RunFolder(home).journal.files()]
    longer = (home / "journal" / name).read_bytes() + b'{"event": "later"}\n'
    (other / "journal" / name).write_bytes(longer)
    joined([home, other])
    assert [path.name for path in (home / "journal").iterdir()] == [name]
    assert (home / "journal" / name).read_bytes() == longer
    (other / "journal" / name).write_bytes(longer[:-19])
    joined([home, other])
    assert (home / "journal" / name).read_bytes() == longer, "an older copy takes nothing away"
