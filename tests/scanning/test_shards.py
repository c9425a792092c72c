"""Shards are a function of the plan; whoever measures them, and whoever is killed, the bytes are the same."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import ITEMS, LONG, SIZE, ToyJob, bytes_of, header_of, requests, toy

from memdetect.errors import MemdetectError
from memdetect.files import process
from memdetect.judging.merging import close
from memdetect.runs.folder import RunFolder
from memdetect.runs.sharding import Rank, Sharding, turns_of
from memdetect.scanning.loop import Watch, go_through, in_order
from memdetect.scanning.worker import Worker

COUNT = -(-ITEMS // SIZE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("alone")
    found = whole(folder)
    assert len([name for name in found if name.startswith("shards")]) == COUNT
    return found


def whole(folder: Path, **facts: int) -> dict[str, bytes]:
    """What is there when a run is taken to its end and closed."""
    assert go_through(ToyJob(folder).opened(), Watch(), Rank(**facts))
    close(folder)
    return bytes_of(folder)


@given(
    st.lists(st.booleans(), max_size=60),
    st.integers(1, 9),
)
def test_shards_cover_the_items_in_order_each_of_one_kind(images: list[bool], size: int) -> None:
    sharding = Sharding(len(images), size, tuple(turns_of(images)))
    spans = [sharding.span(k) for k in range(sharding.count)]
    assert [index for span in spans for index in span] == list(range(len(images)))
    for number, span in enumerate(spans):
        assert 1 <= len(span) <= size
        assert len({images[index] for index in span}) == 1
        assert {sharding.holding(index) for index in span} == {number}
        last = span.stop == len(images) or images[span.stop] != images[span.start]
        assert len(span) == size or last, "only the last of a stretch is shorter"
    with pytest.raises(IndexError):
        sharding.span(sharding.count)


def test_names_sort_as_the_numbers_do() -> None:
    folder = RunFolder(Path("run"))
    numbers = [0, 9, 10, 10**7 - 1, 10**7, 10**9]
    for names in ([folder.shard(k).name for k in numbers], [folder.pictures(k).name for k in numbers]):
        assert sorted(names) == names


def test_a_rank_outside_of_the_world_is_refused() -> None:
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(MemdetectError, match="expected a rank from 0"):
            Rank(rank, world)


def test_a_rank_takes_its_own_then_the_rest_from_the_end(tmp_path: Path) -> None:
    worker = Worker(ToyJob(tmp_path).opened())
    taken = [k for k in in_order(worker, Rank(1, 3)) if worker.run(k)]
    assert taken == [1, 4, 7, 10, 9, 8, 6, 5, 3, 2, 0]
    assert list(in_order(worker, Rank(1, 3))) == []
    worker = Worker(ToyJob(tmp_path / "own").opened())
    assert [k for k in in_order(worker, Rank(1, 3, steals=False)) if worker.run(k)] == [1, 4, 7, 10]
    assert not go_through(ToyJob(tmp_path / "own").opened(), Watch(), Rank(1, 3, steals=False))


def test_what_somebody_is_at_comes_last(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        worker = Worker(ToyJob(tmp_path).opened())
        worker.attempts.folder.mkdir()
        began = Path(f"/proc/{living.pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
        host = process().partition(".")[0]
        (worker.attempts.folder / f"0000000002.{host}.{living.pid}-{began}").touch()
        (worker.attempts.folder / "0000000003.elsewhere.17-4711").touch()
        (worker.attempts.folder / f"0000000004.{host}.{living.pid}-1").touch()  # of a former process of that number
        order = [k for k in in_order(worker, Rank()) if worker.run(k)]
        assert order == [0, 1, 4, 5, 6, 7, 8, 9, 10, 3, 2]
        living.communicate(b"\n")
    assert not any(worker.attempts.folder.iterdir()), "nothing is left of shards that are there"


def test_a_rank_that_leaves_the_rest_takes_all_of_its_own_share(tmp_path: Path) -> None:
    """Also what died under another name: in a container that is gone, or before its job went to another node."""
    worker = Worker(ToyJob(tmp_path).opened())
    worker.attempts.folder.mkdir()
    for key in ("0000000004_16-18", "0000000007", "0000000002"):
        (worker.attempts.folder / f"{key}.elsewhere.17-4711").touch()
    assert [k for k in in_order(worker, Rank(1, 3, steals=False)) if worker.run(k)] == [1, 10, 4, 7]
    assert [path.name for path in worker.attempts.folder.iterdir()] == ["0000000002.elsewhere.17-4711"]


def test_another_size_of_shards_on_resume_changes_nothing(tmp_path: Path, alone: dict[str, bytes]) -> None:
    worker = Worker(ToyJob(tmp_path).opened())
    assert worker.run(3).state == "made"
    assert worker.run(3).state == "had"
    again = ToyJob(tmp_path, size=16).opened()
    assert again.header.plan.shard_size == SIZE
    assert again.header.sealed() == again.header
    assert again.header.plan_digest == again.header.plan.digest
    assert whole(tmp_path) == alone


def test_the_digest_of_the_plan_holds_the_size() -> None:
    assert header_of(size=3).plan.digest != header_of(size=4).plan.digest


def test_ranks_in_any_order_and_alone_give_the_same_bytes(tmp_path: Path, alone: dict[str, bytes]) -> None:
    for name, ranks in (("forth", (0, 1)), ("back", (1, 0)), ("only 1", (1,)), ("2 of 3, then 0", (0,))):
        folder = tmp_path / name
        for rank in ranks:
            found = whole(folder, rank=rank, world=2)
        assert found == alone
    stops = iter([False] * 3 + [True] * 99)
    assert not go_through(ToyJob(tmp_path / "3").opened(), Watch(stop=lambda: next(stops)), Rank(1, 2))
    assert 0 < len(RunFolder(tmp_path / "3").shards()) < COUNT
    assert whole(tmp_path / "3", rank=2, world=3) == alone


def test_two_at_once_share_the_run_and_a_clock_that_is_wrong_changes_nothing(
    tmp_path: Path, alone: dict[str, bytes]
) -> None:
    children = [toy(tmp_path, slow=0.02), toy(tmp_path, slow=0.02, clock=-1)]
    assert [child.ended() for child in children] == [0, 0]
    close(tmp_path)
    assert bytes_of(tmp_path) == alone
    assert len(RunFolder(tmp_path).journal.files()) == 2
    events = [event for event in RunFolder(tmp_path).events() if event["event"] == "shard"]
    assert len(events) <= COUNT + 2, "at most one a process is measured twice"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("point", ["temporary", "link", "linked", "images"])
def test_a_death_at_a_named_point_costs_at_most_its_shard(point: str, tmp_path: Path, alone: dict[str, bytes]) -> None:
    assert toy(tmp_path, die=point).ended() == -9
    held = len(RunFolder(tmp_path).shards())
    assert held == (2 if point == "linked" else 1)
    assert whole(tmp_path) == alone
    assert not list(tmp_path.rglob("*.tmp"))
    assert not any((tmp_path / "attempts").iterdir())


def test_a_run_that_is_killed_twenty_times_ends_with_the_same_bytes(tmp_path: Path, alone: dict[str, bytes]) -> None:
    """Each kill at a random moment of two processes at work; no shard is hit three times, as one that kills is."""
    killed = 0
    for seed in range(20):
        folder = tmp_path / str(seed // 2)
        children = [toy(folder, slow=0.05, rank=rank, world=2) for rank in (0, 1)]
        wait_for(folder, seed % 7)
        time.sleep(0.01 * (seed % 5))
        for child in children[: 1 + seed % 2]:
            child.kill()
        killed += sum(child.ended() == -9 for child in children)
    assert killed >= 15
    for folder in tmp_path.iterdir():
        assert whole(folder) == alone
        assert not list(folder.rglob("*.tmp"))


def wait_for(folder: Path, shards: int) -> None:
    """Until a run holds so many shards."""
    until = time.monotonic() + LONG
    while len(list((folder / "shards").glob("*.jsonl"))) < shards and time.monotonic() < until:
        time.sleep(0.005)


def test_what_is_left_of_many_shards_is_found_quickly(tmp_path: Path) -> None:
    """10^5 shards, half of them there: files are listed, none is opened."""
    folder = RunFolder(tmp_path)
    (tmp_path / "shards").mkdir()
    for number in range(0, 10**5, 2):
        os.close(os.open(folder.shard(number), os.O_CREAT))
    sharding = Sharding(10**5 * 4 - 1, 4)
    begun = time.process_time()
    todo = folder.todo(sharding)
    assert time.process_time() - begun < 1.0
    assert todo == list(range(1, 10**5, 2))


def test_items_of_the_toy_are_those_of_its_plan() -> None:
    assert len(requests()) == header_of().planned == ITEMS
