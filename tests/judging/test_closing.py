"""Which shard counts where two runs hold it, and what closing a run refuses: runs on disk that no network made."""

from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import calibration, header, row, write_run

from memdetect.errors import Exit, MemdetectError
from memdetect.judging.merging import close, joined
from memdetect.runs.folder import RunFolder
from memdetect.runs.policy import Policy

COUNT = 12
CLEAN = calibration([float(i) for i in range(40)])


def made(folder: Path, first: int = 0, last: int = COUNT, clean: Any = CLEAN, **changes: Any) -> Path:
    """A run of twelve items in shards of four, of which some are there."""
    policy = changes.pop("policy", Policy())
    rows = [row(i, float(i)) for i in range(COUNT)]
    run = write_run(folder, header(COUNT, clean, policy, plan={"shard_size": 4}, **changes), rows, clean, shard=4)
    for number in range(COUNT // 4):
        if not first <= 4 * number < last:
            RunFolder(run).shard(number).unlink()
    return run


def test_of_a_shard_that_two_hold_the_first_counts(tmp_path: Path) -> None:
    home, other = made(tmp_path / "a", last=8), made(tmp_path / "b", first=4)
    held = RunFolder(home).shard(1).read_bytes()
    RunFolder(other).shard(1).write_bytes(held.replace(b"scanned", b"changed"))
    joined([home, other])
    assert RunFolder(home).shard(1).read_bytes() == held
    assert RunFolder(home).shard(2).read_bytes() == RunFolder(other).shard(2).read_bytes()
    assert len(close(home).results) == COUNT


def test_a_run_with_a_damaged_shard_is_not_closed(tmp_path: Path) -> None:
    run = made(tmp_path / "a")
    shard = RunFolder(run).shard(1)
    shard.write_bytes(shard.read_bytes().replace(b"{", b"[", 1))
    with pytest.raises(MemdetectError, match=r"0000000001.jsonl, line 1 is damaged; ") as caught:
        close(run)
    assert caught.value.exit == Exit.ERROR
    assert not (run / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"device": "cuda"}, {"device": "cpu", "threads": 2}, "their device, cuda and cpu"),
        ({"device": "cpu", "threads": 2}, {"device": "cpu", "threads": 4}, "their number of threads, 2 and 4"),
        ({"device": "cuda", "threads": 2}, {"device": "cuda", "threads": 4}, ""),
        ({"device": "cuda"}, {"device": ""}, ""),
        ({"device": "cpu", "threads": 2}, {"device": "cpu"}, ""),
    ],
)
def test_parts_of_another_device_are_not_joined(
    one: dict[str, Any], other: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """As a scan is refused that goes on with a run on another one: the last bits of its rows would differ."""
    parts = [made(tmp_path / "a", last=8, **one), made(tmp_path / "b", first=8, **other)]
    if not said:
        assert len(close(joined(parts)).results) == COUNT
        return
    with pytest.raises(MemdetectError, match=rf"a and .*b differ in {said}; only runs of one plan are joined"):
        joined(parts)
