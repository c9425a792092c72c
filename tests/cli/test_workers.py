"""`scan --workers` and `--rank`: the bytes of one process, whoever is killed; signals are passed on; nothing hangs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toy_runs import bytes_of

from memdetect import read_run
from memdetect.cli import run
from memdetect.cli.workers import (
    Workers,
    _without_workers,  # pyright: ignore[reportPrivateUsage]
    is_worker,
    started_by,
)
from memdetect.cli.workers import _started as started  # pyright: ignore[reportPrivateUsage]
from memdetect.judging.run import policy_file
from memdetect.runs.folder import RunFolder

LONG = 300


@pytest.fixture(scope="module")
def given(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a scan of a tiny model, but for its folder."""
    home = tmp_path_factory.mktemp("given")
    (home / "prompts.txt").write_text("".join(f"a cat {k}\n" for k in range(9)), encoding="utf-8")
    fast = ["--steps", "1", "--num-seeds", "1", "--device", "cpu", "--shard-size", "2"]
    return ["scan", str(home / "prompts.txt"), "--model", str(model_folder), *fast]


def start(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "memdetect", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, **pipes)


def told(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LONG)
    return process.returncode, out, err


@pytest.mark.slow
def test_workers_and_ranks_make_what_one_process_makes(given: list[str], tmp_path: Path) -> None:
    code, table, err = told(start([*given, "--out", str(tmp_path / "alone")]))
    assert code == 0, err
    wanted = bytes_of(tmp_path / "alone")
    assert len([name for name in wanted if name.startswith("shards")]) == 5
    code, out, err = told(start([*given, "--out", str(tmp_path / "two"), "--workers", "2"]))
    assert code == 0, err
    assert bytes_of(tmp_path / "two") == wanted
    assert out == table, "printed once, by the one that started the others"
    assert "rank 0 of 2, by --rank" in err
    assert "rank 1 of 2, by --rank" in err
    array = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "2"}
    code, out, err = told(start([*given, "--out", str(tmp_path / "rank")], **array))
    assert code == 0, err
    assert "rank 1 of 2, by SLURM_ARRAY_TASK_ID" in err
    assert bytes_of(tmp_path / "rank") == wanted, "rank 0 never started"


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_with_it_and_the_run_goes_on(
    given: list[str], tmp_path: Path
) -> None:
    driver = start([*given, "--out", str(tmp_path / "run"), "--workers", "2"])
    until = time.monotonic() + LONG
    while not list((tmp_path / "run" / "shards").glob("*.jsonl")) and time.monotonic() < until:
        time.sleep(0.05)
    children = [int(pid) for pid in Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()]
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(children) == 2
    assert time.monotonic() < until
    code, _, err = told(start([*given, "--out", str(tmp_path / "run"), "--workers", "2"]))
    assert code == 0, err
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_workers_make_the_calibration_of_one_process(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clean.txt").write_text("".join(f"a cat {word}\n" for word in ["of", "and", "red", "blue", "odd"]))
    command = ["calibrate", str(tmp_path / "clean.txt"), "--model", str(model_folder), "--no-index", "--device", "cpu"]
    command += ["--steps", "1", "--num-seeds", "2", "--shard-size", "1"]
    made: list[Any] = []
    for name, more in (("one", []), ("two", ["--workers", "2"])):
        (tmp_path / name).mkdir()
        out = tmp_path / name / "c.json"
        code, printed, err = told(start([*command, "--out", str(out), *more]))
        assert (code, printed) == (0, f"{out}\n"), err
        made.append(json.loads(out.read_bytes()))
    assert made[0]["scores"] == made[1]["scores"]
    assert made[0]["items"] == made[1]["items"]
    assert len(made[0]["items"]) == 5
    assert bytes_of(tmp_path / "two" / "c.run") == bytes_of(tmp_path / "one" / "c.run")
    assert len(list((tmp_path / "two" / "c.run" / "journal").iterdir())) == 2


@pytest.mark.slow
def test_workers_run_the_code_of_the_command_whatever_lies_in_the_working_folder(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memdetect").mkdir()
    (tmp_path / "memdetect" / "__init__.py").write_text("raise SystemExit('the code of the working folder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["memdetect", *given, "--out", "run", "--workers", "2"])
    child = started(0, 2)
    assert child.wait(LONG) == 0
    assert len(list((tmp_path / "run" / "shards").glob("*.jsonl"))) == 5


# A worker that writes what a scan would, and dies at its first shards; `python FILE OUT`.
DYING = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_workers_that_die_in_vain_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever written, so that no further process would help."""
    started: list[int] = []

    def dies(rank: int, _world: int) -> subprocess.Popen[bytes]:
        started.append(rank)
        return subprocess.Popen([sys.executable, "-c", DYING], stdin=subprocess.PIPE)

    monkeypatch.setattr("memdetect.cli.workers._started", dies)
    workers = Workers(2, [tmp_path], lambda: False)
    workers.work()
    assert workers.codes == [-signal.SIGKILL] * 2
    assert 4 <= len(started) <= 12
    with pytest.raises(Exception, match="the workers could not start, for the reason above"):
        workers.check(tmp_path)


def test_a_stop_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); print(flush=True); time.sleep(60)"

    def waiting(_rank: int, _world: int) -> subprocess.Popen[bytes]:
        child = subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    monkeypatch.setattr("memdetect.cli.workers._started", waiting)
    workers = Workers(2, [tmp_path], lambda: True)
    workers.work()
    assert workers.codes == [143, 143]


@pytest.mark.parametrize(
    "arguments", [["scan", "p", "--workers", "2", "--seed", "3"], ["scan", "p", "--workers=2", "--seed", "3"]]
)
def test_the_command_of_a_worker_starts_no_workers(arguments: list[str]) -> None:
    assert _without_workers(arguments) == ["scan", "p", "--seed", "3"]


@pytest.mark.parametrize(("asked", "code"), [([], 0), (["--fail-on", "none"], 3)])
def test_a_rank_that_leaves_the_rest_passes_no_gate(
    asked: list[str], code: int, model_folder: Path, tmp_path: Path
) -> None:
    """Its own share is done, which a scan may say with 0, and a gate may not."""
    file, out = tmp_path / "p.txt", tmp_path / "run"
    file.write_text("a cat\na dog\na red bus\n", encoding="utf-8")
    command = ["scan", str(file), "--model", str(model_folder), "--no-index", "--out", str(out), "--steps", "2"]
    command += ["--num-seeds", "2", "--shard-size", "1", "--rank", "0", "--world", "2", "--no-steal"]
    assert run([*command, *asked]) == code


def test_whoever_closes_a_run_names_the_policy_that_counted(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also what it suppresses is that of the last command, not of the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "bar.toml").write_text('[policy]\nfail-on = "copy"\n', encoding="utf-8")
    (tmp_path / "p.txt").write_text("a cat\na dog\n", encoding="utf-8")
    fast = ["--no-index", "--steps", "1", "--num-seeds", "1", "--policy", "ci/bar.toml", "--format", "json"]
    scan = ["scan", "p.txt", "--model", str(model_folder), "--out", "run", *fast]
    monkeypatch.setattr(Workers, "work", lambda _: None)

    def verdict(*command: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run(list(command)) in (0, 3)
        return json.loads(capsys.readouterr().out)["verdict"]

    alone = verdict(*scan)
    assert alone["policy_file"] == "ci/bar.toml"
    assert verdict("merge", "run", "--format", "json") == alone
    assert verdict(*scan, "--workers", "2") == alone
    assert read_run("run").verdict.policy_file == "ci/bar.toml"
    entry = '[[ignore]]\nid = "none"\noutcome = "copy"\nmodel = "m"\nreason = "r"\nowner = "o"\nexpires = 2999-01-01\n'
    (tmp_path / ".memdetectignore.toml").write_text(entry, encoding="utf-8")
    later = verdict(*scan, "--workers", "2")
    assert later["policy"]["ignore"]
    assert verdict(*scan) == later


@pytest.mark.parametrize("named", [["a.toml", "b.toml"], ["/etc/a.toml"], ["../a.toml"], []])
def test_a_policy_file_that_is_not_known_is_not_named(named: list[str], tmp_path: Path) -> None:
    for file in named:
        RunFolder(tmp_path).note("policy", file=file)
    assert policy_file(RunFolder(tmp_path)) == ""


@pytest.mark.parametrize("stray", ["1", "true", str(os.getppid()), f"of {os.getpid()}", ""])
def test_a_stray_variable_makes_no_worker(stray: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker ends with 0 and unjudged, which is not what a scan in CI may do that somebody exported it to."""
    monkeypatch.setenv("MEMDETECT_WORKER", stray)
    assert not is_worker()


def test_a_process_that_was_started_as_a_worker_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setenv("MEMDETECT_WORKER", "1")
    real = subprocess.Popen

    def noted(command: list[str], env: dict[str, str], **_: Any) -> subprocess.Popen[bytes]:
        seen.update(env)
        return real(["true"])

    monkeypatch.setattr(subprocess, "Popen", noted)
    started(0, 2).wait()
    monkeypatch.undo()
    code = "import sys; from memdetect.cli.workers import is_worker; sys.exit(is_worker())"
    assert subprocess.call([sys.executable, "-c", code], env=seen) == 1


def test_workers_of_a_calibration_make_it_and_it_is_said_once(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clean.txt").write_text("a cat\na dog\na house\na bird\n", encoding="utf-8")
    command = ["calibrate", "clean.txt", "--model", str(model_folder), "--no-index", "--out", "c.json"]
    command += ["--steps", "1", "--num-seeds", "1", "--detector", "spikiness", "--shard-size", "2"]
    codes = [0, 0]

    def work(self: Workers) -> None:
        """Its processes, in this one."""
        assert self.runs == [Path("c.run")]
        with monkeypatch.context() as patch:
            patch.setenv("MEMDETECT_WORKER", started_by(os.getppid()))
            patch.setattr("memdetect.cli.places.end_with_parent", lambda: None)
            self.codes += [
                run([*command, "--rank", str(rank), "--world", "2"]) or code for rank, code in enumerate(codes)
            ]

    monkeypatch.setattr(Workers, "work", work)
    assert run([*command, "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert (out, err.count("4 clean prompts, ")) == ("c.json\n", 1)
    codes[:] = [4, 4]
    assert run([*command, "--workers", "2"]) == 4
    assert "no worker could make the calibration of it" in capsys.readouterr().err
    assert run([*command, "--rank", "0", "--world", "2", "--no-steal", "--out", "other.json"]) == 0
    assert "join the runs by memdetect merge" in capsys.readouterr().err
    assert not Path("other.json").exists()
