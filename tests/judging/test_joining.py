"""What runs have to share to be joined, what is copied and what is left behind, and who may close a run."""

from pathlib import Path
from typing import Any

import pytest
from toy_runs import ToyJob, bytes_of

from memdetect.errors import MemdetectError
from memdetect.judging.merging import close, joined
from memdetect.runs.folder import RunFolder
from memdetect.runs.screen import Screen
from memdetect.scanning.worker import Worker

SCREEN = Screen(share=0.5, detectors=("sharpness",), steps=1, num_seeds=1, plan="", chosen="0", count=1)


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Runs of one plan, with five shards and with the other six."""
    runs = [tmp_path / "a", tmp_path / "b"]
    for run, numbers in zip(runs, (range(5), range(5, 11)), strict=True):
        assert {outcome.state for outcome in Worker(ToyJob(run).opened()).through(numbers)} == {"made"}
    return runs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"policy_digest": "0" * 64}, "their policy"),
        ({"calibration": "0" * 64}, "their clean scores"),
        ({"screen": SCREEN}, "what their screen chose"),
    ],
)
def test_runs_that_are_judged_otherwise_are_not_joined(change: dict[str, Any], said: str, two: list[Path]) -> None:
    header = RunFolder(two[1]).header().model_copy(update=change)
    (two[1] / "run.json").write_text(header.sealed().model_dump_json(), encoding="utf-8")
    before = bytes_of(two[0])
    with pytest.raises(MemdetectError, match=f"differ in {said}; only runs of one plan are joined"):
        joined(two)
    assert bytes_of(two[0]) == before


def test_what_belongs_to_a_machine_stays_there(two: list[Path], tmp_path: Path) -> None:
    """Attempts, parts, locks, results, and files that somebody was writing."""
    for run in two:
        for name in ("attempts/0000000000.x.1-1", "parts/0000000000_0-1.jsonl", ".lock", "results.jsonl", "pairs.png"):
            (run / name).parent.mkdir(exist_ok=True)
            (run / name).write_bytes(b"")
        for name in ("0000000000", "0000000005"):
            (run / "images" / name).mkdir(exist_ok=True)
            (run / "images" / name / ".a.png.x.1-1.tmp").write_bytes(b"")
    home = joined(two, tmp_path / "home")
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert {name.partition("/")[0] for name in files} == {"run.json", "shards", "images", "journal"}
    assert not [name for name in files if name.endswith(".tmp")]


def test_journals_are_copied_once(two: list[Path]) -> None:
    """Two machines may have named theirs alike; of one that grew, here or there, the longer is kept."""

    def write(number: int, name: str, said: str) -> None:
        with (two[number] / "journal" / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(f'{{"event": "of {said}"}}\n')

    def events() -> list[str]:
        joined(two)
        found = [str(event["event"]) for event in RunFolder(two[0]).events()]
        return sorted(event for event in found if event.startswith("of "))

    write(0, "alike.1-1", "a")
    write(1, "alike.1-1", "b")
    write(1, "grows.1-1", "first")
    assert events() == ["of a", "of b", "of first"]
    write(1, "grows.1-1", "second")
    assert events() == ["of a", "of b", "of first", "of second"]
    write(0, "grows.1-1", "third")
    assert events() == ["of a", "of b", "of first", "of second", "of third"]


def test_a_run_is_closed_by_one_process_at_a_time(two: list[Path]) -> None:
    joined(two)
    with RunFolder(two[0]).locked(), pytest.raises(MemdetectError, match="another process is writing to"):
        close(two[0], waiting=lambda: False)
    assert not (two[0] / "results.jsonl").exists()
    close(two[0])
    assert (two[0] / "results.jsonl").exists()
