"""Results and verdict -> text, one function per format; no torch. SARIF and JUnit will be a function each."""

from collections.abc import Callable, Mapping

from memdetect.render.github import render_github
from memdetect.render.markdown import render_markdown
from memdetect.render.page import render_page
from memdetect.render.redaction import Evidence, redact, with_evidence
from memdetect.render.table import render_table
from memdetect.render.text import render_csv, render_json, render_jsonl

Renderer = Callable[..., str]  # of Header, Sequence[Result], Verdict
FORMATS: Mapping[str, Renderer] = {
    "table": render_table,
    "json": render_json,
    "jsonl": render_jsonl,
    "csv": render_csv,
    "md": render_markdown,
    "github": render_github,
    "html": render_page,
}
# By the name of a file; annotations go to a log and have none.
SUFFIXES: Mapping[str, str] = {
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".md": "md",
    ".html": "html",
}
WITH_FILES = frozenset({"json", "jsonl", "csv", "html"})  # formats that name an item's images

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
    "render_page",
    "render_table",
    "with_evidence",
]
