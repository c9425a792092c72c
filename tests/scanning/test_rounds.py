"""Shards handed to processes of whatever engine: what counts is their files, and there is an end to every run."""

import os
import pickle
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ready import Ready
from toy_runs import Child, ToyJob, bytes_of

from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.given import prompt_requests
from memdetect.inputs.options import Loading, Sampling
from memdetect.runs.folder import RunFolder
from memdetect.scanning import Options, ray_data, rounds
from memdetect.scanning.flow import ScanJob
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.ray_data import through_ray
from memdetect.scanning.rounds import News, Rounds, Taker, as_it_comes


def forked(job: ToyJob, numbers: Sequence[int]) -> Generator[News | None]:
    """An engine that has a new process for each shard, and loses what a process said that died."""
    for number in numbers:
        pid = os.fork()
        if pid == 0:
            try:
                Taker(job, str(job.out))({"item": [number]})
            finally:
                os._exit(0)
        yield None
        if Child(pid).ended() == 0:
            yield News(number, "made")


def test_what_an_engine_loses_is_measured_in_a_further_round(tmp_path: Path) -> None:
    go_through(ToyJob(tmp_path / "alone").opened(), Watch())
    handed: list[list[int]] = []
    job = ToyJob(tmp_path / "run")

    def forgetful(numbers: Sequence[int]) -> Generator[News | None]:
        handed.append(list(numbers))
        yield from forked(job, numbers[::2])

    told: list[int] = []
    assert Rounds(job.opened(), Watch(progress=lambda done, *_: told.append(done))).go(forgetful)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "alone")
    assert handed == [list(range(11)), [1, 3, 5, 7, 9], [3, 7], [7]]
    assert told == sorted(told)
    assert told[-1] == 41


def test_an_item_that_kills_ends_as_a_row(tmp_path: Path) -> None:
    job = ToyJob(tmp_path, items=12, poison=6)
    assert Rounds(job.opened(), Watch()).go(lambda numbers: forked(job, numbers))
    rows = list(RunFolder(tmp_path).measurements())
    assert [(row.index, row.status) for row in rows] == [(k, "lost" if k == 6 else "ok") for k in range(12)]
    assert not any((tmp_path / "attempts").iterdir())


def test_an_engine_that_does_nothing_ends_with_the_count(tmp_path: Path) -> None:
    calls: list[int] = []

    def idle(numbers: Sequence[int]) -> Generator[News | None]:
        calls.append(len(numbers))
        yield News(numbers[0], "made")  # a lie: there is no file
        yield News(numbers[1], "failed", "no model there")

    with pytest.raises(MemdetectError, match=r"^11 of 11 shards are missing: no model there; run the same") as told:
        Rounds(ToyJob(tmp_path).opened(), Watch()).go(idle)
    assert told.value.exit is Exit.INCONCLUSIVE
    assert calls == [11]


def test_who_is_stopped_did_not_die_of_a_shard(tmp_path: Path) -> None:
    job = ToyJob(tmp_path)
    run = Rounds(job.opened(), Watch(stop=lambda: True))
    attempts = tmp_path / "attempts"
    attempts.mkdir()
    (attempts / "0000000001.elsewhere.17-4711").touch()
    ended: list[bool] = []

    def working(numbers: Sequence[int]) -> Generator[News | None]:
        try:
            yield None
        finally:
            (attempts / "0000000005.elsewhere.18-4711").touch()
            ended.append(True)

    assert not run.go(working)
    assert ended == [True]
    run.stopped()
    assert [path.name for path in attempts.iterdir()] == ["0000000001.elsewhere.17-4711"]


def test_a_taker_says_why_it_failed(tmp_path: Path) -> None:
    ToyJob(tmp_path).opened()
    (found,) = Taker(ToyJob(tmp_path), str(tmp_path / "none"))({"item": [3]})["reason"]
    assert "No such file or directory" in found
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyJob, "step", lambda *_: 1 / 0)
        answer = Taker(ToyJob(tmp_path), str(tmp_path))({"item": [3, 4]})
    assert (answer["number"], answer["state"]) == ([3, 4], ["failed", "failed"])
    assert answer["reason"] == ["ZeroDivisionError('division by zero')"] * 2


def test_news_come_as_they_come_and_an_error_is_the_last() -> None:
    def rows() -> Generator[dict[str, object]]:
        yield {"number": 1, "state": "made"}
        time.sleep(0.5)
        raise ValueError("the engine\nbroke down")

    found = list(as_it_comes(rows))
    assert found[0] == News(1, "made")
    assert found[-1] == News(-1, "failed", "ValueError: the engine broke down")
    assert set(found[1:-1]) == {None}


def test_an_engine_whose_machines_are_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "POLL", 0.001)
    ended = threading.Event()

    def rows() -> Generator[dict[str, object]]:
        yield {"number": 1, "state": "made"}
        ended.wait()

    back = [0] * (rounds.PATIENCE - 1) + [1]  # a machine is there again, just in time
    rooms = iter(back)
    found = list(as_it_comes(rows, lambda: next(rooms, 0)))
    ended.set()
    assert found[0] == News(1, "made")
    assert found[-1] == News(-1, "failed", "no machine of the cluster has room for a worker any more")
    assert found.count(None) == rounds.SILENT * (len(back) + rounds.PATIENCE)


