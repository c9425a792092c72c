"""Results and verdict -> text, one function per format; no torch."""

from collections.abc import Callable, Mapping, Sequence

from memdetect.records import Header, Result
from memdetect.render.table import render_table
from memdetect.render.text import render_csv, render_json, render_jsonl
from memdetect.verdict import Verdict

Renderer = Callable[[Header, Sequence[Result], Verdict], str]
FORMATS: Mapping[str, Renderer] = {
    "table": render_table,
    "json": render_json,
    "jsonl": render_jsonl,
    "csv": render_csv,
}

__all__ = ["FORMATS", "Renderer", "render_csv", "render_json", "render_jsonl", "render_table"]
