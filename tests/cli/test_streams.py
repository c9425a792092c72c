"""Closed streams, readers that go away and full disks: never a traceback, never a verdict that was not reached."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_runs import header, row, write_run

ROOT = Path(__file__).parents[2]
# Every command's help with both streams closed: what the codes were goes to a file.
CLOSED = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
from memdetect.cli.terminal import open_streams
open_streams()
import typer
from memdetect.cli import app, run

def paths(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))

codes = {run([*path, "--help"]) for path in paths(typer.main.get_command(app))}
codes.add(run(["--version"]))
with open(sys.argv[1], "w") as file:
    file.write(f"{codes} {file.fileno()}")
"""


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose one item was never measured, so that its gate is inconclusive: exit code 3."""
    return write_run(tmp_path_factory.mktemp("run") / "r", header(2), [row(0, 1.0)], None)


def bash(line: str, run: Path, folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a line of bash in which $GATE judges a run with JSON on stdout."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    gate = f"{sys.executable} -m memdetect gate {run} -f json"
    script = f"cd {ROOT}; GATE='{gate}'; OUT={folder}; {line}"
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        done = subprocess.run(["bash", "-c", script], env=env, stdout=out, stderr=err, check=False, timeout=60)
    return done.returncode, (folder / "out").read_text(encoding="utf-8"), (folder / "err").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$GATE", 3),
        ("$GATE <&-", 3),
        ("$GATE >&-", 3),
        ("$GATE >&- 2>&-", 3),
        ("$GATE | head -c 1; exit ${PIPESTATUS[0]}", 3),
        ("$GATE 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}", 3),
        ("$GATE > /dev/full", 4),
        ("$GATE > /dev/full 2> /dev/full", 4),
    ],
)
def test_a_stream_that_nobody_reads_changes_no_code_and_lost_data_is_an_error(
    line: str, code: int, unfinished: Path, tmp_path: Path
) -> None:
    found, _, err = bash(line, unfinished, tmp_path)
    assert found == code, err
    assert "Traceback" not in err
    assert "internal error" not in err
    if code == 4 and "2>" not in line:
        said = "cannot write to stdout (No space left on device); make room, or send it to another place"
        assert err == f"memdetect: {said}\n"


@pytest.mark.parametrize("closing", ["2>&-", "2> /dev/full"])
def test_what_is_said_to_nobody_is_not_written_into_the_data(closing: str, unfinished: Path, tmp_path: Path) -> None:
    code, out, _ = bash(f"$GATE {closing}", unfinished, tmp_path)
    assert code == 3
    assert json.loads(out)["verdict"]["verdict"] == "inconclusive"


def test_a_report_is_not_written_into_a_closed_stream_number(unfinished: Path, tmp_path: Path) -> None:
    """A file that is opened while stderr is closed would get its number, and the verdict's line."""
    code, _, _ = bash("$GATE -o json=$OUT/report.json >&- 2>&-", unfinished, tmp_path)
    assert code == 3
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["verdict"]["verdict"] == "inconclusive"


def test_every_command_lives_with_closed_streams(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CLOSED, str(tmp_path / "codes")], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0
    codes, number = (tmp_path / "codes").read_text(encoding="utf-8").split()
    assert codes == "{0}"
    assert int(number) > 2
