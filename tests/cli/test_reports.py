"""Reports of `scan` and `gate`: by suffix or by name, whole or not there, and never over something else."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import calibration, header, row, write_run

from memdetect.cli import run
from memdetect.render import FORMATS

CLEAN = calibration(np.random.default_rng(0).normal(size=999).tolist())
PIXELS = b"\x89PNG no picture"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with a finding, its prompt a secret, and an image."""
    rows = [row(i, 9.0 if i == 0 else -1.0 - i, prompt=f"secret {'abcde'[i]}") for i in range(5)]
    rows = [r.model_copy(update={"files": ["images/a.png"]}) for r in rows]
    made = write_run(tmp_path / "run", header(5, CLEAN), rows, CLEAN)
    (made / "images" / "a.png").write_bytes(PIXELS)
    return made


def gate(*arguments: str | Path) -> int:
    return run(["gate", *(str(argument) for argument in arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert gate(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("card.md", "---\nmodel-index:"),
        ("mine.card.md", "---\nmodel-index:"),
        ("discard.md", "## memdetect: fail"),
        ("x.SARIF", '{\n "$schema"'),
        ("x.sarif.json", '{\n "$schema"'),
        ("x.xml", "<?xml"),
        ("intoto.json", '{\n "_type"'),
        ("audit.intoto.json", '{\n "_type"'),
        ("sarif.json/a.json", '{\n "schema": "memdetect.summary/1"'),
        ("md=card.md", "## memdetect: fail"),
    ],
)
def test_the_longest_end_of_a_name_decides(name: str, start: str, folder: Path) -> None:
    assert gate(folder, "-o", name) == 1
    assert Path(name.rpartition("=")[2]).read_text().startswith(start)


def test_formats_by_suffix_and_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a.json", "b.jsonl", "c.CSV", "deep/er/d.md", "e.txt", "github=f", "csv=g=h.md"]
    assert gate(folder, "-f", "json", *(part for name in names for part in ("-o", name))) == 1
    out, err = capsys.readouterr()
    assert json.loads(Path("a.json").read_text()) == json.loads(out)
    assert len(Path("b.jsonl").read_text().splitlines()) == 5
    for name in ("c.CSV", "g=h.md"):
        with Path(name).open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 5
    assert Path("deep/er/d.md").read_text().startswith("## memdetect: fail\n")
    assert Path("e.txt").read_text().startswith("outcome ")
    assert Path("f").read_text().startswith("::error title=memdetect%3A fail::")
    assert f"json: a.json\njsonl: b.jsonl\ncsv: c.CSV\nmd: {Path('deep/er/d.md')}\n" in err
    assert not [path for path in Path().iterdir() if path.name.startswith(".")], "temporary files are gone"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("report.htm", "no format goes by this name; end it in .txt .json"),
        ("report", "no format goes by this name"),
        ("csv=", "no format goes by this name"),
        ("xml=a.b", "no format goes by this name"),
        ("json=run/run.json", "would replace a part of the run"),
        ("run/results.jsonl", "would replace a part of the run"),
        ("run/images/x.json", "would replace a part of the run"),
        ("json=run/shards", "would replace a part of the run"),
        ("csv=/dev/null", "is no regular file"),
        ("csv=run", "is no regular file"),
        ("file/a.csv", "is no folder"),
    ],
)
def test_what_would_fail_or_replace_something_is_refused_before(
    output: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert said in refused(capsys, folder, "-o", output)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_two_reports_in_one_file_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "would replace another report" in refused(capsys, folder, "-o", "a.csv", "-o", "json=./a.csv")


def test_scan_refuses_to_replace_its_input_and_a_run_folder_called_like_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.jsonl").write_text('{"prompt": "a"}\n')
    assert run(["scan", "p.jsonl", "-m", "emoji-scenes", "-o", "p.jsonl"]) == 2
    assert "would replace an input" in capsys.readouterr().err
    assert run(["scan", "p.jsonl", "-m", "emoji-scenes", "--out", "report.json"]) == 2
    assert "a report goes to --output" in capsys.readouterr().err
    assert Path("p.jsonl").read_text() == '{"prompt": "a"}\n'


def test_a_report_replaces_the_one_before(folder: Path) -> None:
    Path("a.json").write_text("old" * 10**5)
    assert gate(folder, "-o", "a.json") == 1
    json.loads(Path("a.json").read_text())


def test_the_step_summary_is_appended_to_within_its_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(Path("summary").absolute()))
    Path("summary").write_text("# before\n")
    assert gate(folder, "-o", "md=summary") == 1
    text = Path("summary").read_text()
    assert text.startswith("# before\n## memdetect: fail\n")
    Path("summary").write_text("x" * (2**20 - 100))
    assert gate(folder, "-o", "md=summary") == 1
    assert Path("summary").stat().st_size == 2**20 - 100
    assert "would pass GitHub's limit and is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "ci", "found"),
    [
        ([], None, "images/a.png"),
        ([], "true", "sha256:"),
        (["--evidence", "thumbs"], "true", "images/a.png"),
        (["--evidence", "none"], None, ""),
        (["--redact"], None, "sha256:"),
    ],
)
def test_evidence_is_hashes_where_ci_is_set(
    options: list[str],
    ci: str | None,
    found: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if ci:
        monkeypatch.setenv("CI", ci)
    assert gate(folder, "-f", "csv", *options) == 1
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["files"][: len("sha256:")] if found == "sha256:" else row["files"] for row in rows} == {found}


def test_redaction_reaches_stdout_and_every_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = {"card", "intoto"}  # which hold no prompt at all
    for format in FORMATS:
        assert gate(folder, "-f", format, "--redact", "-o", f"{format}=out", "-o", "all.jsonl") == 1
        out = capsys.readouterr().out
        for text in (out, Path("out").read_text(), Path("all.jsonl").read_text()):
            assert text
            assert "secret" not in text
        assert gate(folder, "-f", format) == 1
        assert ("secret" in capsys.readouterr().out) == (format not in bare)


def test_redaction_and_thumbs_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "choose one of the two" in refused(capsys, folder, "--redact", "--evidence", "thumbs")


def test_files_of_several_runs_have_no_names_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(i, -1.0 - i, id=f"b{i}", prompt=f"other {'abcde'[i]}") for i in range(5)]
    second = write_run(Path("second"), header(5, CLEAN), rows, CLEAN)
    gate(folder, second, "-f", "jsonl")
    found = [json.loads(line)["files"] for line in capsys.readouterr().out.splitlines()]
    assert found == [[]] * 10
