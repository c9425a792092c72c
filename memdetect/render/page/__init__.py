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
from memdetect.render.page.choosing import LIMITS, Chosen, chosen
from memdetect.render.shown import decisions, made_of, untested
from memdetect.runs.header import Header
from memdetect.runs.records import Result

if TYPE_CHECKING:
    from jinja2 import Environment

LIMIT = 20_000_000  # bytes of a page
ROOM = 4000  # bytes for what says how much was left out


def render_page(
    header: Header,
    results: Sequence[Result],
    verdict: Verdict,
    beside: Beside = NOTHING,
    *,
    limit: int = LIMIT,
    say: Callable[[str], None] | None = None,
) -> str:
    """The page of a run, at most `limit` bytes; equal runs give equal bytes.

    Findings come first, the worst at the head. So many are shown as `chosen` says, and as fit; the others are counted.
    say: told what is left out, a line.
    """
    from memdetect.render.page.findings import item_of

    shows = chosen(results)
    rows = made_of(results, [*shows.found, *shows.unsure], lambda row: row)
    items = [item_of(i, header, row, beside) for i, row in enumerate(rows, 1)]
    told = _told(header, results, verdict, beside, items[: len(shows.found)])
    told |= dict(zip(("found", "unsure", "clear"), shows.counts, strict=True))
    page = _Page(limit - ROOM)
    head, tail = _rendered("head.html", told), _rendered("tail.html", told)
    page.take(head)
    page.hold(tail)
    left = _filled(page, told, results, shows, items)
    if say is not None and any(left.values()):
        counted = ", ".join(f"{count} {what}" for what, count in left.items() if count)
        say(f"{counted} are not shown: {LIMITS}")
    return page.end(tail)


def _filled(
    page: "_Page", told: dict[str, Any], results: Sequence[Result], shows: Chosen, items: Sequence[Any]
) -> dict[str, int]:
    """Add the items; how many of each kind are left out."""
    from memdetect.render.page.findings import line_of

    def between(part: str, shown: int, left: int) -> int:
        page.take(_rendered("between.html", {**told, "part": part, "shown": shown, "left": left}))
        return left

    def full(items: Sequence[Any]) -> int:
        return page.fill(lambda item: _rendered("item.html", {"item": item}), items)

    def lines(rows: Iterable[Result]) -> int:
        return page.fill(lambda row: _rendered("line.html", {"line": line_of(row)}), rows)

    found, unsure, clear = shows.counts
    shown = full(items[: len(shows.found)])
    between("findings", shown, found - shown)
    # Read in the order of the run, shown in another: what stands in the table is made at once.
    more = made_of(results, [*shows.found, *shows.more][shown:], line_of)
    rest = page.fill(lambda line: _rendered("line.html", {"line": line}), more)
    left = {"findings": between("more", rest, found - shown - rest)}
    shown = full(items[len(shows.found) :])
    left["inconclusive items"] = between("unsure", shown, unsure - shown)
    shown = lines(results[place] for place in shows.clear)
    left["clear items"] = between("clear", shown, clear - shown)
    return left


def _told(
    header: Header, results: Sequence[Result], verdict: Verdict, beside: Beside, items: Sequence[Any]
) -> dict[str, Any]:
    """What the templates are told of the run; items: its findings."""
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
    from memdetect.render.page.findings import groups_of

    return {
        "header": header,
        "verdict": verdict,
        "model": plain(header.model, 200),
        "claim": plain(verdict.claim, 4000),
        "headline": headline(verdict),
        "reasons": [plain(reason, 800) for reason in verdict.reasons],
        "notes": [plain(note, 500) for note in verdict.notes],
        "counts": counts_of(verdict),
        "rules": rules_of(verdict),
        "charts": charts(header, results, verdict, beside),
        "groups": groups_of(items),
        "decidable": any(item.can_decide for item in items),
        "decisions": decided_of(decisions(results)),
        "suppressions": suppressions_of(results, verdict),
        "untested": [plain(phrase, 600) for phrase in untested(header)],
        "provenance": provenance_of(header, verdict, beside),
        "questions": questions_of(header, verdict, beside),
        "without": beside.without,
        "limits": LIMITS,
        "style_hash": _hash(_source("page.css")),
        "script_hash": _hash(_source("page.js")),
    }


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
