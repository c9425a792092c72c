"""`memdetect report` and `memdetect review`: reports of a run that is there, and decisions in a terminal."""

import io
import json
from pathlib import Path

import pytest
from page_runs import near, pictured

from memdetect.cli import run
from memdetect.runs.folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)
    return pictured(Path("run"))


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_report_writes_a_page_into_the_run_and_exits_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "run"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"html: {Path('run/report.html')}\nverdict: fail, ")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count('src="data:image/webp;base64,') == 20
    assert run(["gate", "run", "-o", "same.html", "-f", "json"]) == 1
    assert Path("same.html").read_text(encoding="utf-8") == text


def test_report_writes_what_it_is_asked_for(folder: Path) -> None:
    assert run(["report", "run", "-o", "a.md", "-o", "b.csv", "--fail-on", "none"]) == 0
    assert Path("a.md").read_text().startswith("## memdetect: ")
    assert not (folder / "report.html").exists()
    assert run(["report", "run", "-o", "run/review.jsonl"]) == 2
    assert run(["report", "nowhere"]) == 2


def test_review_asks_about_each_finding_and_gate_reads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "n\nanother car\nx\n\nc\n\n")
    assert run(["review", "run", "--reviewer", "Ann Lee"]) == 0
    out, err = capsys.readouterr()
    assert "1 of 3: copy, " in out
    assert str(Path("run/images/0-0.png")) in out
    assert "'x' is none of c, s, n, o, q" in out
    assert "3 findings to decide on" in err
    lines = [json.loads(line) for line in (folder / "review.jsonl").read_text().splitlines()]
    assert [(line["id"], line["decision"], line["note"]) for line in lines] == [
        ("i0", "not a copy", "another car"),
        ("i2", "copy", ""),
    ]
    assert run(["gate", "run", "--review", "run/review.jsonl", "-f", "csv"]) == 1
    table = capsys.readouterr().out
    assert "not a copy, Ann Lee on " in table
    for format in ("table", "md", "github", "html", "json", "jsonl"):
        assert run(["gate", "run", "--review", "run/review.jsonl", "-f", format]) == 1
        assert "Ann Lee" in capsys.readouterr().out, format


def test_review_goes_on_where_it_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
    typed(monkeypatch, "s\n\nq\n")
    assert run(["review", "run", "--reviewer", "Ann Lee", "--out", "mine.jsonl"]) == 0
    Path("mine.jsonl").write_text(Path("mine.jsonl").read_text().rstrip("\n"))  # as an editor may leave it
    typed(monkeypatch, "o\nask")  # and the end of the terminal
    assert run(["review", "run", "--reviewer", "Ann Lee", "--out", "mine.jsonl"]) == 0
    lines = [json.loads(line) for line in Path("mine.jsonl").read_text().splitlines()]
    assert [(line["id"], line["decision"]) for line in lines] == [("i0", "similar"), ("i1", "needs the owner")]


def test_review_refuses_nobody_and_what_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["review", "run", "--reviewer", " "]) == 2
    assert "holds no letter or digit" in capsys.readouterr().err
    assert run(["review", "nowhere", "--reviewer", "Ann"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_pixels_are_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "n\n\nq\n")
    assert run(["review", "run", "--reviewer", "Ann Lee"]) == 0
    (folder / "images" / "0-0.png").write_bytes((folder / "images" / "1-0.png").read_bytes())
    capsys.readouterr()
    assert run(["gate", "run", "--review", "run/review.jsonl"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "the decision of 'Ann Lee' on 'i0' is about other pixels than those in run; decide again" in err


def test_a_finding_without_images_cannot_be_decided(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (folder / "images").iterdir():
        path.unlink()
    typed(monkeypatch, "n\nn\nn\n")
    assert run(["review", "run", "--reviewer", "Ann Lee"]) == 0
    assert capsys.readouterr().out.count("its images are not there") == 3
    assert not (folder / "review.jsonl").exists()


@pytest.fixture
def several(folder: Path) -> Path:
    """The same run, of which the second image of the first item repeats another training image than the first."""
    (file,) = (folder / "shards").rglob("*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    found = [m.model_dump(mode="json") for m in near(Path("train"), 1, 1, similarity=0.8, key="train-1#plain")]
    rows[0]["matches"] = [m for m in rows[0]["matches"] if m["seed"] == 0] + found
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_review_shows_every_training_image_that_comes_back(
    several: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "n\n\nq\n")
    assert run(["review", "run", "--reviewer", "Ann Lee"]) == 0
    shown = capsys.readouterr().out
    assert [str(Path(f"train/{k}.png")) in shown.partition("2 of 3")[0] for k in (0, 1, 9)] == [True, True, False]
    (line,) = (json.loads(line) for line in (several / "review.jsonl").read_text().splitlines())
    assert line["training"] == ["train-0", "train-1"]
    (found,) = [row for row in RunFolder(several).measurements() if row.index == 0]
    assert {match.key for match in found.matches if match.copy_found} == {"train-0", "train-1#plain"}


def test_review_asks_again_where_more_comes_back_than_was_looked_at(
    several: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "n\n\nc\n\nq\n")
    assert run(["review", "run", "--reviewer", "Ann Lee"]) == 0
    path = several / "review.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "training"}) + "\n" for line in lines))
    capsys.readouterr()
    assert run(["gate", "run", "--review", str(path)]) == 1
    assert "1 decision leaves out training images" in " ".join("".join(capsys.readouterr()).split())
    typed(monkeypatch, "s\n\nq\n")
    assert run(["review", "run", "--reviewer", "ann  LEE"]) == 0
    told, err = capsys.readouterr()
    assert "2 findings to decide on" in err
    assert "1 of 2: copy, " in told
    again = json.loads(path.read_text().splitlines()[-1])
    assert (again["id"], again["training"]) == ("i0", ["train-0", "train-1"])
    typed(monkeypatch, "")
    assert run(["review", "run", "--reviewer", "Ann Lee"]) == 0
    assert "1 findings to decide on" in capsys.readouterr().err
