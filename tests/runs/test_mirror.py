"""A run in object storage: whoever measures it, on however many machines, its objects are those of a local run."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import Account, serving
from toy_runs import ITEMS, SIZE, ToyJob, bytes_of, header_of, requests

from memdetect import files
from memdetect.errors import MemdetectError
from memdetect.runs import mirror, remote
from memdetect.runs.folder import RunFolder
from memdetect.runs.mirror import Mirror, fetched, run_at
from memdetect.runs.policy import Policy
from memdetect.runs.records import Result
from memdetect.runs.screen import RECALL
from memdetect.runs.sharding import Rank
from memdetect.scanning.closing import closed
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.worker import Opened, Worker

RUN = Path("s3://bucket/team/run")
COUNT = -(-ITEMS // SIZE)

Machine = Callable[[str], None]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with serving() as account:
        for name, value in account.env.items():
            monkeypatch.setenv(name, value)
        yield account


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Account) -> Machine:
    """What comes next is on a machine of this name, with a disk and a process of its own."""

    def on(name: str) -> None:
        monkeypatch.setenv("MEMDETECT_CACHE_DIR", str(tmp_path / name))
        for module in ("files", "runs.journal", "runs.attempts"):
            monkeypatch.setattr(f"memdetect.{module}.process", lambda: f"{name}.17-4711")

    on("first")
    return on


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes on its own disk."""
    folder = tmp_path_factory.mktemp("alone")
    assert go_through(ToyJob(folder).opened(), Watch())
    return bytes_of(folder)


def opened() -> Opened:
    """The run, opened by this machine."""
    job, folder = ToyJob(RUN), run_at(RUN)
    return Opened(requests(), job.step, folder, folder.open(header_of()))


def objects(server: Account) -> dict[str, bytes]:
    """Shards and images in the bucket, as `bytes_of` names those of a folder."""
    held = {name.removeprefix("team/run/"): data for name, data in server.buckets["bucket"].items()}
    return {name: data for name, data in held.items() if name.startswith(("shards", "images"))}


def test_the_objects_are_the_bytes_of_a_local_run(server: Account, machine: Machine, alone: dict[str, bytes]) -> None:
    assert go_through(opened(), Watch())
    assert objects(server) == alone
    puts = [line.removeprefix("PUT bucket/team/run/") for line in server.asked if line.startswith("PUT")]
    for number in range(COUNT):
        rows = puts.index(f"shards/{number:010d}.jsonl")
        others = [k for k, name in enumerate(puts) if name.startswith(f"images/{number:010d}/")]
        assert len(others) >= 1
        assert max(others) < rows, "the rows come last, for they prove the images"
        assert any(name.startswith("journal/") for name in puts[max(others) : rows])


def test_two_machines_share_a_run(server: Account, machine: Machine, alone: dict[str, bytes]) -> None:
    first = Worker(opened())
    for number in (0, 2, 4):
        assert first.run(number).state == "made"
    machine("second")
    second = Worker(opened())
    assert second.run(2).state == "had"
    assert second.todo() == [1, 3, *range(5, COUNT)]
    assert go_through(opened(), Watch(), Rank(1, 2))
    assert objects(server) == alone
    machine("first")
    assert first.run(1).state == "had", "it looks before it measures"
    assert [row.index for row in first.folder.measurements()] == list(range(ITEMS))
    noted = {event["file"] for event in first.folder.events() if event["event"] == "shard"}
    assert noted == {f"{number:010d}.jsonl" for number in range(COUNT)}


def test_whoever_closes_a_run_has_the_rows_of_all(server: Account, machine: Machine) -> None:
    """On a machine that measured some of the shards, and on one that measured none."""
    first = Worker(opened())
    for number in (0, 2, 4):
        first.run(number)
    (first.folder.path / RECALL).write_text("known")
    first.folder.send()
    for name in ("second", "third"):
        machine(name)
        run = opened()
        assert go_through(run, Watch())
        found = closed(run.folder, run.header, None, Policy(), None, interrupted=False)
        assert (len(found.results), found.verdict.complete) == (ITEMS, True)
        assert not [rule for rule in found.verdict.rules if rule.name == "integrity"]
        assert (run.folder.path / RECALL).read_text() == "known"


def test_of_two_that_measured_a_shard_the_first_counts(server: Account, machine: Machine) -> None:
    worker = Worker(opened())
    name = "team/run/shards/0000000003.jsonl"
    step = worker.folder.write_shard

    def slow(number: int, rows: object, **facts: object) -> bool:
        server.buckets["bucket"][name] = b"of another machine\n"
        return step(number, rows, **facts)  # pyright: ignore[reportArgumentType]

    worker.folder.write_shard = slow  # pyright: ignore[reportAttributeAccessIssue]
    assert worker.run(3).state == "had"
    assert server.buckets["bucket"][name] == b"of another machine\n"
    assert worker.folder.shard(3).read_bytes() == b"of another machine\n"


