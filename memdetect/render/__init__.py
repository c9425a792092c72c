"""Results and verdict -> text, one function per format; no torch."""

from collections.abc import Callable, Iterator, Mapping

from memdetect.render.card import render_card
from memdetect.render.github import render_github
from memdetect.render.intoto import render_intoto
from memdetect.render.junit import render_junit
from memdetect.render.markdown import render_markdown
from memdetect.render.page import render_page
from memdetect.render.redaction import Evidence, redact, with_evidence
from memdetect.render.sarif import render_sarif
from memdetect.render.table import render_table
from memdetect.render.text import csv_lines, json_parts, jsonl_lines, render_csv, render_json, render_jsonl

Renderer = Callable[..., str]  # of Header, Sequence[Result], Verdict
FORMATS: Mapping[str, Renderer] = {
    "table": render_table,
    "json": render_json,
    "jsonl": render_jsonl,
    "csv": render_csv,
    "md": render_markdown,
    "github": render_github,
    "html": render_page,
    "sarif": render_sarif,
    "junit": render_junit,
    "card": render_card,
    "intoto": render_intoto,
}
# What is written an item at a time, however many there are.
STREAMED: Mapping[str, Callable[..., Iterator[str]]] = {"json": json_parts, "jsonl": jsonl_lines, "csv": csv_lines}
BOUNDED = frozenset({"html", "sarif", "junit"})  # formats that hold no more than so many items, and say what they lack
# By the end of a file's name, the longest that fits; `card.md` ends in `.card.md` too. Annotations have none.
SUFFIXES: Mapping[str, str] = {
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".md": "md",
    ".html": "html",
    ".sarif": "sarif",
    ".sarif.json": "sarif",
    ".xml": "junit",
    ".card.md": "card",
    ".intoto.json": "intoto",
}
WITH_FILES = frozenset({"json", "jsonl", "csv", "html", "sarif"})  # formats that name an item's images
WITH_PLACES = frozenset({"sarif", "junit"})  # formats in which an item's file has to be one of the repository

__all__ = [
    "BOUNDED",
    "FORMATS",
    "STREAMED",
    "SUFFIXES",
    "WITH_FILES",
    "WITH_PLACES",
    "Evidence",
    "Renderer",
    "redact",
    "render_card",
    "render_csv",
    "render_github",
    "render_intoto",
    "render_json",
    "render_jsonl",
    "render_junit",
    "render_markdown",
    "render_page",
    "render_sarif",
    "render_table",
    "with_evidence",
]
