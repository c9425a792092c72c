"""SIGINT and SIGTERM at every stage, once and twice: 130 or 143 in time, nothing left behind, a run that resumes."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from ready import Ready

from memdetect.adapters import downloads, load
from memdetect.cli import run
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Loading

ROOT = Path(__file__).parents[2]
FAST = ["--dtype", "fp32", "--steps", "2", "--num-seeds", "1", "--no-index", "--layer", "paper", "--timestep", "50"]
# `python -m memdetect`, held where `sys.argv[1]` names a function: "easy" where Python hears a signal, "hard" inside a
# library that does not come back.
HELD = """
import ctypes, importlib, runpy, sys
place, how = sys.argv.pop(1), sys.argv.pop(1)
module, name = place.rsplit(".", 1)
home = importlib.import_module(module)
usual = getattr(home, name)
def held(*given, **more):
    sys.stderr.write("held\\n")
    sys.stderr.flush()
    if how == "easy":
        sys.stdin.readline()
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)
setattr(home, name, held)
runpy.run_module("memdetect", run_name="__main__", alter_sys=True)
"""
# The same, held before anything of the command line is imported.
EARLY = """
import runpy, sys
class Held:
    def find_spec(self, name, *more):
        if name == "memdetect.cli":
            sys.stderr.write("held\\n")
            sys.stderr.flush()
            sys.stdin.readline()
sys.meta_path.insert(0, Held())
runpy.run_module("memdetect", run_name="__main__", alter_sys=True)
"""
STAGES = {
    "importing": "memdetect.scanning.Options",
    "loading": "memdetect.adapters.models.open_pipeline",
    "sampling": "memdetect.scanning.loop.sampled",
    "writing": "memdetect.runs.folder.write_new",
    "closing": "memdetect.scanning.closing.write_pairs",
}


def scan(folder: Path, model: Path) -> list[str]:
    (folder / "prompts.txt").write_text("a cat\na dog\n", encoding="utf-8")
    return ["scan", str(folder / "prompts.txt"), "--model", str(model), "--out", str(folder / "run"), *FAST]


def until_held(stderr: IO[str]) -> None:
    for line in stderr:
        if line == "held\n":
            return
    raise AssertionError("the program ended before it was held")


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_second_signal_ends_a_scan_at_once_wherever_it_is(
    stage: str, model_folder: Path, tmp_path: Path, ready: Ready, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held inside a library that never comes back to Python, which would hear nothing."""
    arguments = scan(tmp_path, model_folder)
    process = ready.start(HELD, STAGES[stage], "hard", *arguments)
    with process.stdin, process.stdout, process.stderr:
        until_held(process.stderr)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGINT)
        begun = time.monotonic()
        assert process.wait() in (Exit.TERMINATED, Exit.INTERRUPTED)
        assert time.monotonic() - begun < 5  # a second, and what a busy machine adds
        assert process.stderr.read().splitlines()[-1] == "stopped at once; the same command resumes"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert run(arguments) == 0
    assert "2 of 2" in capsys.readouterr().err
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_a_scan_that_has_no_batch_to_finish(
    number: int, model_folder: Path, tmp_path: Path, ready: Ready
) -> None:
    process = ready.start(HELD, STAGES["loading"], "easy", *scan(tmp_path, model_folder))
    with process.stdin, process.stdout, process.stderr:
        until_held(process.stderr)
        os.kill(process.pid, number)
        said = process.stderr.read()
        assert process.wait() == 128 + number
    assert said == "stopped at once; the same command resumes\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_program_is_imported_is_one_line(number: int) -> None:
    command = [sys.executable, "-c", EARLY, "--version"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # pyright: ignore
        assert process.stderr
        assert process.stderr.readline() == "held\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + number, "")
    assert err == "memdetect: interrupted; the same command resumes\n"


@pytest.fixture
def silent() -> socket.socket:
    """A hub that accepts and never answers."""
    return socket.create_server(("127.0.0.1", 0))


def test_a_signal_ends_the_wait_for_a_hub_that_never_answers(silent: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\n", encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    env |= {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HOME": str(tmp_path / "hub")}
    line = "layers --model nobody/nothing"
    command = [sys.executable, "-m", "memdetect", *shlex.split(line)]
    with subprocess.Popen(command, cwd=ROOT, text=True, env=env, stderr=subprocess.PIPE) as process, silent:
        silent.settimeout(60)
        asked, _ = silent.accept()
        with asked:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=10)
    assert process.returncode == 143
    assert err == "stopped at once; the same command resumes\n"


def test_a_hub_that_never_answers_is_waited_for_a_limited_time(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", endpoint)
    files = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    with (
        silent,
        pytest.raises(MemdetectError, match=r"did not answer within 0\.2 s; run the same command again") as told,
    ):
        load("nobody/nothing")
    assert told.value.exit is Exit.ERROR


@pytest.mark.parametrize("loading", [Loading(offline=True), Loading()], ids=["asked for", "by the environment"])
def test_what_is_not_fetched_and_may_not_be_names_the_option_that_there_is(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    forbids = "--offline" if loading.offline else "HF_HUB_OFFLINE"
    with pytest.raises(MemdetectError, match=f"{forbids} forbids to fetch it; fetch it once without {forbids}$"):
        load("nobody/nothing", loading)
