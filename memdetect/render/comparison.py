"""Two runs compared -> table, JSON, CSV or Markdown; prompts are hostile in each of them."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import StringIO
from typing import Any

from memdetect.inputs.harmless import ascii_json, plain
from memdetect.judging.comparing import Comparison, Pair, Side
from memdetect.judging.statistics.paired import PairedShare
from memdetect.render.escapes import code, text
from memdetect.render.layout import GAP, columns, paragraph, styled
from memdetect.render.redaction import redact
from memdetect.render.shown import subject
from memdetect.render.text import guard
from memdetect.runs.records import Result

ROWS = 100  # of a table or a page
COLOURS = {"new": "bold red", "worse": "red", "undecided": "magenta", "gone": "green", "better": "green"}


def comparison_table(found: Comparison, *, colour: bool = False, width: int = 120) -> str:
    """What changed, the worst first, then counts, shares, and what could not be compared."""
    shown = found.pairs[:ROWS]
    rows = [["change", "old", "new", "p old", "p new", "prompt or image"], *(_cells(pair) for pair in shown)]
    first, *others = columns(rows, [False, False, False, True, True, False], width)
    lines = [GAP.join(styled(cell, "bold" if colour else "") for cell in first)] if shown else []
    for cells, pair in zip(others, shown, strict=True):
        style = COLOURS.get(pair.change, "") if colour else ""
        lines.append(GAP.join([styled(cells[0], style), *cells[1:]]))
    for line in [""] * bool(shown) + list(_said(found, ROWS)):
        lines += paragraph(plain(line, len(line)), width)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def comparison_json(found: Comparison) -> str:
    """One object: verdict, counts, shares with their intervals, both runs, and the items that are not clear in both."""
    summary = {
        "schema": "memdetect.comparison/1",
        "verdict": found.verdict,
        "exit": int(found.exit),
        "reasons": found.reasons,
        "fail_on": found.fail_on,
        "failing": found.failing,
        "findings": found.findings,
        "counts": found.counts,
        "shares": [_share(share) for share in found.shares],
        "differs": {name: [old, new] for name, old, new in found.differs},
        "old": _run(found.old),
        "new": _run(found.new),
        "items": [_item(pair) for pair in found.pairs],
    }
    return ascii_json(json.dumps(summary, indent=1, allow_nan=False, default=str)) + "\n"


def comparison_csv(found: Comparison) -> str:
    """A row for each item that is not clear in both, in the words of the CSV of a run."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["id", "change", "old", "new", "old:p", "new:p", "prompt", "image", "source", "line", "suppressed"])
    for pair in found.pairs:
        row = pair.item
        cells = [row.id, pair.change, _outcome(pair.old), _outcome(pair.new), _p(pair.old), _p(pair.new)]
        suppressed = pair.new.suppressed if pair.new else ""
        writer.writerow([guard(cell) for cell in [*cells, row.prompt, row.image, row.source, row.line, suppressed]])
    return out.getvalue()


def comparison_md(found: Comparison) -> str:
    """A page or a step summary: the same as the table, prompts in backticks."""
    lines = [f"## memdetect compare: {found.verdict}", ""]
    lines += [f"- {text(line, 2000)}" for line in _said(found, ROWS)]
    if found.pairs:
        lines += ["", "| change | old | new | p old | p new | prompt or image |", "|---|---|---|---:|---:|---|"]
    for pair in found.pairs[:ROWS]:
        change, old, new, was, now, _ = _cells(pair)
        lines.append(f"| {change} | {text(old)} | {text(new)} | {was} | {now} | {code(subject(pair.item))} |")
    return "".join(f"{line}\n" for line in lines)


COMPARED: Mapping[str, Callable[[Comparison], str]] = {
    "table": comparison_table,
    "json": comparison_json,
    "csv": comparison_csv,
    "md": comparison_md,
}