class FakeData:
    """What is used of Ray Data, on a cluster that answers nothing."""

    def __init__(self, ended: threading.Event) -> None:
        self.ended = ended
        self.context = SimpleNamespace()
        self.DataContext = SimpleNamespace(get_current=lambda: self.context)

    def ActorPoolStrategy(self, **given: Any) -> Any:
        self.pool = given

    def from_items(self, *_: Any, **__: Any) -> "FakeData":
        return self

    def map_batches(self, *_: Any, **given: Any) -> "FakeData":
        self.given = given
        return self

    def iter_rows(self) -> Generator[dict[str, object]]:
        self.ended.wait()
        yield from ()


@pytest.mark.parametrize(("device", "takes"), [("cpu", {"CPU": 3.0}), ("cuda", {"GPU": 1.0})])
def test_a_cluster_without_room_is_given_up_though_the_head_lives(
    device: str, takes: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head of no resources is alive for as long as the driver is; its workers are what counts."""
    ended = threading.Event()
    head, busy = {"Alive": True, "Resources": {}}, {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 0.0}}
    nodes = [head, busy, {"Alive": True, "Resources": {key: 2 * value for key, value in takes.items()}}]
    data = FakeData(ended)
    ray = SimpleNamespace(init=lambda **_: None, shutdown=lambda: None, data=data, nodes=lambda: nodes)
    monkeypatch.setattr(ray_data, "import_module", lambda _name: ray)
    monkeypatch.setattr(rounds, "POLL", 0.0001)
    opened = ToyJob(tmp_path).opened()
    opened = replace(opened, header=opened.header.model_copy(update={"device": device, "threads": 3}))

    def told(*_: Any) -> None:
        nodes[2]["Alive"] = False  # once it has begun

    monkeypatch.setattr(FakeData, "from_items", lambda self, *_, **__: (told(), self)[1])
    with pytest.raises(MemdetectError, match=r"^11 of 11 shards are missing: no machine of the cluster has room"):
        through_ray(opened, ToyJob(tmp_path), Watch(), "somewhere")
    assert data.pool["size"] == 2
    assert data.given["num_cpus" if device == "cpu" else "num_gpus"] == (3 if device == "cpu" else 1)
    with pytest.raises(MemdetectError, match=r"no machine of the Ray cluster has . .PU, which each worker"):
        through_ray(opened, ToyJob(tmp_path), Watch(), "somewhere")
    ended.set()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(ray_data, "import_module", missing)
    job = ToyJob(tmp_path)
    with pytest.raises(
        MemdetectError, match=r"--ray needs Ray Data, which is not installed; pip install memdetect\[ray\]"
    ):
        through_ray(job.opened(), job, Watch(), "local")


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, ValueError, Exception])
def test_a_cluster_that_does_not_start_is_one_line(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray raises a bare Exception where a node is not up in time."""

    def init(**_: Any) -> None:
        raise kind("the node timed out\nduring startup")

    ray = SimpleNamespace(init=init, shutdown=lambda: None)
    monkeypatch.setattr(ray_data, "import_module", lambda _name: ray)
    with pytest.raises(MemdetectError, match="no Ray cluster at 'local': the node timed out during startup"):
        ray_data.through_ray(ToyJob(tmp_path).opened(), ToyJob(tmp_path), Watch(), "local")


def test_ray_is_not_imported_without_being_asked_for(tmp_path: Path, ready: Ready) -> None:
    program = """
import sys
sys.path.insert(0, "tests")
from pathlib import Path
from toy_runs import ToyJob
import memdetect.cli.scan, memdetect.scanning.flow, memdetect.scanning.ray_data
from memdetect.scanning.loop import Watch, go_through
assert go_through(ToyJob(Path(sys.argv[1])).opened(), Watch())
print(*sorted({"ray", "obstore", "pandas"} & set(sys.modules)))
"""
    assert ready.run(program, str(tmp_path)) == "\n"
    assert len(RunFolder(tmp_path).shards()) == 11


def test_a_scan_that_is_sent_to_another_process_computes_as_it_was_begun(model_folder: Path, tmp_path: Path) -> None:
    settings = Options(loading=Loading(device="cpu"), sampling=Sampling(steps=1, num_seeds=1))
    job = ScanJob(prompt_requests(["a cat", "a dog"]), str(model_folder), tmp_path / "run", settings)
    assert pickle.loads(pickle.dumps(job)) == job
    begun, usual = job.opened().header.threads, torch.get_num_threads()
    assert begun == usual
    try:
        torch.set_num_threads(usual + 1)
        assert pickle.loads(pickle.dumps(job)).opened().header.threads == begun
        assert torch.get_num_threads() == begun
    finally:
        torch.set_num_threads(usual)
