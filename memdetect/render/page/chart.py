"""The histogram of a run's scores over those of the clean prompts, as numbers for an inline SVG and for its table."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import floor, isfinite

from memdetect.judging import Verdict
from memdetect.judging.columns import Codes, Numbers
from memdetect.judging.statistics.conformal import simes_levels
from memdetect.render.page.beside import Beside, Strata
from memdetect.render.shown import LISTED, p_counts, scores_of, told
from memdetect.runs.header import Header
from memdetect.runs.records import Result

BINS = 24
MOST = 6  # strata that are drawn apart
WIDTH, HEIGHT, LANE = 720.0, 190.0, 16.0  # of the drawing, in its own units; of a lane of ticks
LEFT, TOP = 96.0, 26.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A bin: from, to, counts of clean and scanned scores, and the two bars in the drawing (x, y, width, height)."""

    low: float
    high: float
    clean: int
    scanned: int
    clean_bar: tuple[float, float, float, float]
    scanned_bar: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Lane:
    """The ticks of the findings of one outcome: where they are, and the height of their lane."""

    outcome: str
    count: int
    y: float
    ticks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing. threshold: x, and the clean score; marks: x and label along the axis; bottom: y of the axis."""

    name: str
    decides: bool
    clean: int
    scanned: int
    bars: tuple[Bar, ...]
    lanes: tuple[Lane, ...]
    threshold: tuple[float, float] | None
    marks: tuple[tuple[float, str], ...]
    missing: str
    width: float
    height: float
    left: float
    top: float
    bottom: float
    summary: str


@dataclass(frozen=True, slots=True)
class Scored:
    """The finite scores of some results, each with its outcome, gone through anew each time."""

    outcomes: Codes[str]
    scores: Numbers
    strata: Strata = ()
    only: str = ""

    def __iter__(self) -> Iterator[tuple[str, float]]:
        own = (name == self.only for name in self.strata) if self.strata else repeat(True)
        for outcome, score, here in zip(self.outcomes, self.scores, own, strict=False):
            if here and score is not None and isfinite(score):
                yield outcome, score


def charts(header: Header, rows: Sequence[Result], verdict: Verdict, beside: Beside) -> list[Chart]:
    """A chart of what decides for each kind or stratum of prompts, then one of each other detector of the run.

    Of each item its outcome and its scores are in memory, 4 and 8 bytes.
    """
    plan, p = header.plan, _cut(rows, verdict)
    held = {clean.name: clean.strata for clean in beside.clean}
    strata = held.get("combined", {})
    apart = list(strata.items()) if 1 < len(strata) <= MOST else []
    others = [name for name in plan.detectors if len(plan.deciding) > 1 or name not in plan.deciding]
    outcomes = Codes[str](one.outcome for one in told(rows))
    combined, *own = scores_of(rows, ["combined", *others])
    made: list[Chart | None] = []
    for number, (name, clean) in enumerate(apart, 1):
        which = f", kind {name}" if beside.kinds else f", stratum {number} of {len(apart)}"
        scored = Scored(outcomes, combined, beside.stratum, name)
        made.append(_chart(_decider(header) + which, True, scored, clean, _threshold(clean, p, verdict)))
    if not apart:
        clean = _pooled(strata)
        limit = _threshold(clean, p, verdict) if len(strata) == 1 else None
        made.append(_chart(_decider(header), True, Scored(outcomes, combined), clean, limit))
    for name, scores in zip(others, own, strict=True):
        made.append(_chart(name, False, Scored(outcomes, scores), _pooled(held.get(name, {})), None))
    return [chart for chart in made if chart is not None]


def _decider(header: Header) -> str:
    deciding = header.plan.deciding
    return deciding[0] if len(deciding) == 1 else f"{' and '.join(deciding)}, combined"


def _pooled(strata: Mapping[str, Sequence[float]]) -> list[float]:
    return sorted(x for own in strata.values() for x in own if isfinite(x))


def _chart(title: str, decides: bool, scored: Scored, clean: Sequence[float], limit: float | None) -> Chart | None:
    """One drawing; None where nothing was scored."""
    count = sum(1 for _ in scored)
    if not count:
        return None
    least, most = min(x for _, x in scored), max(x for _, x in scored)
    low, high = min([least, *clean[:1]]), max([most, *clean[-1:]])
    high = high if high > low else low + 1.0
    lanes = _lanes(scored, low, high)
    return Chart(
        name=title,
        decides=decides,
        clean=len(clean),
        scanned=count,
        bars=tuple(_bars((clean, (x for _, x in scored)), (len(clean), count), low, high)),
        lanes=tuple(lanes),
        threshold=None if limit is None else (_x(limit, low, high), limit),
        marks=tuple((_x(v, low, high), f"{v:.3g}") for v in (low + (high - low) * k / 4 for k in range(5))),
        missing=_missing(decides, clean, limit),
        width=LEFT + WIDTH + 16,
        height=TOP + HEIGHT + 24 + LANE * len(lanes) + 8,
        left=LEFT,
        top=TOP,
        bottom=TOP + HEIGHT,
        summary=_summary((count, least, most), clean, limit),
    )


def _x(value: float, low: float, high: float) -> float:
    return round(LEFT + WIDTH * (value - low) / (high - low), 1)


def _bars(
    scores: tuple[Iterable[float], Iterable[float]], totals: tuple[int, int], low: float, high: float
) -> list[Bar]:
    """Bins of equal width of clean and of scanned scores, `totals` of each.

    A bar is as high as the share of its scores, the highest of all fills the drawing.
    """
    edges = [low + (high - low) * k / BINS for k in range(BINS + 1)]
    counts = [_counts(own, edges) for own in scores]
    tallest = max(n / total for own, total in zip(counts, totals, strict=True) if total for n in own)
    step = WIDTH / BINS

    def bar(k: int, count: int, total: int, inset: float) -> tuple[float, float, float, float]:
        height = HEIGHT * (count / total / tallest if total else 0.0)
        x, width = LEFT + step * k + inset, step - 2 * inset
        return round(x, 1), round(TOP + HEIGHT - height, 1), round(width, 1), round(height, 1)

    return [
        Bar(edges[k], edges[k + 1], c, s, bar(k, c, totals[0], 0.5), bar(k, s, totals[1], step / 3.2))
        for k, (c, s) in enumerate(zip(*counts, strict=True))
    ]


def _counts(scores: Iterable[float], edges: Sequence[float]) -> list[int]:
    """How many scores lie in each bin, the upper edge of the last one in it."""
    counts = [0] * BINS
    for score in scores:
        counts[bisect_right(edges, score, 1, BINS) - 1] += 1
    return counts


def _lanes(scored: Iterable[tuple[str, float]], low: float, high: float) -> list[Lane]:
    counts, ticks = Counter[str](), {outcome: set[float]() for outcome in LISTED}
    for outcome, x in scored:
        if outcome in ticks:
            counts[outcome] += 1
            ticks[outcome].add(_x(x, low, high))
    found = [outcome for outcome in LISTED if counts[outcome]]
    below = TOP + HEIGHT + 26
    return [Lane(name, counts[name], below + LANE * k, tuple(sorted(ticks[name]))) for k, name in enumerate(found)]


def _cut(rows: Sequence[Result], verdict: Verdict) -> float:
    """The p-value up to which Benjamini-Hochberg finds items in this run; where it finds none, of one alone."""
    step, count, found = verdict.fdr / max(verdict.planned, 1), 0, 1
    for value, times in sorted(p_counts(rows).items()):
        count += times
        found = count if value <= step * count else found
    return step * found


def _threshold(clean: Sequence[float], cut: float, verdict: Verdict) -> float | None:
    """The clean score above which an item is found by its score; None where even the highest of all does not do."""
    n, delta = len(clean), (verdict.policy or {}).get("delta")
    if delta is not None and n > 1:
        rank = sum(level <= cut for level in simes_levels(n, delta)[:n])
    else:
        rank = floor(cut * (n + 1) + 1e-9)
    return clean[n - rank] if 1 <= rank <= n else None


def _missing(decides: bool, clean: Sequence[float], limit: float | None) -> str:
    if not clean:
        return "No clean scores of this are there to compare with."
    if decides and limit is None:
        return "No threshold is drawn: among so few clean prompts no single score stands out enough."
    return ""


def _summary(values: tuple[int, float, float], clean: Sequence[float], limit: float | None) -> str:
    """The drawing in words, for those who do not see it; values: how many, the lowest and the highest."""
    parts = [f"{values[0]} scanned items score {values[1]:.3g} to {values[2]:.3g}"]
    if clean:
        parts.append(f"{len(clean)} clean prompts score {clean[0]:.3g} to {clean[-1]:.3g}")
    if limit is not None:
        parts.append(f"above {limit:.3g} an item is suspicious")
    return "; ".join(parts)
