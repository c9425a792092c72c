"""JSON, JSON lines and CSV hold every row as it is, and nothing in a prompt can break out of its cell."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.records import Header, Measurement, Result, RunFolder, Score
from memdetect.render import FORMATS, render_csv, render_json, render_jsonl
from memdetect.verdict import Verdict, judge

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


def run(prompts: list[str], **changes: Any) -> tuple[Header, list[Result], Verdict]:
    """A judged run of prompts, with a score for the first detector alone."""
    header = Header(memdetect="0", created="", model="tiny", versions={}, plan=PLAN, planned=len(prompts))
    scores = {"spikiness": Score(score=0.25, cells={"up": {"50": [0.25]}})}
    rows = [
        Measurement(**{"index": i, "id": f"i{i}", "prompt": p, "source": "p.txt", "scores": scores, **changes})
        for i, p in enumerate(prompts)
    ]
    return (header, *judge(header, rows))


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("lead", ["=", "+", "-", "@", "\t=", " =", "\r\n+", " \t @", "\uff1d", "\uff0b", "\u00a0="])
def test_csv_disarms_formulas(lead: str) -> None:
    """A spreadsheet takes a cell that starts so, blanks apart, for a formula; an apostrophe makes it text."""
    prompt = f'{lead}HYPERLINK("http://x","y")'
    assert cells(render_csv(*run([prompt])))[0]["prompt"] == f"'{prompt}"


@pytest.mark.parametrize("column", ["id", "image", "source"])
def test_csv_disarms_every_text_column(column: str) -> None:
    assert cells(render_csv(*run(["a cat"], **{column: "=1+1"})))[0][column] == "'=1+1"


def test_csv_leaves_harmless_cells_and_numbers_alone() -> None:
    header, results, verdict = run(["a = b - c", "1+1"])
    negative = {"spikiness": Score(score=-0.5, cells={})}
    results = [row.model_copy(update={"scores": negative}) for row in results]
    rows = cells(render_csv(header, results, verdict))
    assert [row["prompt"] for row in rows] == ["a = b - c", "1+1"]
    assert rows[0]["spikiness"] == "-0.5"


def test_csv_round_trip() -> None:
    """RFC 4180: line breaks, quotes and commas inside a cell; \\r\\n after each record."""
    text = render_csv(*run(HOSTILE))
    assert [row["prompt"] for row in cells(text)] == HOSTILE
    assert text.startswith("id,outcome,reason,prompt,image,source,line,spikiness,spikiness:p,other,other:p\r\n")
    assert text.endswith("\r\n")


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=3))
def test_csv_round_trip_of_any_text(prompts: list[str]) -> None:
    rows = cells(render_csv(*run(prompts)))
    assert all(row["prompt"] in (p, f"'{p}") for row, p in zip(rows, prompts, strict=True))


def test_csv_leaves_what_is_missing_empty() -> None:
    row = cells(render_csv(*run(["a cat"])))[0]
    assert (row["spikiness"], row["spikiness:p"], row["other"], row["other:p"], row["line"]) == ("0.25", "", "", "", "")
    assert row["outcome"] == "inconclusive"


def test_json_holds_header_verdict_and_all_rows() -> None:
    header, results, verdict = run(HOSTILE)
    found = json.loads(render_json(header, results, verdict))
    assert Header.model_validate(found["run"]) == header
    assert [Result.model_validate(row) for row in found["results"]] == results
    assert found["verdict"]["counts"] == {"copy": 0, "suspicious": 0, "clear": 0, "inconclusive": len(HOSTILE)}
    assert (found["verdict"]["planned"], found["verdict"]["complete"]) == (len(HOSTILE), True)


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
    assert text.encode() == folder.write_results(results).read_bytes()
    assert [json.loads(line)["prompt"] for line in text.split("\n")[:-1]] == HOSTILE


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_rows_renders(name: str) -> None:
    header, results, verdict = run([])
    assert "i0" not in FORMATS[name](header, results, verdict)
