"""`memdetect scan` as its user meets it: refusals, formats, signals, and a pipe that breaks."""

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from ready import Ready

from memdetect.cli import run
from memdetect.judging import OUTCOMES
from memdetect.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]
PROMPTS = ["a photo of a cat", "=red, [31m[bold]dog", "caf\u00e9\N{CAT FACE}"]
FAST = ["--steps", "1", "--num-seeds", "1", "--device", "cpu"]
Fails = Callable[..., str]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prompt file, and other files as tests put them there."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(work: Path, model_folder: Path) -> list[str]:
    """The arguments of a scan that has been done already, but for its format."""
    arguments = ["scan", str(work / "prompts.txt"), "--model", str(model_folder), "--out", str(work / "run"), *FAST]
    assert run(arguments) == 0
    return arguments


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that must be refused as usage: nothing on stdout, the error alone on the last line of stderr."""

    def check(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert run([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        said = [line for line in err.splitlines() if line.startswith("memdetect: ")]
        assert len(said) == 1
        assert err.endswith(f"{said[0]}\n")
        assert "Traceback" not in err
        return said[0]

    return check


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.txt", None, "missing.txt': no such file or folder"),
        ("empty.txt", b"", "empty.txt': holds no prompts"),
        ("blank.txt", b"\n \n", "blank.txt': holds no prompts (2 blank lines)"),
        ("latin.txt", "a cat\ncaf\u00e9".encode("latin-1"), "latin.txt', line 2: not UTF-8"),
        ("broken.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "broken.jsonl', line 2: broken JSON"),
        ("twice.jsonl", b'{"id": 1, "prompt": "a"}\n{"id": 1, "prompt": "b"}\n', "twice.jsonl', line 2: the id '1' is"),
        ("prompts.docx", b"x", "prompts.docx': unknown extension '.docx'"),
    ],
)
def test_bad_input_is_refused(name: str, content: bytes | None, said: str, fails: Fails, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert said in fails("scan", tmp_path / name, "--model", "m", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_column_that_is_not_there_lists_those_that_are(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt,group\na cat,x\n", encoding="utf-8")
    said = fails("scan", tmp_path / "p.csv", "--model", "m", "--prompt-column", "caption")
    assert "line 2: no column 'caption' among ['prompt', 'group']; name one of them with --prompt-column" in said


@pytest.mark.parametrize("model", ["", "  "])
def test_an_empty_model_is_refused(model: str, fails: Fails, work: Path) -> None:
    """A variable that was never set must not become a green run of some default."""
    assert "--model is empty" in fails("scan", work / "prompts.txt", "--model", model)


def test_a_model_that_is_not_there_is_refused(fails: Fails, work: Path) -> None:
    assert "no model 'no-such-model'" in fails("scan", work / "prompts.txt", "--model", "no-such-model")


def test_a_folder_without_safetensors_is_refused(fails: Fails, work: Path, tmp_path: Path) -> None:
    """Pickled weights beside it are not opened."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    said = fails("scan", work / "prompts.txt", "--model", tmp_path)
    assert "holds no .safetensors file" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layer", "up_block.0.resnets.0"], "no layer named 'up_block.0.resnets.0'; closest: up_blocks.0.resnets.0"),
        (["--call", "num_inference_step=1"], "takes no argument 'num_inference_step'"),
        (["--timestep", "1000"], "timestep 1000 is outside the model's schedule"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    options: list[str], said: str, fails: Fails, work: Path, model_folder: Path, tmp_path: Path
) -> None:
    arguments = ["scan", work / "prompts.txt", "--model", model_folder, "--out", tmp_path / "run"]
    assert said in fails(*arguments, *options)
    assert not (tmp_path / "run").exists()


def test_half_precision_is_refused_on_a_cpu(fails: Fails, work: Path, model_folder: Path) -> None:
    said = fails("scan", work / "prompts.txt", "--model", model_folder, "--dtype", "fp16", "--device", "cpu")
    assert "fp16 on a CPU" in said


