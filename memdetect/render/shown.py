"""What the formats share: which items they show, in which order, and what an item is called."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from heapq import nsmallest
from math import inf
from typing import NamedTuple, TypeVar

from memdetect.inputs.harmless import plain
from memdetect.judging.columns import Codes, Numbers
from memdetect.judging.ranks import ReferenceScores
from memdetect.judging.results import Mapped, Results
from memdetect.runs.header import Header
from memdetect.runs.index_facts import coverage_phrase, finds_phrase
from memdetect.runs.records import FINDINGS, Outcome, Result, Status
from memdetect.runs.review import Reviewed, Ruling

T = TypeVar("T")
LISTED = FINDINGS  # what a reader should look at
ORDER = {outcome: i for i, outcome in enumerate((*LISTED, "clear", "inconclusive"))}
Said = tuple[Outcome, bool]  # an outcome, and whether somebody answers for it
CLEAR, INCONCLUSIVE = ORDER["clear"], ORDER["inconclusive"]
ALL = "`memdetect report RUN -o results.csv` writes every item, as does the run's results.jsonl"


class Told(NamedTuple):
    """What a result is listed by, known of each without making it.

    order: how bad it is, 0 = a copy, also one that a person calls so; low: its score with the sign turned, inf without
    one. lifted: whether people say that it is no copy, of all that it seems to repeat. screened: whether nothing more
    was measured of it.
    """

    order: int
    low: float
    outcome: Outcome
    suppressed: bool
    lifted: bool
    screened: bool

    @property
    def found(self) -> bool:
        """Whether a reader should look at it."""
        return self.order < CLEAR

    @property
    def unclear(self) -> bool:
        """Whether it is a finding or inconclusive; of prompts that were only screened no more is known than of all."""
        return self.order != CLEAR and not self.screened


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
    base = _base(results)
    if isinstance(base, Results):
        places = [i for i, item in enumerate(base.items) if item.row.decisions]
    else:
        places = [i for i, row in enumerate(base) if row.decisions]
    return [(row, one) for row in (_plain(results, i) for i in places) for one in row.decisions]


def place(row: Result) -> str:
    """The file that an item came from, when a reader of the repository can follow it: relative, inside, not stdin."""
    source = row.source.replace("\\", "/")
    outside = source in ("", "-") or source.startswith("/") or re.match(r"[A-Za-z]:", source)
    return "" if outside or ".." in source.split("/") else source


def told(results: Sequence[Result]) -> Iterator[Told]:
    """What each result is listed by; of results that are made on demand without making any."""
    base = _base(results)
    found: Iterator[tuple[Ruling | None, bool, Outcome, float | None, str, Status]]
    if isinstance(base, Results):
        found = ((i.decided, i.lifted, i.outcome, i.score, i.suppressed, i.row.status) for i in base.items)
    else:
        found = ((r.decided, r.lifted, r.outcome, r.judged.get("combined"), r.suppressed, r.status) for r in base)
    for decided, lifted, outcome, score, suppressed, status in found:
        order = ORDER["copy" if decided == "copy" else outcome]
        low = inf if score is None else -score
        yield Told(order, low, outcome, bool(suppressed), lifted, status == "screened")


def strata_of(results: Sequence[Result], reference: ReferenceScores) -> Codes[str]:
    """The stratum in which each result was ranked."""
    base = _base(results)
    return Codes(map(reference.stratum, (i.row for i in base.items) if isinstance(base, Results) else base))


def scores_of(results: Sequence[Result], names: Sequence[str]) -> tuple[Numbers, ...]:
    """By columns the scores of all results, `combined` or those of detectors; in memory are 8 bytes of each.

    Results that are made on demand are read once more, in the order of the run, where detectors' own are asked for.
    """
    base, columns = _base(results), tuple(Numbers() for _ in names)
    if isinstance(base, Results):
        found = base.scores(own=any(name != "combined" for name in names))
    else:
        found = (row.judged for row in base)
    for scores in found:
        for name, column in zip(names, columns, strict=True):
            column.append(scores.get(name))
    return columns


def p_counts(results: Sequence[Result]) -> Counter[float]:
    """How often each p-value that decides is there."""
    base = _base(results)
    found = (i.p for i in base.items) if isinstance(base, Results) else (r.p.get("combined") for r in base)
    return Counter(value for value in found if value is not None)


def reasons(results: Sequence[Result]) -> Iterator[str]:
    """Why each result has its outcome, known without making it where no other is told."""
    base = _base(results)
    if isinstance(base, Results):
        return (item.reason for item in base.items)
    return (row.reason for row in base)


def worst(
    results: Sequence[Result], count: int, wanted: Callable[[Told], bool], last: Callable[[Told], bool] | None = None
) -> list[int]:
    """The places of at most `count` of the results that are wanted, the worst first; last: those that stand at the end.

    By outcome first, then by the score that decides, highest first; unscored ones last. No more places are in memory.
    """
    return [place for *_, place in ranked(results, count, wanted, last)]


def ranked(
    results: Sequence[Result], count: int, wanted: Callable[[Told], bool], last: Callable[[Told], bool] | None = None
) -> list[tuple[bool, int, float, int]]:
    """As `worst`, each place at the end of what it is ranked by."""
    after = last or (lambda _: False)
    keys = ((after(one), one.order, one.low, place) for place, one in enumerate(told(results)) if wanted(one))
    return nsmallest(count, keys)


def beyond(results: Sequence[Result], places: Sequence[int], wanted: Callable[[Told], bool]) -> Counter[Said]:
    """Of the results that are wanted and at none of these places how many there are, by outcome and suppression."""
    held = set(places)
    every = enumerate(told(results))
    return Counter((one.outcome, one.suppressed) for place, one in every if wanted(one) and place not in held)


def left_words(left: Counter[Said], what: str = "item") -> str:
    """How many results are left out, by their outcome, the worst first."""
    counts = Counter[Outcome]()
    for (outcome, _), count in left.items():
        counts[outcome] += count
    each = ", ".join(f"{counts[outcome]} {outcome}" for outcome in sorted(counts, key=ORDER.__getitem__))
    total = left.total()
    return f"{total} more {what}{'s are' if total > 1 else ' is'} left out ({each})"


def made_of(results: Sequence[Result], places: Sequence[int], made: Callable[[Result], T]) -> list[T]:
    """What is made of the results at some places, in their order; results are read in the order of the run, once each.

    Of p-values these results may hold the one that decides alone.
    """
    kept = {place: made(_plain(results, place)) for place in sorted(places)}
    return [kept[place] for place in places]


def strongest(results: Sequence[Result], count: int) -> list[Result]:
    """At most `count` results, the worst first, findings or not."""
    return made_of(results, worst(results, count, lambda _: True), lambda row: row)


def listed(results: Sequence[Result]) -> Iterator[Result]:
    """The results that a reader should look at, in their own order, each made when it is asked for."""
    return (results[place] for place, one in enumerate(told(results)) if one.found)


def _base(results: Sequence[Result]) -> Sequence[Result]:
    while isinstance(results, Mapped):
        results = results.base
    return results


def _plain(results: Sequence[Result], place: int) -> Result:
    return results.plain(place) if isinstance(results, Results) else results[place]


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
        "image-to-image, inpainting, and adapters that are not named",
    ]
