"""Pipes, devices, endless inputs, links, empty names, folders that cannot be read: a line and exit code 2, no wait."""

import io
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from synthetic_runs import calibration, header, row, write_run

from memdetect.cli import run
from memdetect.inputs import prompts
from memdetect.judging.calibration import Calibration
from memdetect.runs.folder import RunFolder

CLEAN: Calibration = calibration([float(i) for i in range(19)])
SCAN = ["scan", "--model", "emoji-scenes", "--dry-run"]
WAIT = 120  # seconds, after which a command that waits for a pipe has failed; most of them are for imports


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """End a test that waits for a pipe: the signal breaks the wait off."""

    def late(_number: int, _frame: Any) -> None:
        raise AssertionError(f"no answer within {WAIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run, prompts, and pipes of every name."""
    monkeypatch.chdir(tmp_path)
    rows = [row(i, float(i)) for i in range(3)]
    RunFolder(write_run(tmp_path / "run", header(3, CLEAN), rows, CLEAN))
    (tmp_path / "p.txt").write_text("a cat\n", encoding="utf-8")
    for suffix in ("txt", "jsonl", "csv", "parquet", "png", "toml", "json", "safetensors"):
        os.mkfifo(tmp_path / f"f.{suffix}")
    (tmp_path / "rows.jsonl").write_text('{"image": "f.png"}\n', encoding="utf-8")
    (tmp_path / "zero.jsonl").write_text('{"image": "/dev/zero"}\n', encoding="utf-8")
    (tmp_path / "list.txt").write_text("f.png\n", encoding="utf-8")
    (tmp_path / "zeros.txt").write_text("/dev/zero\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "given",
    [
        *([*SCAN, f"f.{suffix}"] for suffix in ("txt", "jsonl", "csv", "parquet", "png")),
        [*SCAN, "f.safetensors", "--prompts-format", "txt"],
        [*SCAN, "/dev/zero", "--prompts-format", "txt"],
        [*SCAN, "/dev/zero", "--prompts-format", "parquet"],
        [*SCAN, "/dev/tty", "--prompts-format", "txt"],
        [*SCAN, "rows.jsonl"],
        [*SCAN, "zero.jsonl"],
        [*SCAN, "--labels", "f.txt"],
        [*SCAN, "p.txt", "--policy", "f.toml"],
        [*SCAN, "p.txt", "--policy", "/dev/zero"],
        [*SCAN, "p.txt", "--calibration", "f.json"],
        [*SCAN, "p.txt", "--calibration", "/dev/zero"],
        [*SCAN, "p.txt", "--lora", "f.safetensors"],
        [*SCAN, "p.txt", "--index", "f.json"],
        ["gate", "run", "--policy", "f.toml"],
        ["gate", "run", "--policy", "/dev/zero"],
        ["gate", "run", "--calibration", "f.json"],
        ["gate", "run", "--calibration", "/dev/zero"],
        ["gate", "f.json"],
        ["gate", "run", "-o", "json=f.json"],
        ["gate", "run", "-o", "json=/dev/stdout"],
        ["gate", "run", "-o", "csv=run/pairs.png"],
        ["gate", "run", "-o", "csv=run/base/x.csv"],
        ["gate", "run", "--policy", ""],
        ["explain", "f.json", "i1"],
        ["index", "build", "f.txt", "--out", "i"],
        ["index", "build", "f.parquet", "--out", "i"],
        ["index", "build", "list.txt", "--out", "i"],
        ["index", "build", "zeros.txt", "--out", "i"],
        ["index", "info", "f.json"],
        [*SCAN, "p.txt", "--out", ""],
        [*SCAN, "p.txt", "--calibration", ""],
        ["index", "build", "p.txt", "--out", ""],
    ],
    ids=" ".join,
)
def test_what_is_no_regular_file_is_one_line(given: list[str], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(given) == 2
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if not line.startswith("embedder: ")]
    assert out == ""
    assert len(said) == 1
    assert said[0].startswith("memdetect: ")
    assert "internal error" not in err


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("part", ["run.json", "shards/0000000000.jsonl", "calibration.json"])
def test_a_part_of_a_run_that_is_no_file_is_one_line(
    part: str, kind: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path := work / "run" / part).unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    assert run(["gate", "run"]) == 2
    assert f"{part}' is a pipe or a device; name a regular file\n" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["run.json", "shards", "journal", "images", "results.jsonl"])
