"""JSON, JSON lines and CSV hold every row as it is, and nothing in a prompt can break out of its cell."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import plan_of

from memdetect.inputs.harmless import escaped
from memdetect.judging import OUTCOMES, Verdict, judge
from memdetect.render import FORMATS, render_csv, render_json, render_jsonl
from memdetect.render.text import FORMULA
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.records import Measurement, Result, Score

PLAN = {
    "detectors": ["spikiness", "other"],
    "layers": ["up"],
    "timesteps": [50],
    "num_seeds": 1,
    "steps": 25,
    "guidance_scale": 7.5,
    "seed": 0,
    "dtype": "fp32",
}
HOSTILE = [
    'say "hi", twice',
    "line\nbreak\r\nand\rmore",
    "</script><b>",
    "\x1b[31mred",
    "\u202egnp.exe",
    "caf\u00e9 \N{CAT FACE}",
    "'=1+1",
    ",",
    "",
]


def run(prompts: list[str], replaced: list[str] | None = None, **changes: Any) -> tuple[Header, list[Result], Verdict]:
    """A judged run of prompts, with a score for the first detector alone; `replaced` stand in for what is invalid."""
    header = Header(memdetect="0", created="", model="tiny", versions={}, plan=plan_of(**PLAN), planned=len(prompts))
    scores = {"spikiness": Score(score=0.25, cells={"up": {"50": [0.25]}})}
    rows = [
        Measurement(**{"index": i, "id": f"i{i}", "prompt": p, "source": "p.txt", "scores": scores, **changes})
        for i, p in enumerate(prompts)
    ]
    judged, verdict = judge(header, rows)
    results = list(judged)
    for i, prompt in enumerate(replaced or ()):
        results[i] = results[i].model_copy(update={"prompt": prompt})
    return header, results, verdict


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("lead", ["=", "+", "-", "@", "\t=", " =", "\r\n+", " \t @", "\uff1d", "\uff0b", "\u00a0="])
def test_csv_disarms_formulas(lead: str) -> None:
    """A spreadsheet takes a cell that starts so, blanks apart, for a formula; an apostrophe makes it text."""
    prompt = f'{lead}HYPERLINK("http://x","y")'
    cell = cells(render_csv(*run([prompt])))[0]["prompt"]
    assert cell == f"'{escaped(prompt)}"


@pytest.mark.parametrize("column", ["id", "prompt"])
def test_csv_starts_no_line_with_a_command_of_a_runner(column: str) -> None:
    """GitHub's runner takes "::" at the start of a line, and "##[" anywhere, for a command."""
    prompts = ["::stop-commands::x", "a\n::error::x", "##[add-mask]x"]
    for prompt in prompts:
        text = render_csv(*run([prompt], **({"id": prompt} if column == "id" else {})))
        assert not [line for line in text.splitlines() if line.startswith("::")]
        assert "##[" not in text


@pytest.mark.parametrize("column", ["id", "image", "source"])
def test_csv_disarms_every_text_column(column: str) -> None:
    assert cells(render_csv(*run(["a cat"], **{column: "=1+1"})))[0][column] == "'=1+1"


def test_csv_leaves_harmless_cells_and_numbers_alone() -> None:
    header, results, verdict = run(["a = b - c", "1+1"])
    results = [row.model_copy(update={"judged": {"combined": -0.25, "spikiness": -0.5}}) for row in results]
    rows = cells(render_csv(header, results, verdict))
    assert [row["prompt"] for row in rows] == ["a = b - c", "1+1"]
    assert (rows[0]["combined"], rows[0]["spikiness"]) == ("-0.25", "-0.5")


def test_csv_is_a_line_a_row_with_what_cannot_be_seen_written_out() -> None:
    """RFC 4180: quotes and commas inside a cell; \\r\\n after each record, and nowhere else."""
    text = render_csv(*run(HOSTILE))
    shown = [*HOSTILE]
    shown[1:2], shown[3:5] = ["line\\nbreak\\r\\nand\\rmore"], ["\\x1b[31mred", "\\u202egnp.exe"]
    shown = [f"'{cell}" if cell.startswith("'") else cell for cell in shown]
    assert [row["prompt"] for row in cells(text)] == shown
    start = "id,outcome,reason,prompt,image,source,line,combined,combined:p,"
    start += "spikiness,spikiness:p,other,other:p,suppressed,decided,decisions,files\r\n"
    assert text.startswith(start)
    assert text.count("\n") == text.count("\r\n") == len(HOSTILE) + 1


@settings(max_examples=50)
@given(st.lists(st.text(), max_size=3))
def test_csv_cells_of_any_text(prompts: list[str]) -> None:
    rows = cells(render_csv(*run([""] * len(prompts), replaced=prompts)))
    for row, prompt in zip(rows, prompts, strict=True):
        written = escaped(prompt.replace("\\", "\\\\"))
        assert row["prompt"] in (written, f"'{written}")
        assert row["prompt"].lstrip()[:1] not in FORMULA


def test_csv_leaves_what_is_missing_empty() -> None:
    row = cells(render_csv(*run(["a cat"])))[0]
    assert (row["spikiness"], row["spikiness:p"], row["other"], row["other:p"], row["line"]) == ("0.25", "", "", "", "")
    assert row["outcome"] == "inconclusive"


def test_json_holds_claim_verdict_run_and_findings() -> None:
    header, results, verdict = run(HOSTILE)
    results[2] = results[2].model_copy(update={"outcome": "copy", "reason": "image 0 is a copy of x"})
    found = json.loads(render_json(header, results, verdict))
    assert Header.model_validate_json(json.dumps(found["run"])) == header
    assert (found["claim"], found["claim"][-1]) == (verdict.claim, ".")
    assert [(row["id"], row["prompt"], row["scores"]) for row in found["findings"]] == [
        ("i2", HOSTILE[2], {"combined": 0.25, "spikiness": 0.25, "other": None})
    ]
    assert found["verdict"]["counts"] == {**dict.fromkeys(OUTCOMES, 0), "inconclusive": len(HOSTILE)}
    assert (found["verdict"]["planned"], found["verdict"]["complete"]) == (len(HOSTILE), True)
    assert (found["verdict"]["verdict"], found["verdict"]["exit"]) == ("inconclusive", 3)
    assert len(found["verdict"]["reasons"]) == sum(r["outcome"] != "pass" for r in found["verdict"]["rules"])


def test_json_is_ascii_and_strict() -> None:
    """No escape sequence of a terminal and no NaN gets through."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = render_json(*run(HOSTILE, scores={"spikiness": Score(score=None, cells={"up": {"50": [None]}})}))
    json.loads(text, parse_constant=refuse)
    assert text.isascii()
    assert "\x1b" not in text


def test_jsonl_is_results_jsonl(tmp_path: Path) -> None:
    header, results, verdict = run(HOSTILE)
    folder = RunFolder(tmp_path)
    text = render_jsonl(header, results, verdict)
    assert text.isascii()
    lines = folder.write_results(results).read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line) for line in text.split("\n")[:-1]] == [json.loads(line) for line in lines]
    assert [json.loads(line)["prompt"] for line in text.split("\n")[:-1]] == HOSTILE


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_rows_renders(name: str) -> None:
    header, results, verdict = run([])
    assert "i0" not in FORMATS[name](header, results, verdict)
