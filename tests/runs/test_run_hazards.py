"""What a bad disk and killed processes leave in a run folder: dropped and said, deleted by rule, or refused by name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import header, row, write_run

from memdetect.copies.match import Match
from memdetect.errors import MemdetectError
from memdetect.files import host, temporary_of
from memdetect.runs.folder import RunFolder

DEAD = 2**22 + 1  # a number that no process has: above the largest of Linux


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(write_run(tmp_path / "run", header(3), [row(i, float(i)) for i in range(2)], None))


@pytest.mark.parametrize(
    "tail", [b'{"time": "20', b"\xff\xfe", b"null\n", b"17", b"[" * 100_000, b'{"event": "shard"', b"\0" * 4096]
)
def test_a_torn_line_of_the_journal_is_dropped_and_said(tail: bytes, folder: RunFolder) -> None:
    before = list(folder.events())
    assert folder.journal.torn() == ""
    with folder.journal.own.open("ab") as file:
        file.write(tail)
    assert list(folder.events()) == before
    assert folder.journal.torn() == f"{folder.path / 'journal'}: left out 1 line that a crash cut off"
    folder.note("start")
    assert [event["event"] for event in folder.events()] == [*(event["event"] for event in before), "start"]


def test_every_cut_of_the_journal_leaves_the_lines_before_it(folder: RunFolder) -> None:
    path = folder.journal.own
    data, events = path.read_bytes(), list(folder.events())
    for length in range(len(data)):
        path.write_bytes(data[:length])
        whole = data[:length].count(b"\n") + (length > 0 and data[length : length + 1] == b"\n")
        assert list(folder.events()) == events[:whole]


def test_opening_deletes_what_killed_processes_left(folder: RunFolder) -> None:
    for name in (".run.json", "shards/.0000000000.jsonl"):
        (folder.path / f"{name}.{host()}.{DEAD}-7.tmp").write_text("half", encoding="utf-8")
    (mine := temporary_of(folder.path / "results.jsonl")).write_text("half", encoding="utf-8")
    (theirs := folder.path / f"shards/.0000000001.jsonl.another-host.{DEAD}-7.tmp").write_text("half", encoding="utf-8")
    folder.open(folder.header())
    assert set(folder.path.rglob("*.tmp")) == {mine, theirs}


def test_a_full_disk_names_the_journal(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.journal.own.unlink()
    folder.journal.own.symlink_to("/dev/full")
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    with pytest.raises(OSError, match="No space left on device") as told:
        folder.note("start")
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(folder.journal.own))


@pytest.mark.parametrize("part", ["images", "shards", "journal", "results.jsonl", "pairs.png", ".lock", "base"])
def test_a_link_in_a_run_is_refused_before_anything_is_written(part: str, folder: RunFolder, tmp_path: Path) -> None:
    (theirs := tmp_path / "theirs").mkdir()
    if (path := folder.path / part).exists():
        path.rename(tmp_path / "former")
    path.symlink_to(theirs)
    with pytest.raises(MemdetectError, match=f"{part} is a link, and a run writes into its own folder alone"):
        folder.open(folder.header())
    assert not any(theirs.iterdir())


def test_the_journal_is_not_written_through_a_link(folder: RunFolder, tmp_path: Path) -> None:
    folder.journal.own.unlink()
    folder.journal.own.symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        folder.note("start")
    assert not (tmp_path / "theirs").exists()


# A gate in a process of its own, and the most memory that it held, in KiB.
GATED = """
import re, sys
from pathlib import Path
from memdetect.cli import run
assert run(["gate", sys.argv[1]]) == 3
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def far(seed: int, rank: int) -> Match:
    """A training image that an image is nothing like."""
    key = f"photographs/{rank:03d}/{seed:09d}.png"
    return Match(seed=seed, rank=rank, key=key, path=f"/data/{key}", caption="a photograph", similarity=0.1, p=0.5)


def test_a_gate_holds_little_of_each_record(tmp_path: Path) -> None:
    """Memory that grows with a run: of 12 training images a record those that tell nothing are not kept."""
    matches = [far(seed, rank) for seed in range(4) for rank in (1, 2, 3)]
    used: list[int] = []
    for count in (10, 2010):
        rows = [row(i, 1.0, matches=matches) for i in range(count)]
        folder = write_run(tmp_path / str(count), header(count), rows, None, shard=10)
        command = [sys.executable, "-c", GATED, str(folder)]
        used.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]))
    assert (used[1] - used[0]) / 2000 < 3  # KiB a record; 20 where all are kept
