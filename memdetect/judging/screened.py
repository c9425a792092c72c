"""Prompts that were only screened: which are chosen to be sampled in full, and a run's rows with those that are not.

The choice is a pure function of the screen's rows: a gate makes it again and compares.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path

from memdetect.errors import MemdetectError
from memdetect.judging.calibration import Calibration
from memdetect.judging.integrity import altered
from memdetect.judging.ranks import Rank, Unranked, rank_of, reference_scores
from memdetect.judging.rows import Place, Reader, Row, Shards
from memdetect.runs.folder import RunFolder
from memdetect.runs.header import Header
from memdetect.runs.plan import Plan
from memdetect.runs.records import Measurement
from memdetect.runs.screen import FOLDER, NAMED, Screen

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
    reference, reader = reference_scores(plan, calibration), Reader(plan)
    if isinstance(reference, Unranked):
        names = " and ".join(plan.detectors)
        raise MemdetectError(
            f"--screen-p ranks {names} of {plan.steps} steps among clean scores: {reference.reason}; or give --screen"
        )
    chosen: list[int] = []
    for found in rows:
        row = reader.row(found)
        ranked = rank_of(row, reference.score(row.scores), reference)
        if not isinstance(ranked, Rank) or ranked.rank <= p * (ranked.n + 1) * _ULP:
            chosen.append(found.index)
    return Choice(chosen, {})


def as_screened(row: Measurement) -> Measurement:
    """A row of the screen's run as that of a prompt of which nothing more was measured."""
    scores = {f"{NAMED}{name}": score for name, score in row.scores.items()}
    return row.model_copy(update={"scores": scores, "status": "screened", "notes": [*row.notes, NOTE]})


class _Screened(Place):
    """Where a row of the screen was read."""

    __slots__ = ()

    def read(self) -> Measurement:
        """The measurement as that of a prompt that was only screened."""
        return as_screened(Place.read(self))


def screen_rows(folder: Path) -> Iterator[Measurement]:
    """The rows of a run's screen, of all its prompts; MemdetectError where it has none."""
    home = RunFolder(folder / FOLDER)
    if not (home.path / "run.json").is_file():
        raise MemdetectError(f"{folder} was not screened: it has no {FOLDER}/run.json; scan with --screen")
    return home.measurements()


def with_screened(folder: Path, header: Header, rows: Sequence[Row]) -> tuple[Sequence[Row], list[str]]:
    """The rows of all prompts of a run, and what of its screen is not as it was, a line each.

    rows: of the prompts that were sampled in full, numbered among these; of a screened run they get their position
    among all. Of a run without a screen nothing changes.
    """
    screen = header.screen
    if screen is None:
        return rows, []
    positions = screen.positions
    if any(row.index >= len(positions) for row in rows):
        return rows, ["more prompts were sampled in full than the screen chose; scan again"]
    for row in rows:
        row.index = positions[row.index]
    home = RunFolder(folder / FOLDER)
    try:
        made = home.header()
        every, digests = _rows(home, header)
    except MemdetectError as problem:
        return rows, [str(problem)]
    chosen = set(positions)
    changed = [f"{FOLDER}: {line}" for line in altered(home, made, every, digests)]
    changed += _exchanged(folder, header, made, screen)
    screened = [row for row in every if row.index not in chosen]
    return sorted([*rows, *screened], key=lambda row: row.index), changed


def _rows(home: RunFolder, header: Header) -> tuple[list[Row], dict[str, str]]:
    """The screen's rows as a run's plan reads them, and the sha256 of each shard by its name."""
    reader, shards, rows = Reader(header.plan), Shards(), list[Row]()
    for shard in home.shards():
        for number in range(len(shards.read(shard))):
            held = _Screened(shards, shard, number)
            rows.append(reader.row(held.read(), held))
    return rows, {path.name: digest for path, digest in shards.digests.items()}


def _exchanged(folder: Path, header: Header, made: Header, screen: Screen) -> Iterator[str]:
    """Where the screen is not that which the header names, or chooses other prompts."""
    if made.plan.digest != screen.plan or made.plan.inputs != header.plan.inputs:
        yield f"{FOLDER}/run.json is not the screen that run.json names; put that back, or scan again"
    elif screen.share is not None:
        again = strongest(screen_rows(folder), made.plan, screen.share)
        if (list(again.positions), again.cutoffs) != (screen.positions, screen.cutoffs):
            yield "the prompts that were sampled in full are not those that the screen chooses; scan again"