def test_what_was_not_sent_is_sent_by_the_next(server: Account, machine: Machine, alone: dict[str, bytes]) -> None:
    """A process that ends between its own disk and the network."""
    run = opened()
    RunFolder.write_shard(
        run.folder, 0, run.step([(k, run.items[k]) for k in range(SIZE)], run.folder.pictures(0)).finish()
    )
    assert run.folder.shard(0).exists()
    assert run.folder.todo(run.header.sharding) == list(range(COUNT))
    assert go_through(opened(), Watch())
    assert objects(server) == alone


def test_another_plan_is_refused_with_the_address(server: Account, machine: Machine) -> None:
    opened()
    machine("second")
    with pytest.raises(MemdetectError, match=r"^s3://bucket/team/run holds a run with another plan: inputs was"):
        run_at(RUN).open(header_of(items=7))
    header = run_at(RUN).open(header_of())
    assert header.sealed() == header


def test_of_two_that_open_at_once_the_first_header_counts(server: Account, machine: Machine) -> None:
    late = header_of().model_copy(update={"created": "later"})
    folder = run_at(RUN)
    usual = folder.begin

    def begin(header: object) -> None:
        server.buckets["bucket"]["team/run/run.json"] = header_of().sealed().model_dump_json().encode()
        usual(header)  # pyright: ignore[reportArgumentType]

    folder.begin = begin  # pyright: ignore[reportAttributeAccessIssue]
    assert folder.open(late).created == "then"


def test_a_run_that_was_removed_leaves_nothing_of_it_here(server: Account, machine: Machine) -> None:
    worker = Worker(opened())
    worker.run(0)
    server.buckets["bucket"].clear()
    folder = run_at(RUN)
    folder.open(header_of().model_copy(update={"created": "later"}))
    assert folder.todo(header_of().sharding) == list(range(COUNT))
    assert not list(folder.path.rglob("*.png"))
    assert not list((folder.path / "shards").iterdir())


def test_a_copy_follows_its_run(server: Account, machine: Machine, alone: dict[str, bytes]) -> None:
    with pytest.raises(MemdetectError, match=r"^s3://bucket/team/run is not a run: it has no run.json"):
        fetched(RUN)
    worker = Worker(opened())
    worker.run(0)
    machine("reader")
    folder = fetched(RUN)
    assert bytes_of(folder) == {name: alone[name] for name in ("shards/0000000000.jsonl",)}
    machine("first")
    go_through(opened(), Watch())
    worker.folder.write_results([])
    worker.folder.send()
    machine("reader")
    assert fetched(RUN) == folder
    assert bytes_of(folder).keys() == {*(f"shards/{k:010d}.jsonl" for k in range(COUNT)), "results.jsonl"}
    assert bytes_of(fetched(RUN, images=True)) == {**alone, "results.jsonl": b""}
    before = len(server.asked)
    fetched(RUN)
    assert not [line for line in server.asked[before:] if "/shards/" in line], "what is here is not fetched again"
    server.buckets["bucket"]["team/run/shards/0000000001.jsonl"] = b"edited\n"
    del server.buckets["bucket"]["team/run/shards/0000000002.jsonl"]
    fetched(RUN)
    assert (folder / "shards/0000000001.jsonl").read_bytes() == b"edited\n"
    assert not (folder / "shards/0000000002.jsonl").exists()
    assert fetched(folder) == folder


def test_images_of_other_machines_are_there_for_the_sheet(server: Account, machine: Machine) -> None:
    go_through(opened(), Watch())
    machine("second")
    folder = run_at(RUN)
    folder.open(header_of())
    match = {"seed": 0, "rank": 1, "key": "k", "similarity": 0.9}
    rows = [
        Result.model_validate({**row.model_dump(), "outcome": "clear", "matches": [match] if row.index == 5 else []})
        for row in folder.measurements()
    ]
    folder.write_results(rows)
    assert [str(path.relative_to(folder.path)) for path in folder.path.rglob("*.png")] == rows[5].files


def test_an_answer_that_is_lost_costs_nothing(server: Account, machine: Machine, alone: dict[str, bytes]) -> None:
    run = opened()
    server.drop = 3
    assert go_through(run, Watch())
    assert objects(server) == alone


