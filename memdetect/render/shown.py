"""What the formats share: which items they show, in which order, and what an item is called."""

import re
from collections.abc import Iterator, Sequence
from heapq import nsmallest
from math import inf

from memdetect.inputs.harmless import plain
from memdetect.judging.results import Mapped, Results
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase, finds_phrase
from memdetect.runs.records import FINDINGS, Result
from memdetect.runs.review import Reviewed

LISTED = FINDINGS  # what a reader should look at
ORDER = {outcome: i for i, outcome in enumerate((*LISTED, "clear", "inconclusive"))}


def subject(row: Result) -> str:
    """What an item is called: its prompt, else its image, else, when both are redacted, its id."""
    return row.prompt if row.prompt is not None else row.image or f"id {row.id}"


def state(row: Result) -> str:
    """The outcome of an item; whether it was only screened, is set aside by the policy, and what people decided."""
    screened = "screened only" if row.status == "screened" else ""
    decided = f"decided: {row.decided}" if row.decided else ""
    return ", ".join(part for part in (row.outcome, screened, "suppressed" if row.suppressed else "", decided) if part)


def decision_words(one: Reviewed) -> str:
    """A decision in words: what, who, when and why."""
    why = f": {plain(one.note, 300)}" if one.note.strip() else ""
    return f"{one.decision}, {plain(one.name, 80)} on {one.time[:10]} at {one.time[11:16]} UTC{why}"


def decisions(results: Sequence[Result]) -> list[tuple[Result, Reviewed]]:
    """What people decided, each with its item, in the order of the items."""
    if isinstance(results, Results):
        rows = [results.plain(i) for i, item in enumerate(results.items) if item.row.decisions]
    else:
        rows = [row for row in results if row.decisions]
    return [(row, one) for row in rows for one in row.decisions]


def place(row: Result) -> str:
    """The file that an item came from, when a reader of the repository can follow it: relative, inside, not stdin."""
    source = row.source.replace("\\", "/")
    outside = source in ("", "-") or source.startswith("/") or re.match(r"[A-Za-z]:", source)
    return "" if outside or ".." in source.split("/") else source


def strongest(results: Sequence[Result], count: int | None = None) -> list[Result]:
    """At most `count` results by outcome first, then by the score that decides, highest first; unscored ones last.

    Of p-values they may hold the one that decides alone.
    """
    pairs = zip(_keys(results), range(len(results)), strict=True)
    order = sorted(pairs) if count is None else nsmallest(count, pairs)
    return [results.plain(i) if isinstance(results, Results) else results[i] for _, i in order]


def listed(results: Sequence[Result]) -> list[Result]:
    """The results that a reader should look at, in their own order."""
    worst = len(LISTED)
    return [results[i] for i, (outcome, _) in enumerate(_keys(results)) if outcome < worst]


def unclear(results: Sequence[Result]) -> list[Result]:
    """The results that are not clear, in their own order: what a reader should look at, and what is inconclusive.

    Prompts that were only screened are left out: they are many, and nothing more is known of each than of all.
    """
    found = [i for i, (outcome, _) in enumerate(_keys(results)) if outcome != ORDER["clear"]]
    if isinstance(results, Results):
        return [results[i] for i in found if results.items[i].row.status != "screened"]
    return [results[i] for i in found if results[i].status != "screened"]


def _keys(results: Sequence[Result]) -> Iterator[tuple[int, float]]:
    """Of each result how bad it is and how low its score; of results that are made on demand without making any."""
    while isinstance(results, Mapped):
        results = results.base
    if isinstance(results, Results):
        found = (("copy" if item.decided == "copy" else item.outcome, item.score) for item in results.items)
    else:
        found = ((row.ranked_as, row.judged.get("combined")) for row in results)
    return ((ORDER[outcome], inf if score is None else -score) for outcome, score in found)


def untested(header: Header) -> list[str]:
    """What the run says nothing about, a phrase each."""
    index = header.index
    if not index:
        searched = "training images: none were searched, so that a score is a reason to look, not proof of a copy"
    else:
        searched = f"training images that are not in the index, which covers {coverage_phrase(index)}"
        searched += f", and copies that it does not find: it {finds_phrase(index)}"
    return [
        searched,
        "prompts of other kinds than those scanned",
        "other seeds, steps, guidance, sizes, samplers and number formats",
        "image-to-image, inpainting and adapters",
    ]