def redact_comparison(found: Comparison) -> Comparison:
    """The same comparison without anything of the user's own, as `redact` leaves it out of a run."""
    sides = [[pair.old for pair in found.pairs], [pair.new for pair in found.pairs]]
    made: list[tuple[Side, list[Result | None]]] = []
    for side, rows in zip((found.old, found.new), sides, strict=True):
        header, shown, verdict = redact(side.header, [row for row in rows if row is not None], side.verdict)
        left = iter(shown)
        made.append((Side(header, verdict), [None if row is None else next(left) for row in rows]))
    (old, was), (new, now) = made
    pairs = tuple(replace(pair, old=a, new=b) for pair, a, b in zip(found.pairs, was, now, strict=True))
    return replace(found, old=old, new=new, pairs=pairs)


def _said(found: Comparison, rows: int) -> Iterator[str]:
    """Everything beside the list of items, a sentence a line."""
    if (left := len(found.pairs) - rows) > 0:
        yield f"({left} more rows; --format json or csv has them all)"
    counts = ", ".join(f"{count} {change}" for change, count in found.counts.items())
    yield f"{sum(found.counts.values())} items compared: {counts}. A finding is {' or '.join(found.findings)}."
    for share in found.shares:
        yield f"{share.what}, of {share.families} prompt families that both decided: {_difference(share)}."
    if not found.shares:
        yield "No shares are compared: that takes an index searched by both runs, or clean scores of both."
    settings = "; ".join(f"{name} {_value(old)} -> {_value(new)}" for name, old, new in found.differs)
    yield f"Settings that differ: {settings}." if settings else "The settings of both runs are the same."
    yield f"Verdict: {found.verdict}{': ' if found.reasons else ''}{'; '.join(found.reasons)}."
    for name, side in (("OLD", found.old), ("NEW", found.new)):
        yield f"{name}: {side.verdict.verdict}. {side.verdict.claim}"


def _difference(share: PairedShare) -> str:
    low, high = share.interval
    return (
        f"{share.old} before, {share.new} after; difference {share.difference:+.2%} [{low:+.2%}, {high:+.2%}] at "
        f"{share.confidence:.0%} confidence, exact McNemar p = {share.p:.4g} ({share.new_only} gained, "
        f"{share.old_only} lost)"
    )


def _value(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return plain(shown[:16] if len(shown) == 64 else shown, 60) or "none"  # a digest is known by its beginning


def _cells(pair: Pair) -> list[str]:
    numbers = ["-" if value is None else f"{value:.4f}" for value in (_p(pair.old), _p(pair.new))]
    return [pair.change, _outcome(pair.old), _outcome(pair.new), *numbers, plain(subject(pair.item))]


def _outcome(row: Result | None) -> str:
    if row is None:
        return "not measured"
    return f"{row.outcome}, suppressed" if row.suppressed else row.outcome


def _p(row: Result | None) -> float | None:
    return None if row is None else row.p.get("combined")


def _share(share: PairedShare) -> dict[str, Any]:
    return {
        "what": share.what,
        "families": share.families,
        "old": share.old,
        "new": share.new,
        "gained": share.new_only,
        "lost": share.old_only,
        "difference": share.difference,
        "interval": list(share.interval),
        "confidence": share.confidence,
        "method": "Tango's score interval; exact McNemar test",
        "p": share.p,
    }


def _run(side: Side) -> dict[str, Any]:
    header, verdict = side.header, side.verdict
    return {
        "model": header.model,
        "digest": header.plan.model,
        "plan_digest": header.plan_digest,
        "created": header.created,
        "verdict": verdict.verdict,
        "complete": verdict.complete,
        "counts": verdict.counts,
        "claim": verdict.claim,
    }


def _item(pair: Pair) -> dict[str, Any]:
    row = pair.item
    return {
        "id": row.id,
        "change": pair.change,
        "prompt": row.prompt,
        "image": row.image,
        "source": row.source,
        "line": row.line,
        "old": _half(pair.old),
        "new": _half(pair.new),
    }


def _half(row: Result | None) -> dict[str, Any] | None:
    if row is None:
        return None
    kept = {"outcome": row.outcome, "reason": row.reason, "score": row.score, "p": _p(row)}
    return {**kept, "suppressed": row.suppressed}
