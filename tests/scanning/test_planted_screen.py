"""A screen of a list with memorized prompts planted in it: what passes it, what a gate and the reports make of it."""

import json
import shutil
from pathlib import Path

import pytest
from flat_options import scan, settings

from memdetect.cli import run as command
from memdetect.runs.folder import RunFolder


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A screened run of the bundled model: 3 prompts that it has memorized among 27 that it has not."""
    home = tmp_path_factory.mktemp("planted")
    root = Path(__file__).parents[2] / "sample_prompts"
    known = [json.loads(line) for line in (root / "memorized.jsonl").read_text("utf-8").splitlines()]
    clean = [json.loads(line) for line in (root / "clean-test.jsonl").read_text("utf-8").splitlines()]
    rows = [*clean[:13], *[row for row in known if row["group"] == "duplicated"][:3], *clean[13:27]]
    file = home / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = settings(screen=0.1, detectors=("agreement",), save_images=False)
    scan([file], "emoji-scenes", home / "run", options)
    return home


def test_memorized_prompts_pass_the_screen_and_are_found(planted: Path) -> None:
    results = RunFolder(planted / "run").results()
    assert [row.index for row in results if row.status == "ok"] == [13, 14, 15]
    assert [row.outcome for row in results[13:16]] == ["copy"] * 3


def test_a_gate_passes_only_with_a_recall_that_is_enough(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same clean run: not stated, of another share, too little by the policy, and enough."""
    run, out = planted / "run", planted / "recall.json"
    waived = ["--fail-on", "none", "--min-recall", "0", "--max-undetectable", "0.9", "--min-sensitivity", "0"]
    assert command(["gate", str(run), *waived]) == 3
    assert "screen: what the screen misses is not stated for 27 prompts" in capsys.readouterr().err
    assert command(["screen-recall", str(run), "--memorized-group", "duplicated", "--out", str(out)]) == 0
    assert "3 of 3 families kept, 100.0% [29.2%, 100.0%], at least 36.8% with" in capsys.readouterr().out
    given = ["gate", str(run), *waived, "--screen-recall", str(out)]
    assert command(given) == 3
    assert "the screen keeps 3 of 3 families of findings of kind scene, at least 37%" in capsys.readouterr().err
    command([*given, "--min-screen-recall", "0.3"])
    said = capsys.readouterr()
    assert "screen:" not in said.err
    assert "screened only" in said.out
    held = json.loads(out.read_text("utf-8"))
    out.write_text(json.dumps({**held, "share": 0.2}), encoding="utf-8")
    assert command(given) == 2
    assert "was measured for share 0.2 (here 0.1); measure it anew" in capsys.readouterr().err


def test_every_report_says_which_prompts_were_only_screened(planted: Path, tmp_path: Path) -> None:
    formats = ("table", "json", "jsonl", "csv", "md", "html", "sarif", "junit")
    outputs = [part for name in formats for part in ("-o", f"{name}={tmp_path / name}")]
    assert command(["gate", str(planted / "run"), *outputs]) in (1, 3)
    for name in formats:
        assert "screened only" in (tmp_path / name).read_text("utf-8"), name


def test_an_item_that_was_only_screened_is_explained(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = RunFolder(planted / "run").results()[0].id
    assert command(["explain", str(planted / "run"), name]) == 0
    said = capsys.readouterr().out
    assert "inconclusive (screened only: what the screen misses is not stated)" in said
    assert "screen:sharpness " in said
    assert "not finite" not in said
    assert "no image was made, so that no training image was searched" in said


def test_a_recall_is_measured_on_a_full_scan_beside_the_screen(planted: Path, tmp_path: Path) -> None:
    """A full scan of the planted prompts finds three; a list that lacks one of them is refused."""
    full = settings(detectors=("agreement",), save_images=False)
    lines = (planted / "prompts.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "some.jsonl").write_text("".join(lines[13:17]), encoding="utf-8")
    scan([tmp_path / "some.jsonl"], "emoji-scenes", tmp_path / "full", full)
    out = tmp_path / "recall.json"
    arguments = ["--full-run", str(tmp_path / "full"), "--out", str(out)]
    assert command(["screen-recall", str(planted / "run"), *arguments]) == 0
    held = json.loads(out.read_text("utf-8"))
    assert [one["kept"] for one in held["found"]] == [True] * 3
    assert held["share"] == 0.1
    shutil.copytree(planted / "run", tmp_path / "full-of-screen")
    assert command(["screen-recall", str(tmp_path / "full"), *arguments]) == 2
