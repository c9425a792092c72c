"""Prompts that were only screened: which are chosen to be sampled in full, and what is made of those that are not.

The choice is a pure function of the screen's rows: a gate makes it again and compares.
"""

import hashlib
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from memdetect.errors import MemdetectError
from memdetect.judging.calibration import Calibration
from memdetect.judging.ranks import Rank, Unranked, rank_of, reference_scores
from memdetect.judging.rows import Reader, rows_of
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan, inputs_line
from memdetect.runs.records import Measurement
from memdetect.runs.screen import FOLDER, NAMED

SCREENED = "screened only"
NOTE = f"{SCREENED}: measured by its first steps, no image was made"
_ULP = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Choice:
    """Positions of the chosen prompts, ascending, and the score of each detector from which on a prompt is chosen."""

    positions: Sequence[int]
    cutoffs: dict[str, float]


def strongest(rows: Iterable[Measurement], plan: Plan, share: float) -> Choice:
    """The strongest share of the prompts: of those with finite scores at least ceil(share * m), and all others.

    A prompt's rank is the best that any of the plan's detectors gives it, 1 + #{higher scores}. Those up to the
    ceil(share * m)-th smallest rank are chosen, so that prompts of equal rank are chosen together. What has no finite
    score is not known to be weak, and is chosen. Keeps a number for each detector and prompt.
    """
    reader, names = Reader(plan), plan.detectors
    unsound, places, scores = list[int](), array("q"), {name: array("d") for name in names}
    for row in rows:
        found = [reader.score(name, row.scores.get(name)) for name in names]
        if row.status != "ok" or None in found:
            unsound.append(row.index)
            continue
        places.append(row.index)
        for name, score in zip(names, found, strict=True):
            scores[name].append(0.0 if score is None else score)
    if not places:
        return Choice(sorted(unsound), {})
    ascending = {name: sorted(own) for name, own in scores.items()}
    best = array("q", map(min, zip(*(_ranks(scores[name], ascending[name]) for name in names), strict=True)))
    last = sorted(best)[ceil(Fraction(str(share)) * len(places)) - 1]
    chosen = [place for place, rank in zip(places, best, strict=True) if rank <= last]
    return Choice(sorted([*unsound, *chosen]), {name: own[len(places) - last] for name, own in ascending.items()})


def _ranks(scores: Sequence[float], ascending: Sequence[float]) -> Iterator[int]:
    """1 + how many scores are higher, of each."""
    return (1 + len(ascending) - bisect_right(ascending, score) for score in scores)


def unlikely(rows: Iterable[Measurement], plan: Plan, p: float, calibration: Calibration | None) -> Choice:
    """The prompts with a p-value of at most `p` among clean scores of these very settings, and those without one.

    Raises MemdetectError where there are no such clean scores.
    """
    reference = reference_scores(plan, calibration)
    if isinstance(reference, Unranked):
        names = " and ".join(plan.detectors)
        raise MemdetectError(
            f"--screen-p ranks {names} of {plan.steps} steps among clean scores: {reference.reason}; or give --screen"
        )
    chosen: list[int] = []
    for found in rows:
        row = rows_of([found], plan)[0]
        ranked = rank_of(row, reference.score(row.scores), reference)
        if not isinstance(ranked, Rank) or ranked.rank <= p * (ranked.n + 1) * _ULP:
            chosen.append(found.index)
    return Choice(chosen, {})


def as_screened(row: Measurement) -> Measurement:
    """A row of the screen's run as that of a prompt of which nothing more was measured."""
    scores = {f"{NAMED}{name}": score for name, score in row.scores.items()}
    return row.model_copy(update={"scores": scores, "status": "screened", "notes": [*row.notes, NOTE]})


def screen_rows(folder: Path) -> Iterator[Measurement]:
    """The rows of a run's screen, of all its prompts; MemdetectError where it has none."""
    home = RunFolder(folder / FOLDER)
    if not (home.path / "run.json").is_file():
        raise MemdetectError(f"{folder} was not screened: it has no {FOLDER}/run.json; scan with --screen")
    return home.measurements()


def exchanged_screen(folder: Path, header: Header, made: Header) -> Iterator[str]:
    """Where the screen of a run is not that which the run's header names, or chooses other prompts, a line each.

    made: the header of the screen's own run. Its rows are gone through once more.
    """
    screen = header.screen
    assert screen is not None
    if made.plan.digest != screen.plan or made.plan.inputs != header.plan.inputs:
        yield f"{FOLDER}/run.json is not the screen that run.json names; put that back, or scan again"
        return
    asked = hashlib.sha256()
    try:
        found = _hashed(screen_rows(folder), asked)
        again = strongest(found, made.plan, screen.share) if screen.share is not None else None
        deque(found, 0)
    except MemdetectError:
        return  # a damaged line, which is said already
    if asked.hexdigest() != made.plan.inputs:
        yield f"{FOLDER}: the prompts that were screened are not those that were planned; scan again"
    if again is not None and (list(again.positions), again.cutoffs) != (screen.positions, screen.cutoffs):
        yield "the prompts that were sampled in full are not those that the screen chooses; scan again"


def _hashed(rows: Iterable[Measurement], digest: Any) -> Iterator[Measurement]:
    """The rows; the digest takes in what each was asked."""
    for row in rows:
        digest.update(inputs_line(row.id, row.prompt, row.sha256 or None))
        yield row
