"""Every way out of the command line has its exit code, one line on stderr, and a stdout that holds data alone."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from memdetect import __version__
from memdetect.cli import app, run
from memdetect.cli.terminal import Interrupt, colourful, complain, progress_bar, say, write
from memdetect.errors import Exit, MemdetectError

ROOT = Path(__file__).parents[2]
SCAN = ["scan", "prompts.txt", "--model", "m"]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command and group, the program itself first."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $MEMDETECT stands for the program; prints the exit codes of the last pipeline's parts."""
    script = f'{line}\necho "codes ${{PIPESTATUS[@]}}" >&2'
    env = {**os.environ, "MEMDETECT": f"{sys.executable} -m memdetect"}
    return subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make reading the prompts, the first thing that a scan does, raise what is given."""

    def make(problem: BaseException) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise problem

        monkeypatch.setattr("memdetect.inputs.prompts.read", fail)

    return make


@pytest.mark.parametrize(
    "path", list(commands(typer.main.get_command(app))), ids=lambda path: " ".join(path) or "memdetect"
)
def test_every_command_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "Usage" in out
    assert err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr() == (f"memdetect {__version__}\n", "")


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert "scan" in out
    assert err == "memdetect: no command given; choose one of those listed above\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scann"], "No such command 'scann'"),
        (["scan"], "Missing option '--model'"),
        (["scan", "--model", "m"], "no prompts given; name a prompt file"),
        (["scan", "p.txt"], "Missing option '--model'"),
        ([*SCAN, "--modle", "x"], "No such option"),
        ([*SCAN, "--steps", "many"], "'--steps'"),
        ([*SCAN, "--steps", "0"], "'--steps'"),
        ([*SCAN, "--num-seeds", "0"], "'--num-seeds'"),
        ([*SCAN, "--dtype", "fp99"], "'fp99' is not one of"),
        ([*SCAN, "--format", "xml"], "'xml' is not one of"),
        ([*SCAN, "--call", "height"], "--call 'height' has no '='"),
        ([*SCAN, "--call", "a=1", "--call", "a=2"], "--call gives 'a' twice; give it once"),
        (
            ["scan", "--model", "m", "--labels", "0", "--prompt-column", "x"],
            "--prompt-column is of prompt files, and --labels is given instead; leave it out",
        ),
        (
            ["scan", "--model", "m", "--unconditional", "2", "--prompts-format", "csv"],
            "--prompts-format is of prompt files, and --unconditional is given instead; leave it out",
        ),
        (
            ["calibrate", "--model", "m", "--unconditional", "2", "--prompt-column", "x"],
            "--prompt-column is of prompt files, and --unconditional is given instead; leave it out",
        ),
        (["doctor", "--instance-prompt", "x"], "--instance-prompt is the caption of --train-images, which is not"),
        (["layers"], "Missing option '--model'"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[-2:]),
)
def test_usage_errors_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("memdetect: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (MemdetectError("no such thing; look again"), 2, "memdetect: no such thing; look again\n"),
        (MemdetectError("one\ntwo", Exit.ERROR), 4, "memdetect: one two\n"),
        (
            OSError(28, "No space left on device", "run/.x.tmp"),
            4,
            "memdetect: run/.x.tmp: No space left on device; mend that, and the same command resumes\n",
        ),
        (SystemExit(1), 4, ""),
        (typer.Abort(), 130, "memdetect: interrupted; the same command resumes\n"),
    ],
    ids=["usage", "error", "disk full", "exit from below", "abort"],
)
def test_a_problem_has_its_exit_code(
    problem: BaseException, code: int, said: str, reading: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    reading(problem)
    assert run(SCAN) == code
    assert capsys.readouterr() == ("", said)


def test_an_interrupt_before_the_scan_exits_130(reading: Any, capsys: pytest.CaptureFixture[str]) -> None:
    reading(KeyboardInterrupt())
    assert run(SCAN) == 130
    assert capsys.readouterr().out == ""


def test_a_fault_of_ours_is_one_line_and_never_a_finding(
    reading: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEMDETECT_TRACEBACK", raising=False)
    reading(RuntimeError("two\nlines"))
    assert run(SCAN) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(r"memdetect: internal error: RuntimeError('two\nlines'); please report it")
    assert err.count("\n") == 1


def test_a_fault_of_ours_shows_its_place_when_asked(
    reading: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMDETECT_TRACEBACK", "1")
    reading(RuntimeError("boom"))
    assert run(SCAN) == 4
    err = capsys.readouterr().err
    assert err.startswith("memdetect: internal error: RuntimeError('boom')")
    assert "Traceback (most recent call last)" in err
    assert "scan_command" in err


def test_an_exception_that_prints_as_many_lines_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("one\ntwo\n\nthree")
    assert capsys.readouterr().err == "memdetect: one two  three\n"


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("$MEMDETECT --help | true", "codes 0 0"),
        ("$MEMDETECT --version | true", "codes 0 0"),
        ("$MEMDETECT scan nowhere.txt --model m 2>&1 | true", "codes 2 0"),
    ],
    ids=["help", "version", "stderr"],
)
def test_a_reader_that_went_away_does_not_change_the_code(line: str, codes: str) -> None:
    """Exit code 1 would read as a finding."""
    done = shell(line)
    assert done.stderr == f"{codes}\n"


def test_data_is_utf8_where_the_locale_has_no_letters_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    write("a cat\n")
    write("caf\u00e9\n")
    assert raw.getvalue().decode() == "a cat\ncaf\u00e9\n"


def test_a_full_disk_is_no_broken_pipe() -> None:
    """Data that was lost must not pass for data that nobody wanted."""
    done = shell("$MEMDETECT --version > /dev/full")
    assert "No space left on device" in done.stderr
    assert done.stderr.endswith("codes 4\n")


@pytest.mark.parametrize(
    ("first", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)], ids=["INT", "TERM"]
)
def test_the_first_signal_only_asks(first: int, code: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(first)
    with Interrupt().listening() as interrupt:
        assert not interrupt.asked()
        os.kill(os.getpid(), first)
        assert interrupt.asked()
    assert interrupt.exit is code
    assert signal.getsignal(first) is before
    assert capsys.readouterr().err == "interrupted: finishing the shard; once more to stop at once\n"


class Struck(io.FileIO):
    """A file whose first write is met by a Ctrl-C."""

    struck = False

    def write(self, data: Any, /) -> int:
        if not self.struck:
            self.struck = True
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(data)


def test_a_signal_while_a_line_is_written_is_heard_and_spoils_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with io.TextIOWrapper(io.BufferedWriter(Struck(tmp_path / "err", "w")), line_buffering=True) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with Interrupt().listening() as interrupt:
            assert not interrupt.asked()
            say("scan: 2 of 12")
            say("scan: 4 of 12")
        assert interrupt.exit is Exit.INTERRUPTED
    said = (tmp_path / "err").read_text(encoding="utf-8").splitlines()
    assert sorted(said) == [
        "interrupted: finishing the shard; once more to stop at once", "scan: 2 of 12", "scan: 4 of 12"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)], ids=["INT", "TERM"]
)
def test_the_second_signal_ends_at_once_with_the_code_of_the_first(first: int, code: Exit) -> None:
    def interrupted_twice() -> None:
        with Interrupt().listening() as interrupt:
            assert not interrupt.asked()
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    before = signal.getsignal(first)
    with pytest.raises(typer.Exit) as raised:
        interrupted_twice()
    assert raised.value.exit_code == code
    assert signal.getsignal(first) is before


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """At most a line every ten seconds, the last one, and what has to be said."""
    with progress_bar("scan") as progress:
        for done in range(1000):
            progress(done, 1000, "")
        progress(1000, 1000, "out of memory")
    assert capsys.readouterr() == ("", "scan: 0 of 1000\nout of memory\nscan: 1000 of 1000\n")


@pytest.mark.parametrize(("terminal", "no_color", "wanted"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_colour_needs_a_terminal(terminal: bool, no_color: str, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert colourful() is wanted
