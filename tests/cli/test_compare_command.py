"""`memdetect compare`: formats, exit codes, hostile prompts, nothing of the user's own under --redact."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from report_runs import texts
from synthetic_runs import INDEX, calibration, header, match, row, searched, write_run

from memdetect.cli import run
from memdetect.judging.comparing import compare
from memdetect.render.comparison import COMPARED, comparison_table, redact_comparison
from memdetect.render.layout import cells
from memdetect.render.shown import plain

SCORES = np.random.default_rng(0).normal(size=999).tolist()
SPREAD = np.random.default_rng(1).uniform(-1.5, 1.5, size=60).tolist()
NEW = {"model": "def", "steps": 50}


def write(folder: Path, copies: set[int], prompts: tuple[str, ...] = (), **changes: object) -> Path:
    """A run of 60 prompts of which these are copies."""
    rows = [row(i, value, line=i + 1) for i, value in enumerate(SPREAD)]
    rows = [r.model_copy(update={"matches": [match()]}) if r.index in copies else r for r in rows]
    rows = [r.model_copy(update={"prompt": prompts[r.index]}) if r.index < len(prompts) else r for r in rows]
    head = header(60, None, **changes)
    clean = calibration(SCORES, settings=head.plan.settings)
    head = header(60, clean, index={**INDEX, "name": "secret.index"}, **changes)
    return write_run(folder, head, searched(rows), clean)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """OLD has copies 1 and 2, NEW has 2 and 3 and other settings; one prompt is hostile."""
    folder = tmp_path_factory.mktemp("runs")
    prompts = ("zebra a", "zebra b", "zebra c", "zebra [x](http://x) | =1+1 ::error::")
    old = write(folder / "old", {1, 2}, prompts, model="secret-a")
    return str(old), str(write(folder / "new", {2, 3}, prompts, model="secret-b", plan=NEW))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.mark.parametrize(
    ("fail_on", "said"),
    [("none", "pass"), ("new", "fail: 1 finding is new"), ("worse", "fail: 1 finding is new or worse")],
)
def test_exit_codes(runs: tuple[str, str], fail_on: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *runs, "--fail-on", fail_on]) == (said != "pass")
    out, err = capsys.readouterr()
    assert "new" in out
    assert err == f"verdict: {said}\n"


def test_every_format_is_printed_and_written(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    files = ["a.txt", "b.json", "c.csv", "d.md"]
    assert run(["compare", *runs, "-f", "json", *(part for name in files for part in ("-o", name))]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("b.json").read_text())
    assert printed["schema"] == "memdetect.comparison/1"
    assert printed["counts"] == {
        "new": 1, "worse": 0, "undecided": 0, "gone": 1, "better": 0, "unchanged": 1, "clear": 57,
    }  # fmt: skip
    assert printed["differs"] == {"name": ["secret-a", "secret-b"], "model": ["abc", "def"], "steps": [25, 50]}
    share = printed["shares"][0]
    assert (share["old"], share["new"], share["gained"], share["lost"], share["families"]) == (2, 2, 1, 1, 60)
    with Path("c.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["id"], row["change"], row["old"], row["new"]) for row in found] == [
        ("i3", "new", "clear", "copy"),
        ("i1", "gone", "copy", "clear"),
        ("i2", "unchanged", "copy", "copy"),
    ]
    assert Path("d.md").read_text().startswith("## memdetect compare: pass\n")
    assert Path("a.txt").read_text().startswith("change ")


@pytest.mark.parametrize("format", ["sarif=x", "github=x", "x.xml", "x.jsonl"])
def test_a_format_that_a_comparison_has_not_is_refused(
    runs: tuple[str, str], format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *runs, "-o", format]) == 2
    assert "choose one of table, json, csv, md" in capsys.readouterr().err
    assert not Path("x").exists()


@pytest.mark.parametrize("width", [80, 130])
def test_the_table_keeps_to_its_width(runs: tuple[str, str], width: int) -> None:
    text = comparison_table(compare(Path(runs[0]), Path(runs[1])), width=width)
    assert max(map(cells, text.splitlines())) <= width
    assert re.search(r"^new +clear +copy +\S+ +\S+ +zebra \[x\]", text, re.MULTILINE)
    one_line = " ".join(text.split())
    assert "copies, of 60 prompt families that both decided: 2 before, 2 after; difference +0.00% [" in one_line
    assert "Settings that differ: name secret-a -> secret-b; model abc -> def; steps 25 -> 50." in one_line


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", set()), write(tmp_path / "new", set(range(60)), plan=NEW)
    text = comparison_table(compare(old, new), width=200)
    assert text.count("\nnew ") == 60
    assert "more rows" not in text


@pytest.mark.parametrize("format", COMPARED)
def test_redaction_leaves_nothing_of_the_users_own(
    runs: tuple[str, str], format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *runs, "-f", format, "-o", f"{format}=out"]) == 0
    assert "zebra" in capsys.readouterr().out
    assert run(["compare", *runs, "-f", format, "-o", f"{format}=out", "--redact"]) == 0
    for text in (capsys.readouterr().out, Path("out").read_text()):
        assert text
        assert not [word for word in ("zebra", "secret", "p.txt", "train-7") if word in text]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_a_hostile_prompt_is_text_and_no_more(runs: tuple[str, str], prompt: str) -> None:
    found = compare(Path(runs[0]), Path(runs[1]))
    for pair in found.pairs:
        for half in (pair.old, pair.new):
            vars(half)["prompt"] = prompt
    for name, made in COMPARED.items():
        text = made(found)
        assert "##[" not in text
        assert not re.search(r"^::", text, re.MULTILINE)
        assert all(letter in "\r\n" or letter == plain(letter) for letter in text), name
    assert [item["prompt"] for item in json.loads(COMPARED["json"](found))["items"]] == [prompt] * 3
    redacted = redact_comparison(found)
    assert [pair.item.prompt for pair in redacted.pairs] == [None] * 3


def test_runs_that_do_not_compare_are_a_usage_error_of_one_line(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, same = write(tmp_path / "other", set(), plan={"seed": 9}), write(tmp_path / "same", set())
    assert run(["compare", str(same), str(other)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"memdetect: .* do not compare: seed is 0 and 9; scan again with the same seed\n", err)
    assert run(["compare", runs[0], str(tmp_path / "none")]) == 2


def test_a_report_never_replaces_a_part_of_a_run(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *runs, "-o", f"{runs[1]}/run.json"]) == 2
    assert "would replace a part of the run" in capsys.readouterr().err
