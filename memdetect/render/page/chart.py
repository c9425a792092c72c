"""The histogram of a run's scores over those of the clean prompts, as numbers for an inline SVG and for its table."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite

from memdetect.judging.statistics.conformal import simes_levels
from memdetect.judging import Verdict
from memdetect.render.page.beside import Beside, Clean
from memdetect.render.shown import LISTED
from memdetect.runs.header import Header
from memdetect.runs.records import Result

BINS = 28
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
    """A drawing. thresholds: x, score, and what it is of; marks: x and label along the axis; bottom: y of the axis."""

    name: str
    decides: bool
    clean: int
    scanned: int
    bars: tuple[Bar, ...]
    lanes: tuple[Lane, ...]
    thresholds: tuple[tuple[float, float, str], ...]
    marks: tuple[tuple[float, str], ...]
    missing: str
    width: float
    height: float
    left: float
    top: float
    bottom: float
    summary: str


def charts(header: Header, rows: Sequence[Result], verdict: Verdict, beside: Beside) -> list[Chart]:
    """A chart of what decides, and of each other detector of the run; none where nothing was scored."""
    plan = header.plan
    held = {clean.name: clean for clean in beside.clean}
    names = ["combined", *(name for name in plan.detectors if len(plan.deciding) > 1 or name not in plan.deciding)]
    made = [_chart(name, header, rows, verdict, (held.get(name), beside.stratum)) for name in names]
    return [chart for chart in made if chart is not None]


def _chart(
    name: str,
    header: Header,
    rows: Sequence[Result],
    verdict: Verdict,
    held: tuple[Clean | None, Mapping[int, str]],
) -> Chart | None:
    scored = [(row, x) for row in rows if (x := row.judged.get(name)) is not None and isfinite(x)]
    strata = held[0].strata if held[0] else {}
    clean = sorted(x for own in strata.values() for x in own if isfinite(x))
    if not scored:
        return None
    every = [*(x for _, x in scored), *clean]
    low, high = min(every), max(every)
    high = high if high > low else low + 1.0
    decides = name == "combined"
    limits = _thresholds(rows, verdict, strata) if decides else []
    bars = _bars(clean, sorted(x for _, x in scored), low, high)
    lanes = _lanes(scored, low, high)
    deciding = header.plan.deciding
    title = deciding[0] if decides and len(deciding) == 1 else " and ".join(deciding) if decides else name
    reached = [(x, words) for x, words in limits if low <= x <= high]
    return Chart(
        name=f"{title}, combined" if decides and len(deciding) > 1 else title,
        decides=decides,
        clean=len(clean),
        scanned=len(scored),
        bars=tuple(bars),
        lanes=tuple(lanes),
        thresholds=tuple((_x(value, low, high), value, words) for value, words in reached),
        marks=tuple((_x(v, low, high), f"{v:.3g}") for v in (low + (high - low) * k / 4 for k in range(5))),
        missing=_missing(decides, strata, limits),
        width=LEFT + WIDTH + 16,
        height=TOP + HEIGHT + 24 + LANE * max(len(lanes), 1) + 8,
        left=LEFT,
        top=TOP,
        bottom=TOP + HEIGHT,
        summary=_summary(title, scored, clean, reached),
    )


def _x(value: float, low: float, high: float) -> float:
    return round(LEFT + WIDTH * (value - low) / (high - low), 1)


def _bars(clean: Sequence[float], scanned: Sequence[float], low: float, high: float) -> list[Bar]:
    """Bins of equal width; a bar is as high as the share of its scores, the highest of all fills the drawing."""
    edges = [low + (high - low) * k / BINS for k in range(BINS + 1)]
    counts = [_counts(scores, edges) for scores in (clean, scanned)]
    tallest = max(n / len(of) for own, of in zip(counts, (clean, scanned), strict=True) if of for n in own)
    step = WIDTH / BINS

    def bar(k: int, count: int, total: int, inset: float) -> tuple[float, float, float, float]:
        height = HEIGHT * (count / total / tallest if total else 0.0)
        x, width = LEFT + step * k + inset, step - 2 * inset
        return round(x, 1), round(TOP + HEIGHT - height, 1), round(width, 1), round(height, 1)

    return [
        Bar(edges[k], edges[k + 1], c, s, bar(k, c, len(clean), 0.5), bar(k, s, len(scanned), step / 3.2))
        for k, (c, s) in enumerate(zip(*counts, strict=True))
    ]


def _counts(scores: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many of ascending scores lie in each bin, the upper edge of the last one in it."""
    below = [bisect_right(scores, edge) for edge in edges[1:-1]]
    return [b - a for a, b in zip([0, *below], [*below, len(scores)], strict=True)]


def _lanes(scored: Sequence[tuple[Result, float]], low: float, high: float) -> list[Lane]:
    lanes: list[Lane] = []
    for outcome in LISTED:
        own = [_x(x, low, high) for row, x in scored if row.outcome == outcome]
        if own:
            y = TOP + HEIGHT + 26 + LANE * len(lanes)
            lanes.append(Lane(outcome, len(own), y, tuple(sorted(set(own)))))
    return lanes


def _thresholds(
    rows: Sequence[Result], verdict: Verdict, strata: Mapping[str, Sequence[float]]
) -> list[tuple[float, str]]:
    """The clean score above which an item of each stratum is found by its score, at this run's Benjamini-Hochberg cut.

    Where none is found: above which one alone would be.
    """
    p = sorted(value for row in rows if (value := row.p.get("combined")) is not None)
    cuts = [verdict.fdr * k / verdict.planned for k, value in enumerate(p, 1) if value <= verdict.fdr * k / verdict.planned]
    cut = cuts[-1] if cuts else verdict.fdr / max(verdict.planned, 1)
    delta = (verdict.policy or {}).get("delta")
    found: list[tuple[float, str]] = []
    for number, scores in enumerate(strata.values(), 1):
        n = len(scores)
        levels = simes_levels(n, delta) if delta is not None and n > 1 else []
        rank = sum(level <= cut for level in levels[:n]) if levels else floor(cut * (n + 1) + 1e-9)
        if 1 <= rank <= n:
            which = f", kind {number} of {len(strata)}" if len(strata) > 1 else ""
            found.append((scores[n - rank], f"suspicious above{which}"))
    return found


def _missing(decides: bool, strata: Mapping[str, Sequence[float]], limits: Sequence[tuple[float, str]]) -> str:
    if not strata:
        return "No clean scores of this are there to compare with."
    if decides and not limits:
        return "No threshold is drawn: with so few clean prompts no single score can be told from them."
    return "" if decides else "This detector describes; it does not decide."


def _summary(
    title: str, scored: Sequence[tuple[Result, float]], clean: Sequence[float], limits: Sequence[tuple[float, str]]
) -> str:
    """The drawing in words, for those who do not see it."""
    values = [x for _, x in scored]
    parts = [f"{len(scored)} scanned items score {min(values):.3g} to {max(values):.3g} by {title}"]
    if clean:
        parts.append(f"{len(clean)} clean prompts score {clean[0]:.3g} to {clean[-1]:.3g}")
    parts += [f"{words} {value:.3g}" for value, words in limits]
    return "; ".join(parts)
