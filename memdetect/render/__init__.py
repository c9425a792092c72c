"""Results and verdict -> text, one function per format; no torch. SARIF, JUnit and HTML will be a function each."""

from collections.abc import Callable, Mapping, Sequence

from memdetect.judging import Verdict
from memdetect.render.github import render_github
from memdetect.render.markdown import render_markdown
from memdetect.render.redaction import Evidence, redact, with_evidence
from memdetect.render.table import render_table
from memdetect.render.text import render_csv, render_json, render_jsonl
from memdetect.runs.header import Header
from memdetect.runs.records import Result

Renderer = Callable[[Header, Sequence[Result], Verdict], str]
FORMATS: Mapping[str, Renderer] = {
    "table": render_table,
    "json": render_json,
    "jsonl": render_jsonl,
    "csv": render_csv,
    "md": render_markdown,
    "github": render_github,
}
# By the name of a file; annotations go to a log and have none.
SUFFIXES: Mapping[str, str] = {".txt": "table", ".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".md": "md"}
WITH_FILES = frozenset({"json", "jsonl", "csv"})  # formats that name an item's images

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "WITH_FILES",
    "Evidence",
    "Renderer",
    "redact",
    "render_csv",
    "render_github",
    "render_json",
    "render_jsonl",
    "render_markdown",
    "render_table",
    "with_evidence",
]
