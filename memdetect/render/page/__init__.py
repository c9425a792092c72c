"""The report as one HTML page: no request to anywhere, readable without script, printed whole."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdetect.inputs.harmless import line, plain
from memdetect.judging import Verdict
from memdetect.render.page.beside import NOTHING, Beside
from memdetect.render.shown import decisions, listed, strongest, untested
from memdetect.runs.header import Header
from memdetect.runs.records import Result

if TYPE_CHECKING:
    from jinja2 import Environment

LIMIT = 20_000_000  # bytes of a page
SHOWN = 500  # findings that are shown in full; more of them stand in a table
ROOM = 4000  # bytes for what says how much was left out


def render_page(
    header: Header, results: Sequence[Result], verdict: Verdict, beside: Beside = NOTHING, *, limit: int = LIMIT
) -> str:
    """The page of a run, at most `limit` bytes; equal runs give equal bytes.

    Findings come first, the worst at the head; what does not fit is counted and named as left out.
    """
    from memdetect.render.page.chart import charts
    from memdetect.render.page.facts import (
        counts_of,
        decided_of,
        headline,
        provenance_of,
        questions_of,
        rules_of,
        suppressions_of,
    )
    from memdetect.render.page.findings import groups_of, item_of, line_of

    rows = list(results)
    found = strongest(listed(rows))
    unsure = [row for row in rows if row.outcome == "inconclusive" and row.decided != "copy"]
    rest = [row for row in rows if row.outcome == "clear" and row.decided != "copy"]
    items = [item_of(i, header, row, beside) for i, row in enumerate(found[:SHOWN], 1)]
    open_ = [item_of(i, header, row, beside) for i, row in enumerate(unsure[:SHOWN], len(items) + 1)]
    style, script = _source("page.css"), _source("page.js")
    told: dict[str, Any] = {
        "header": header,
        "verdict": verdict,
        "model": plain(header.model, 200),
        "claim": plain(verdict.claim, 4000),
        "headline": headline(verdict),
        "reasons": [plain(reason, 800) for reason in verdict.reasons],
        "notes": [plain(note, 500) for note in verdict.notes],
        "counts": counts_of(verdict),
        "rules": rules_of(verdict),
        "charts": charts(header, rows, verdict, beside),
        "groups": groups_of(items),
        "found": len(found),
        "unsure": len(unsure),
        "clear": len(rest),
        "decidable": any(item.can_decide for item in items),
        "decisions": decided_of(decisions(rows)),
        "suppressions": suppressions_of(rows, verdict),
        "untested": [plain(phrase, 600) for phrase in untested(header)],
        "provenance": provenance_of(header, verdict, beside),
        "questions": questions_of(header, verdict, beside),
        "without": beside.without,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }
    page = _Page(limit - ROOM)
    head, tail = _rendered("head.html", told), _rendered("tail.html", told)
    page.take(head)
    page.hold(tail)
    shown = page.fill(lambda item: _rendered("item.html", {"item": item}), items)
    more = [line_of(row) for row in found[shown:]]
    page.take(_rendered("between.html", {**told, "part": "findings", "shown": shown, "left": len(more)}))
    lines = page.fill(lambda line: _rendered("line.html", {"line": line}), more)
    page.take(_rendered("between.html", {**told, "part": "more", "shown": lines, "left": len(more) - lines}))
    shown = page.fill(lambda item: _rendered("item.html", {"item": item}), open_)
    page.take(_rendered("between.html", {**told, "part": "unsure", "shown": shown, "left": len(unsure) - shown}))
    lines = page.fill(lambda row: _rendered("line.html", {"line": line_of(row)}), rest)
    page.take(_rendered("between.html", {**told, "part": "clear", "shown": lines, "left": len(rest) - lines}))
    return page.end(tail)


class _Page:
    """Pieces of a page that together stay below a limit."""

    def __init__(self, limit: int) -> None:
        self.pieces: list[str] = []
        self.left = limit

    def take(self, piece: str) -> None:
        """Add a piece that has to be there."""
        self.pieces.append(piece)
        self.hold(piece)

    def hold(self, piece: str) -> None:
        """Keep room for a piece."""
        self.left -= len(piece.encode())

    def fill(self, made: Callable[[Any], str], each: Iterable[Any]) -> int:
        """Add pieces as long as they fit; how many did."""
        count = 0
        for one in each:
            piece = made(one)
            if (size := len(piece.encode())) > self.left:
                break
            self.pieces.append(piece)
            self.left -= size
            count += 1
        return count

    def end(self, piece: str) -> str:
        """The whole page, with its last piece, which was kept room for."""
        return "".join([*self.pieces, piece])


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _rendered(name: str, told: dict[str, Any]) -> str:
    """A template filled in: escaped by it, and such that no line acts on a terminal or runner that shows the page."""
    made = _environment().get_template(name).render(told)
    return "\n".join(line(each) for each in made.split("\n"))


def _source(name: str) -> str:
    """Style or script as it stands within the page: a template includes it, which escapes nothing of it."""
    return _rendered(name, {})


def _hash(text: str) -> str:
    """What a content security policy names a style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
