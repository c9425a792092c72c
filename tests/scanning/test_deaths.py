"""An item that kills whoever measures it is found by halves and said to be lost; a full disk costs nothing but time."""

import os
import resource
from pathlib import Path

import pytest
from toy_runs import ITEMS, SIZE, Child, ToyJob, header_of, toy

from memdetect.errors import MemdetectError
from memdetect.judging.merging import close
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement
from memdetect.runs.sharding import Rank
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.worker import Worker

POISON, LARGE = 10, 16


def until_done(folder: Path, **facts: int) -> int:
    """Start a process again and again until one ends by itself; how many died. A run that is never done fails."""
    for deaths in range(30):
        if toy(folder, **facts).ended() == 0:
            return deaths
    raise AssertionError("never done")


def rows_of(folder: Path) -> list[Measurement]:
    return list(RunFolder(folder).measurements())


def scores(row: Measurement) -> float:
    score = row.scores["spikiness"].score
    assert score is not None
    return score


def test_a_poison_item_becomes_a_row_that_says_so(tmp_path: Path) -> None:
    """Three deaths of the shard, one for each halving, three of the item alone; all others keep their scores."""
    go_through(ToyJob(tmp_path / "whole", size=LARGE).opened(), Watch())
    deaths = until_done(tmp_path / "run", poison=POISON, size=LARGE)
    assert deaths == 3 + 3 + 3  # 16 items; 8, 4, 2; the item
    close(tmp_path / "run")
    found, usual = rows_of(tmp_path / "run"), rows_of(tmp_path / "whole")
    assert [row.id for row in found] == [row.id for row in usual]
    lost = found[POISON]
    assert (lost.status, lost.scores) == ("lost", {})
    assert lost.notes == ["3 processes died while they measured this item alone"]
    others = [k for k in range(ITEMS) if k != POISON]
    assert [scores(found[k]) for k in others] == pytest.approx([scores(usual[k]) for k in others], rel=1e-5)
    assert [scores(found[k]) for k in range(LARGE, ITEMS)] == [scores(usual[k]) for k in range(LARGE, ITEMS)]
    results = RunFolder(tmp_path / "run").results()
    assert (results[POISON].outcome, results[POISON].reason) == (
        "inconclusive",
        "it could not be measured: 3 processes died while they measured this item alone",
    )
    left = [path.name for part in ("attempts", "parts") for path in (tmp_path / "run" / part).iterdir()]
    assert left == []


def test_a_shard_that_was_cut_up_agrees_with_one_that_was_not(tmp_path: Path) -> None:
    """Three deaths that no item is to blame for."""
    go_through(ToyJob(tmp_path / "whole").opened(), Watch())
    close(tmp_path / "whole")
    worker = Worker(ToyJob(tmp_path / "run").opened())
    worker.attempts.folder.mkdir()
    for number in (1, 2, 3):
        dead = os.spawnlp(os.P_NOWAIT, "true", "true")
        os.waitpid(dead, 0)
        name = f"0000000002.{worker.folder.journal.own.name.partition('.')[0]}.{dead}-{number}"
        (worker.attempts.folder / name).touch()
    outcome = worker.run(2)
    assert (outcome.state, outcome.notes) == ("made", {"in_parts": True})
    go_through(ToyJob(tmp_path / "run").opened(), Watch())
    close(tmp_path / "run")
    found, usual = RunFolder(tmp_path / "run").results(), RunFolder(tmp_path / "whole").results()
    assert [row.outcome for row in found] == [row.outcome for row in usual]
    assert [scores(row) for row in found] == pytest.approx([scores(row) for row in usual], rel=1e-5)
    assert [scores(row) for row in found] != [scores(row) for row in usual], "else the toy would show nothing"


def test_deaths_on_other_machines_count_once_nothing_else_is_left(tmp_path: Path) -> None:
    ToyJob(tmp_path).opened()
    (tmp_path / "attempts").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "attempts" / f"0000000000.pod-{number}.1-77").touch()
    worker = Worker(ToyJob(tmp_path).opened())
    assert worker.run(5).notes == {"halved": []}, "of another shard they say nothing"
    order: list[int] = []
    go_through(ToyJob(tmp_path).opened(), Watch(progress=lambda done, *_: order.append(done)), Rank())
    events = {event["first"]: event for event in RunFolder(tmp_path).events() if event["event"] == "shard"}
    assert [first for first, event in events.items() if event.get("in_parts")] == [0]
    assert list(events)[-1] == 0, "it came last"
    assert order[-1] == ITEMS
    (tmp_path / "again" / "attempts").mkdir(parents=True)
    worker = Worker(ToyJob(tmp_path / "again").opened())
    for number in (1, 2, 3):
        (tmp_path / "again" / "attempts" / f"0000000000.pod-{number}.1-77").touch()
    assert worker.run(0).notes == {"halved": []}, "who came later may be alive"


def test_deaths_elsewhere_count_for_a_rank_that_leaves_the_rest_once_its_own_share_is_there(tmp_path: Path) -> None:
    ToyJob(tmp_path).opened()
    (tmp_path / "attempts").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "attempts" / f"0000000001.pod-{number}.1-77").touch()
    assert not go_through(ToyJob(tmp_path).opened(), Watch(), Rank(1, 3, steals=False))
    events = {event["first"]: event for event in RunFolder(tmp_path).events() if event["event"] == "shard"}
    assert [first for first, event in events.items() if event.get("in_parts")] == [SIZE]
    assert list(events) == [4 * SIZE, 7 * SIZE, 10 * SIZE, SIZE]


@pytest.mark.parametrize("most", [0, 200, 1000])
def test_a_full_disk_is_an_error_and_the_run_goes_on_later(most: int, tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    go_through(ToyJob(usual).opened(), Watch())
    ToyJob(tmp_path / "run").opened()

    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            go_through(ToyJob(tmp_path / "run").opened(), Watch())
        except (OSError, MemdetectError):
            code = 5
        finally:
            os._exit(code)
    assert Child(pid).ended() == 5
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list((tmp_path / "run").glob("attempts/*"))
    go_through(ToyJob(tmp_path / "run").opened(), Watch())
    assert rows_of(tmp_path / "run") == rows_of(usual)


def test_a_truncated_shard_is_named_and_made_again_once_it_is_deleted(tmp_path: Path) -> None:
    go_through(ToyJob(tmp_path).opened(), Watch())
    shard = RunFolder(tmp_path).shard(1)
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MemdetectError, match=r"shards/0000000001\.jsonl, line \d is damaged; delete this shard"):
        close(tmp_path)
    shard.unlink()
    with pytest.raises(MemdetectError, match=r"1 of 11 shards are missing in .*, the first is 1; measure them"):
        close(tmp_path)
    go_through(ToyJob(tmp_path).opened(), Watch())
    assert shard.read_bytes() == whole
    assert header_of().planned == ITEMS > SIZE
