"""Markdown for a page or GitHub's step summary, which takes at most 1 MiB; prompts stay text in it."""

from collections.abc import Iterator, Sequence

from memdetect.judging import OUTCOMES, Verdict
from memdetect.render.escapes import code, text
from memdetect.render.shown import decision_words, made_of, state, subject, told, untested, worst
from memdetect.runs.header import Header
from memdetect.runs.records import Result

ROWS = 100
LIMIT = 1_000_000  # bytes; GitHub's is 1,048,576 for a step


def render_markdown(
    header: Header, results: Sequence[Result], verdict: Verdict, *, rows: int = ROWS, limit: int = LIMIT
) -> str:
    """Verdict, claim, rules, and at most `rows` findings, fewer where the whole would pass `limit` bytes."""
    found = worst(results, rows, lambda one: one.found)
    head = "".join(f"{line}\n" for line in _head(verdict))
    tail = "".join(f"{line}\n" for line in _tail(header, verdict))
    left = limit - len(head.encode()) - len(tail.encode()) - 300  # for the findings' own heading and last line
    table: list[str] = []
    for line in made_of(results, found, lambda row: f"{_row(row)}\n"):
        left -= len(line.encode())
        if left < 0:
            break
        table.append(line)
    return head + _findings(table, sum(one.found for one in told(results))) + tail


def _head(verdict: Verdict) -> Iterator[str]:
    yield f"## memdetect: {verdict.verdict}"
    yield ""
    yield text(verdict.claim, 4000)
    yield ""
    shown = {name: verdict.counts[name] for name in OUTCOMES}
    shown |= {"suppressed": verdict.suppressed, "measured": verdict.sampled}
    shown |= {"screened only": verdict.left} if verdict.left else {}
    shown["planned"] = verdict.planned
    yield f"| {' | '.join(shown)} |"
    yield f"|{'---:|' * len(shown)}"
    yield f"| {' | '.join(map(str, shown.values()))} |"
    yield ""
    if verdict.rules:
        yield "| rule | outcome | reason |"
        yield "|---|---|---|"
        for rule in verdict.rules:
            yield f"| {text(rule.name)} | {rule.outcome} | {text(rule.reason, 500)} |"
        yield ""


def _row(row: Result) -> str:
    score = row.judged.get("combined")
    p = row.p.get("combined")
    cells = [
        state(row),
        "" if p is None else f"{p:.4g}",
        "" if score is None else f"{score:.4g}",
        "" if row.line is None else str(row.line),
        code(subject(row)),
        text("; ".join([*([row.reason] if row.reason else []), *map(decision_words, row.decisions)]), 500),
    ]
    return f"| {' | '.join(cells)} |"


def _findings(table: Sequence[str], found: int) -> str:
    if not found:
        return ""
    more = f"\n{found - len(table)} more findings are not shown.\n" if found > len(table) else ""
    heading = (
        "### Findings\n\n| outcome | p | score | line | prompt or image | reason |\n|---|---:|---:|---:|---|---|\n"
    )
    return f"{heading}{''.join(table)}{more}\n"


def _tail(header: Header, verdict: Verdict) -> Iterator[str]:
    yield "### Not tested"
    yield ""
    yield from (f"- {text(phrase, 500)}" for phrase in untested(header))
    yield ""
    if verdict.notes:
        yield "### Notes"
        yield ""
        yield from (f"- {text(note, 500)}" for note in verdict.notes[:50])
        yield ""
    yield (
        f"memdetect {text(header.memdetect)}, model {code(header.model)} {code(header.plan.model, 80)}, "
        f"policy {code(verdict.policy_digest[:16])}, {'fixed' if verdict.fixed else 'not fixed'} before the run"
    )
