"""JSON, JSON lines and CSV. Prompts are hostile input: JSON escapes them, CSV guards against formulas."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any

from memdetect.records import Header, Result
from memdetect.verdict import Verdict

# What a spreadsheet takes for the start of a formula; the wide forms count in East Asian versions.
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def render_json(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """One object: the header, the verdict's counts, and the results in the order of the plan."""
    summary = {"verdict": verdict.verdict, **asdict(verdict), "complete": verdict.complete, "exit": int(verdict.exit)}
    rows = [row.model_dump(mode="json") for row in results]
    return json.dumps({"run": header.model_dump(mode="json"), "verdict": summary, "results": rows}, indent=1) + "\n"


def render_jsonl(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """results.jsonl, a line each."""
    return "".join(row.model_dump_json() + "\n" for row in results)


def render_csv(header: Header, results: Sequence[Result], verdict: Verdict) -> str:
    """Flat rows: id, outcome, score and p-value of each detector; cells that a spreadsheet would run are disarmed."""
    names: list[str] = header.plan["detectors"]
    columns = ["id", "outcome", "reason", "prompt", "image", "source", "line"]
    columns += [f"{name}{part}" for name in names for part in ("", ":p")]
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for row in results:
        cells: list[Any] = [row.id, row.outcome, row.reason, row.prompt, row.image, row.source, row.line]
        for name in names:
            score = row.scores.get(name)
            cells += [score.score if score else None, row.p.get(name)]
        writer.writerow([guard(cell) for cell in cells])
    return out.getvalue()


def guard(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(cell, str) and cell.lstrip()[:1] in FORMULA:
        return f"'{cell}"
    return cell