def test_a_mirror_of_one_endpoint_is_not_that_of_another(
    server: Account, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run_at(RUN).path
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert isinstance(run_at(RUN), Mirror)
    assert run_at(RUN).path != here
    assert run_at(RUN).path.name == "run"


def of_a_deleted_run(folder: Path) -> None:
    """What an interrupted removal left of a run: rows, pictures and journal, without the header."""
    for path in (folder / "shards").iterdir():
        path.write_text("of the deleted run\n")
    (folder / "run.json").unlink()


def test_rows_of_a_deleted_run_are_not_sent(server: Account, machine: Machine, alone: dict[str, bytes]) -> None:
    go_through(opened(), Watch())
    of_a_deleted_run(run_at(RUN).path)
    server.buckets["bucket"].clear()
    machine("second")
    opened()
    machine("first")
    run = opened()
    assert go_through(run, Watch())
    assert objects(server) == alone
    assert {f"shards/{path.name}": path.read_bytes() for path in run.folder.shards()} == {
        name: data for name, data in alone.items() if name.startswith("shards")
    }
    assert not list((run.folder.path.parents[4] / "aside").iterdir())


def test_a_run_is_begun_anew_where_a_removal_was_interrupted(server: Account, machine: Machine) -> None:
    go_through(opened(), Watch())
    of_a_deleted_run(run_at(RUN).path)
    server.buckets["bucket"].clear()
    run = opened()
    assert run.folder.todo(run.header.sharding) == list(range(COUNT))
    assert not list((run.folder.path / "shards").iterdir())


def test_what_was_measured_is_sent_whatever_lies_there(
    server: Account, machine: Machine, alone: dict[str, bytes]
) -> None:
    worker = Worker(opened())
    worker.folder.shard(3).write_text("of whatever\n")
    assert worker.run(3).state == "made"
    name = "shards/0000000003.jsonl"
    assert objects(server)[name] == worker.folder.shard(3).read_bytes() == alone[name]


def test_a_removal_that_is_interrupted_is_finished_by_the_next(
    server: Account, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_through(opened(), Watch())
    server.buckets["bucket"].clear()
    removed: list[Path] = []

    def interrupted(path: Path, **_: object) -> None:
        removed.append(Path(path))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mirror.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_at(RUN).open(header_of())
    folder = run_at(RUN)
    assert not folder.path.exists()
    assert removed[0].exists()
    folder.open(header_of())
    assert not removed[0].exists()


def test_of_many_that_begin_anew_none_takes_from_another(
    server: Account, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several ranks of one machine; one of them is slow to remove what is there of the deleted run."""
    worker = Worker(opened())
    for number in range(4):
        worker.run(number)
    server.buckets["bucket"].clear()
    usual, begun, first = mirror.shutil.rmtree, threading.Event(), [True]

    def slow(path: Path, **given: Any) -> None:
        if first.pop() if first else False:
            begun.set()
            time.sleep(0.5)
        usual(path, **given)

    monkeypatch.setattr(mirror.shutil, "rmtree", slow)
    failed: list[BaseException] = []

    def begin() -> None:
        try:
            run_at(RUN).continued(header_of())
        except BaseException as problem:
            failed.append(problem)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    run = opened()
    assert Worker(run).run(0).state == "made"
    for thread in threads:
        thread.join()
    assert not failed
    assert run.folder.shard(0).exists()
    assert [event["file"] for event in run.folder.events() if event["event"] == "shard"] == ["0000000000.jsonl"]


def test_what_is_there_is_not_sent_again(server: Account, machine: Machine) -> None:
    run = opened()
    run.folder.write_results([])
    run.folder.send()
    again = run_at(RUN)
    again.open(header_of())
    before = len(server.asked)
    again.send()
    assert not [line for line in server.asked[before:] if line.startswith("PUT")]
    again.write_results([])
    again.send()
    assert [line for line in server.asked[before:] if line.startswith("PUT")] == ["PUT bucket/team/run/results.jsonl"]


def test_what_could_not_be_sent_is_sent_by_the_next(
    server: Account, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results are there on this machine, so that nothing writes them anew."""
    run = opened()
    run.folder.write_results([])
    with monkeypatch.context() as patch:
        patch.setattr(remote.Store, "send", lambda *_: (_ for _ in ()).throw(MemdetectError("cannot be reached")))
        with pytest.raises(MemdetectError, match="cannot be reached"):
            run.folder.send()
    assert "team/run/results.jsonl" not in server.buckets["bucket"]
    opened().folder.send()
    assert "team/run/results.jsonl" in server.buckets["bucket"]
    del server.buckets["bucket"]["team/run/results.jsonl"]
    opened().folder.send()
    assert "team/run/results.jsonl" in server.buckets["bucket"], "whoever removed it"


def test_results_larger_than_what_is_held_as_a_whole_are_kept(
    server: Account, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened()
    for module in (files, remote):
        monkeypatch.setattr(module, "LARGEST", 2**16)
    monkeypatch.setattr(files.read_regular, "__defaults__", (2**16,))
    (run.folder.path / "results.jsonl").write_bytes(b"x" * 2**17)
    run.folder.send()
    assert server.buckets["bucket"]["team/run/results.jsonl"] == b"x" * 2**17
    opened().folder.send()
    assert (fetched(RUN) / "results.jsonl").stat().st_size == 2**17
    before = len(server.asked)
    fetched(RUN)
    assert "GET bucket/team/run/results.jsonl" not in server.asked[before:]


def test_images_of_other_machines_are_there_for_an_index(
    server: Account, machine: Machine, alone: dict[str, bytes]
) -> None:
    first = Worker(opened())
    for number in (0, 2, 4):
        first.run(number)
    machine("second")
    run = opened()
    go_through(run, Watch())
    folder = run.folder.bring_images()
    found = {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    assert found == {name: data for name, data in alone.items() if name.startswith("images")}
