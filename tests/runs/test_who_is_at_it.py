"""Attempts: who is at a shard, who died at it, and of whom nothing is known."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_runs import ToyJob

from memdetect import files
from memdetect.files import clear_leftovers, host, process, temporary_of
from memdetect.runs.attempts import Attempts
from memdetect.runs.journal import Journal
from memdetect.scanning.measure import Indexed, Sampled
from memdetect.scanning.worker import Opened, Worker


@pytest.fixture
def another() -> Iterator[str]:
    """A process of this machine that lives, as names of files call it."""
    told = "from memdetect.files import process; print(process(), flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", told], text=True, **pipes) as child:
        assert child.stdout is not None
        yield child.stdout.readline().strip()
        child.kill()


def states(attempts: Attempts, *, own: bool = False) -> dict[str, str]:
    return {attempt.name.partition(".")[2]: attempt.state for attempt in attempts.held(own=own)}


def test_a_number_that_another_process_has_now_is_no_sign_of_life(another: str, tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "attempts")
    attempts.begin("0000000000")
    number, _, began = another.rpartition(".")[2].partition("-")
    later = f"{host()}.{number}-{int(began) + 1}"
    for name in (another, later, "elsewhere.1-1"):
        (attempts.folder / f"0000000000.{name}").touch()
    (attempts.folder / "notes.txt").touch()
    assert states(attempts) == {another: "alive", later: "dead", "elsewhere.1-1": "unknown"}
    assert states(attempts, own=True)[process()] == "alive"
    attempts.end("0000000000")
    assert process() not in states(attempts, own=True)
    attempts.forget([f"0000000000.{later}", "0000000000.nobody"])
    assert set(states(attempts)) == {another, "elsewhere.1-1"}


def test_a_container_with_numbers_of_its_own_is_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one host name (--network host), as whose processes those of its neighbours look dead."""
    attempts, neighbour = Attempts(tmp_path / "attempts"), process()
    attempts.begin("0000000000")
    left = temporary_of(tmp_path / "out")
    left.touch()
    own = tmp_path / "namespace"
    own.touch()
    monkeypatch.setattr(files, "NUMBERS", str(own))
    monkeypatch.setattr(files, "_started", lambda _number: 1)  # nobody of that number began then
    host.cache_clear()
    try:
        here = process()
        assert here.partition(".")[0] != neighbour.partition(".")[0]
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", host())
        assert states(attempts) == {neighbour: "unknown"}
        clear_leftovers(tmp_path)
        assert left.exists()
        attempts.begin("0000000000")
        assert states(attempts, own=True) == {neighbour: "unknown", here: "alive"}
    finally:
        host.cache_clear()
    monkeypatch.setattr(files, "NUMBERS", str(tmp_path / "none"))  # a system that has none
    assert process().partition(".")[0] == neighbour.partition(".")[0]
    host.cache_clear()


@pytest.mark.parametrize(
    ("problem", "stays"),
    [(OSError("no space"), False), (KeyboardInterrupt(), False), (RuntimeError("of the item"), True)],
)
def test_what_an_item_may_have_caused_counts_as_a_death(problem: BaseException, stays: bool, tmp_path: Path) -> None:
    """In the network, in what is finished after it, and at a part of a shard that is cut up."""

    def fails(_shard: list[Indexed], _images: Path) -> Sampled:
        raise problem

    def late(_shard: list[Indexed], _images: Path) -> Sampled:
        return Sampled(lambda: fails([], tmp_path), {})

    for number, step in enumerate((fails, late)):
        run = ToyJob(tmp_path / str(number)).opened()
        worker = Worker(Opened(run.items, step, run.folder, run.header))
        try:
            outcome = worker.run(3)
        except type(problem):
            assert not isinstance(problem, OSError)
        else:
            assert outcome.state == "failed"
        assert bool(worker.attempts.held(own=True)) == stays


def test_the_line_of_a_shard_is_on_the_disk_before_the_shard_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no loss of power leaves a shard that no journal knows; other lines are not waited for."""
    run = ToyJob(tmp_path).opened()
    rows = run.step([(k, run.items[k]) for k in range(4)], run.folder.pictures(0)).finish()
    calls, usual = list[str](), (os.fsync, os.link)

    def synced(number: int) -> None:
        calls.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        usual[0](number)

    def linked(made: Path, path: Path) -> None:
        calls.append(f"link {path}")
        usual[1](made, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    own, folder = str(run.folder.journal.own), str(run.folder.journal.folder)
    run.folder.note("start")
    assert calls == [folder], "its name"
    for number in (0, 1):
        calls.clear()
        run.folder.pictures(number).mkdir(exist_ok=True)
        run.folder.write_shard(number, rows)
        pictures = [str(run.folder.pictures(number)), str(tmp_path / "images")]
        assert calls[:3] == [own, *pictures]
        assert calls[-2:] == [f"link {run.folder.shard(number)}", str(tmp_path / "shards")]
        assert len(calls) == 6, "with the file of the rows, which has another name before"


def test_each_process_has_a_journal_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that append to one file of a network disk would mix their lines."""
    journal = Journal(tmp_path)
    for name in ("a.1-1", "b.1-1", "a.1-1"):
        monkeypatch.setattr("memdetect.runs.journal.process", lambda name=name: name)
        journal.note("began", by=name)
    assert [path.name for path in journal.files()] == ["a.1-1.jsonl", "b.1-1.jsonl"]
    assert [event["by"] for event in journal.events()] == ["a.1-1", "a.1-1", "b.1-1"]