def test_links_in_a_circle_are_no_fault_of_ours(part: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if (path := work / "run" / part).exists():
        path.rename(work / "former")
    path.symlink_to(path)
    assert run(["gate", "run"]) != 0
    assert run(["explain", "run", "i1"]) == 2
    assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize("file", ["memdetect.toml", "pyproject.toml", ".memdetectignore.toml"])
@pytest.mark.parametrize("kind", ["pipe", "link to nowhere", "device"])
def test_a_policy_that_is_there_and_cannot_be_read_is_no_absent_one(
    file: str, kind: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = work / file
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("nowhere" if kind == "link to nowhere" else "/dev/zero")
    assert run(["gate", "run"]) == 2
    assert file in capsys.readouterr().err


class Endless(io.RawIOBase):
    """Zeros without an end; an error once more were read than a limit needs."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.left -= len(buffer)
        assert self.left > 0, "read on and on"
        return len(buffer)


def test_endless_stdin_is_read_up_to_the_limit(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prompts, "MAX_BYTES", 10**5)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless(10**6))))
    assert run([*SCAN, "-"]) == 2
    assert "'-': more than 100,000 bytes; split it" in capsys.readouterr().err


def test_a_pipe_of_the_shell_is_read_as_stdin_is(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b'{"prompt": "a cat"}\n{"prompt": "a dog"}\n')
    with os.fdopen(reading, "rb"):
        found = prompts.read([f"/dev/fd/{reading}"])
    assert [item.prompt for item in found.items] == ["a cat", "a dog"]


def pictures(folder: Path) -> None:
    for name in ("a.png", "sub/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(folder / name)


@pytest.mark.parametrize(
    "given",
    [
        [*SCAN, "set"],
        [*SCAN, "set/**/*.png"],
        [*SCAN, "set/*/*.png"],
        [*SCAN, "--train-images", "set", "--instance-prompt", "sks"],
        ["index", "build", "set", "--out", "i"],
        ["index", "build", "set/**/*.png", "--out", "i"],
        ["match", "set", "--index", "i"],
    ],
    ids=lambda given: " ".join(given[3:] if given[0] == "scan" else given),
)
def test_a_folder_that_cannot_be_read_is_never_left_out(
    given: list[str], work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root everything can be read: the listing of the folder is made to fail."""
    pictures(work / "set")
    usual = os.scandir

    def closed(path: Any = ".") -> Any:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert run(given) == 2
    assert "sub': the folder cannot be read (Permission denied); give access to it" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["set"], ["set/**/*.png"], ["--train-images", "set", "--instance-prompt", "sks"]])
@pytest.mark.parametrize("out", ["set/run", "set", "set/sub/run"])
def test_a_run_is_not_written_among_the_pictures_that_it_reads(
    given: list[str], out: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(work / "set")
    assert run([*SCAN, *given, "--out", out]) == 2
    assert "which is searched for images, so that its pictures would be taken for inputs" in capsys.readouterr().err
    assert run([*SCAN, *given, "--out", "beside"]) == 0


def test_a_run_with_a_link_in_it_is_not_continued(work: Path) -> None:
    """Nothing is written through it, whatever it leads to."""
    theirs = work / "theirs"
    theirs.mkdir()
    head = RunFolder(work / "run").header()
    for part in ("images", "shards", "journal", "results.jsonl", "pairs.png", "calibration.json"):
        shutil.copytree(work / "run", work / part)
        (path := work / part / part).is_dir() and shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(theirs)
        with pytest.raises(Exception, match=f"{part} is a link, and a run writes into its own folder alone"):
            RunFolder(work / part).open(head)
    assert not any(theirs.iterdir())