def test_an_output_folder_below_a_file_is_refused(fails: Fails, work: Path, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = ["scan", work / "prompts.txt", "--model", model_folder, *FAST]
    assert "cannot write to" in fails(*arguments, "--out", tmp_path / "file" / "run")


def test_a_folder_with_another_plan_is_refused(fails: Fails, finished: list[str]) -> None:
    assert "another plan: seed was 0, now 1; choose another --out" in fails(*finished, "--seed", "1")


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
def test_stdout_holds_what_the_format_says_and_nothing_else(
    format: str, finished: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run([*finished, "--format", format]) == 0
    out, err = capsys.readouterr()
    lines = (work / "run" / "results.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["prompt"] for line in lines.splitlines()] == PROMPTS
    if format == "table":
        assert "3 of 3 items measured: 0 suspicious, 3 inconclusive, 0 clear." in out
        assert not set(out) & {"\x1b", "\u202e"}
        assert "[bold]dog" in out
    elif format == "json":
        assert json.loads(out)["verdict"]["counts"] == {**dict.fromkeys(OUTCOMES, 0), "inconclusive": 3}
    elif format == "jsonl":
        assert [json.loads(line) for line in out.splitlines()] == [json.loads(line) for line in lines.splitlines()]
    else:
        rows = list(csv.DictReader(io.StringIO(out, newline="")))
        assert [row["prompt"] for row in rows] == [PROMPTS[0], r"'=red, [31m[bold]dog", PROMPTS[2]]
    assert "scan: 3 of 3\n" in err
    assert err.endswith(f"run folder: {work / 'run'}\n")


def test_only_corrupt_images_exit_3_and_keep_it_through_a_broken_pipe(model_folder: Path, tmp_path: Path) -> None:
    """The row is longer than a pipe holds, so that the writer is still writing when its reader goes."""
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    row = {"image": "bad.png", "note": "x" * 10**6}
    (tmp_path / "images.jsonl").write_text(json.dumps(row), encoding="utf-8")
    command = [sys.executable, "-m", "memdetect", "scan", str(tmp_path / "images.jsonl"), "--model", str(model_folder)]
    command += ["--out", str(tmp_path / "run"), "--format", "jsonl", *FAST]
    script = f'{shlex.join(command)} | head -c 1; echo "codes ${{PIPESTATUS[@]}}" >&2'
    # Unbuffered, Python takes a half-written row for a written one and sees no broken pipe.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "{"
    assert done.stderr.splitlines()[-1] == "codes 3 0"
    assert done.stderr.splitlines()[-2] == f"run folder: {tmp_path / 'run'}"
    assert "Error" not in done.stderr
    (result,) = (tmp_path / "run" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(result)["status"], json.loads(result)["outcome"]) == ("unreadable", "inconclusive")


# `python -m memdetect`, which after each shard waits for a line on stdin.
HELD = """
import runpy, sys
from memdetect.runs.folder import RunFolder
usual = RunFolder.write_shard
def held(*given, **more):
    usual(*given, **more)
    sys.stderr.write("held\\n")
    sys.stdin.readline()
RunFolder.write_shard = held
runpy.run_module("memdetect", run_name="__main__", alter_sys=True)
"""


def many(folder: Path, model: Path) -> list[str]:
    (folder / "prompts.txt").write_text("\n".join(f"cat {i}" for i in range(12)), encoding="utf-8")
    arguments = ["scan", str(folder / "prompts.txt"), "--model", str(model), "--out", str(folder / "run")]
    return [*arguments, "--batch-size", "2", "--shard-size", "2", "--no-save-images", "--format", "jsonl", *FAST]


def stopped_and_resumes(folder: Path, arguments: list[str], err: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped after the first batch, and the second if it was begun; the last line is a command for the others."""
    last = err.splitlines()[-1]
    kept = sum(len(shard.read_bytes().splitlines()) for shard in (folder / "run" / "shards").iterdir())
    assert kept in (2, 4)
    assert last == f"stopped at {kept} of 12; resume with: {shlex.join(['memdetect', *arguments])}"
    assert "Traceback" not in err
    assert not (folder / "run" / "results.jsonl").exists()

    assert run(shlex.split(last.partition("resume with: memdetect ")[2])) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in rows] == [f"cat {i}" for i in range(12)]


@pytest.mark.slow
def test_a_scan_interrupted_by_ctrl_c_says_how_to_resume_and_does(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ready: Ready
) -> None:
    """The signal comes while the scan waits for a line, and the line when it has said that it heard the signal."""
    arguments = many(tmp_path, model_folder)
    process = ready.start(HELD, *arguments)
    with process.stdin, process.stdout, process.stderr:
        said = list(takewhile(lambda line: line != "held\n", process.stderr))
        os.kill(process.pid, signal.SIGINT)
        said.append(process.stderr.readline())
        process.stdin.close()
        out, err = process.stdout.read(), process.stderr.read()
        assert process.wait() == 130, err
    assert said[-1] == "interrupted: finishing the shard; once more to stop at once\n"
    assert err.count("held") <= 1, "but the batch that was in the network, none is written"
    assert out == ""
    stopped_and_resumes(tmp_path, arguments, err, capsys)


def test_a_scan_that_is_told_to_end_says_how_to_resume_and_does(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM, sent when the first shard is written."""
    arguments, usual = many(tmp_path, model_folder), RunFolder.write_shard

    def told(*given: Any, **more: Any) -> None:
        usual(*given, **more)
        if len(list((tmp_path / "run" / "shards").iterdir())) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_shard", told)
        patch.setattr(sys, "argv", ["memdetect", *arguments])
        assert run(arguments) == 143
    out, err = capsys.readouterr()
    assert out == ""
    stopped_and_resumes(tmp_path, arguments, err, capsys)
