"""Ray Data hands out shards: the bytes are those of one process, whoever is killed, and nothing hangs or is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from ray_cluster import ENV, cluster
from toy_runs import ToyJob, bytes_of

from memdetect.cli import run
from memdetect.runs.folder import RunFolder
from memdetect.scanning.loop import Watch, go_through
from memdetect.scanning.ray_data import through_ray

if find_spec("ray") is None:
    pytest.skip("not run: Ray Data is not installed (the extra ray)", allow_module_level=True)

LONG = 400  # seconds after which what should have ended is a hang: every actor imports what the package needs
DRIVER = """
import sys
from pathlib import Path
from toy_runs import ToyJob
from memdetect.scanning.loop import Watch
from memdetect.scanning.ray_data import through_ray
job = ToyJob(Path(sys.argv[1]), slow=float(sys.argv[3]))
through_ray(job.opened(), job, Watch(), sys.argv[2])
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with cluster() as address:
        yield address


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("alone")
    assert go_through(ToyJob(folder).opened(), Watch())
    return bytes_of(folder)


def shards(folder: Path) -> int:
    return len(list((folder / "shards").glob("*.jsonl")))


def until(folder: Path, count: int) -> None:
    deadline = time.monotonic() + LONG
    while shards(folder) < count:
        assert time.monotonic() < deadline, f"{shards(folder)} shards after {LONG} s"
        time.sleep(0.02)


def test_two_actors_make_the_bytes_of_one_process(address: str, tmp_path: Path, alone: dict[str, bytes]) -> None:
    job, told = ToyJob(tmp_path, slow=0.2), []
    watch = Watch(progress=lambda done, planned, _note: told.append((done, planned)))
    assert through_ray(job.opened(), job, watch, address)
    assert bytes_of(tmp_path) == alone
    assert len(RunFolder(tmp_path).journal.files()) in (2, 3), "of this process, and of each actor that was up in time"
    assert told == sorted(told)
    assert told[-1] == (41, 41)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_worker_that_is_killed_costs_nothing(address: str, tmp_path: Path, alone: dict[str, bytes]) -> None:
    job = ToyJob(tmp_path, slow=0.5)
    killed: list[int] = []

    def kill() -> None:
        until(tmp_path, 2)
        while not killed:
            for path in (tmp_path / "attempts").iterdir():
                killed.append(int(path.name.rpartition(".")[2].partition("-")[0]))
                os.kill(killed[0], signal.SIGKILL)
                break

    thread = threading.Thread(target=kill)
    thread.start()
    assert through_ray(job.opened(), job, Watch(), address)
    thread.join()
    assert len(killed) == 1
    assert bytes_of(tmp_path) == alone
    assert not any((tmp_path / "attempts").iterdir())


def test_the_driver_is_killed_and_the_command_repeated(address: str, tmp_path: Path, alone: dict[str, bytes]) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path), address]
    with subprocess.Popen([*command, "0.5"], env={**os.environ, **ENV}) as driver:
        until(tmp_path, 2)
        driver.kill()
    held = shards(tmp_path)
    assert 2 <= held < 11
    subprocess.run([*command, "0"], env={**os.environ, **ENV}, check=True, timeout=LONG)
    assert bytes_of(tmp_path) == alone


def test_an_item_that_kills_is_a_row_that_says_so(address: str, tmp_path: Path) -> None:
    job = ToyJob(tmp_path, items=6, size=2, poison=3)
    begun = time.monotonic()
    assert through_ray(job.opened(), job, Watch(), address)
    assert time.monotonic() - begun < LONG
    rows = list(RunFolder(tmp_path).measurements())
    assert [row.index for row in rows] == list(range(6))
    lost = [row for row in rows if row.status == "lost"]
    assert [row.index for row in lost] == [3]
    assert lost[0].notes == ["3 processes died while they measured this item alone"]
    assert not any((tmp_path / "attempts").iterdir())


def test_a_run_that_is_stopped_goes_on_where_it_was(address: str, tmp_path: Path, alone: dict[str, bytes]) -> None:
    job = ToyJob(tmp_path, slow=0.5)
    assert not through_ray(job.opened(), job, Watch(stop=lambda: shards(tmp_path) >= 2), address)
    held = shards(tmp_path)
    assert 2 <= held < 11
    assert go_through(ToyJob(tmp_path).opened(), Watch())
    assert bytes_of(tmp_path) == alone


def marked(mark: str) -> list[str]:
    """The processes that have a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes()[:80].decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_signal_ends_a_scan_and_the_cluster_that_it_started(tmp_path: Path, model_folder: Path) -> None:
    """And what it leaves is a run that goes on here, with the bytes of a run that nobody disturbed."""
    (tmp_path / "p.txt").write_text("".join(f"a cat, number {k}\n" for k in range(60)), encoding="utf-8")
    command = ["scan", str(tmp_path / "p.txt"), "--model", str(model_folder), "--no-index", "--device", "cpu"]
    command += ["--steps", "4", "--num-seeds", "1", "--shard-size", "2", "--dtype", "fp32"]
    out, mark = tmp_path / "run", uuid4().hex
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MARK_OF_A_TEST": mark}
    program = [sys.executable, "-m", "memdetect", *command, "--out", str(out), "--ray", "local", "--workers", "1"]
    with subprocess.Popen(program, env=env, stderr=subprocess.PIPE, text=True) as scan:
        until(out, 1)
        scan.terminate()
        _, said = scan.communicate(timeout=LONG)
    assert scan.returncode == 143, said
    assert "resume with: memdetect scan" in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    assert 1 <= shards(out) < 30
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the cluster's worker: last bits depend on it
    try:
        assert run([*command, "--out", str(out)]) == 0
        assert run([*command, "--out", str(tmp_path / "alone")]) == 0
    finally:
        torch.set_num_threads(threads)
    assert bytes_of(out) == bytes_of(tmp_path / "alone")
