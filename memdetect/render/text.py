"""JSON, JSON lines and CSV. Prompts are hostile input: JSON escapes them, CSV guards against formulas."""

import csv
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

from pydantic_core import to_jsonable_python

from memdetect.inputs.harmless import ascii_json, begins_command, escaped
from memdetect.judging import Verdict
from memdetect.render.shown import decision_words, listed, untested
from memdetect.runs.header import Header
from memdetect.runs.records import Result

# What a spreadsheet takes for the start of a formula; the wide forms count in East Asian versions.
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def render_json(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """The summary, one object: claim, verdict, run and the findings; all items are in JSON lines."""
    return "".join(json_parts(header, results, verdict))


def json_parts(header: Header, results: Sequence[Result], verdict: Verdict) -> Iterator[str]:
    """The parts of `render_json`: the summary, then a finding each, made when it is asked for."""
    decision = to_jsonable_python(verdict, inf_nan_mode="null")
    summary = {
        "schema": "memdetect.summary/1",
        "claim": verdict.claim,
        "verdict": {
            "verdict": verdict.verdict,
            **decision,
            "reasons": verdict.reasons,
            "complete": verdict.complete,
            "exit": int(verdict.exit),
        },
        "not_tested": untested(header),
        "run": header.model_dump(mode="json"),
    }
    yield _indented(summary).removesuffix("\n}") + ',\n "findings": ['
    before = ""
    for row in listed(results):
        finding = _indented(_finding(row)).replace("\n", "\n  ")  # JSON has no line break within a text
        yield f"{before}\n  {finding}"
        before = ","
    yield "\n ]\n}\n" if before else "]\n}\n"


def _indented(value: Any) -> str:
    return ascii_json(json.dumps(value, indent=1, allow_nan=False))


def _finding(row: Result) -> dict[str, Any]:
    """A finding with the scores that were judged, and without the parts of what was measured."""
    kept = row.model_dump(mode="json", exclude={"schema_version", "scores", "seeds", "judged"})
    return {**kept, "scores": row.judged}


def render_jsonl(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """What results.jsonl holds, a line each, in ASCII."""
    return "".join(jsonl_lines(header, results, verdict))


def jsonl_lines(header: Header, results: Sequence[Result], verdict: Verdict) -> Iterator[str]:
    """The lines of `render_jsonl`, each made when it is asked for."""
    rows = (json.dumps(row.model_dump(mode="json"), allow_nan=False) for row in results)
    return (f"{ascii_json(row)}\n" for row in rows)


def render_csv(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    r"""Flat rows, each in one line: id, outcome, the score and p-value that decide, and those of each detector.

    Cells that a spreadsheet would run are disarmed, what cannot be seen is written out (`guard`).
    """
    return "".join(csv_lines(header, results, verdict))


def csv_lines(header: Header, results: Sequence[Result], verdict: Verdict) -> Iterator[str]:
    """The lines of `render_csv`, each made when it is asked for."""
    names = header.plan.detectors
    columns = ["id", "outcome", "reason", "prompt", "image", "source", "line"]
    columns += [f"{name}{part}" for name in ("combined", *names) for part in ("", ":p")]
    columns += ["suppressed", "decided", "decisions", "files"]
    yield _line([guard(name) for name in columns])
    for row in results:
        cells: list[Any] = [row.id, row.outcome, row.reason, row.prompt, row.image, row.source, row.line]
        for name in ("combined", *names):
            cells += [row.judged.get(name), row.p.get(name)]
        cells += [row.suppressed, row.decided, "; ".join(map(decision_words, row.decisions)), " ".join(row.files)]
        yield _line([guard(cell) for cell in cells])


def _line(cells: Sequence[Any]) -> str:
    out = StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()


def guard(cell: Any) -> Any:
    r"""A cell that no spreadsheet takes for a formula, and no runner for a command where a line begins with it.

    It reads back to the same text: without one apostrophe at its beginning, then with \\, \n, \xNN, \uNNNN undone.
    """
    if not isinstance(cell, str):
        return cell
    shown = escaped(cell.replace("\\", r"\\"))
    armed = cell.lstrip()[:1] in (*FORMULA, "'") if cell.strip() else False
    return f"'{shown}" if armed or begins_command(cell) else shown
