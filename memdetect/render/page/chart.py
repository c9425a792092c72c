"""The histogram of a run's scores over those of the clean prompts, as numbers for an inline SVG and for its table."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite

from memdetect.judging import Verdict
from memdetect.judging.statistics.conformal import simes_levels
from memdetect.render.page.beside import Beside
from memdetect.render.shown import LISTED
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


def charts(header: Header, rows: Sequence[Result], verdict: Verdict, beside: Beside) -> list[Chart]:
    """A chart of what decides for each kind or stratum of prompts, then one of each other detector of the run."""
    plan, p = header.plan, _cut(rows, verdict)
    held = {clean.name: clean.strata for clean in beside.clean}
    strata = held.get("combined", {})
    apart = list(strata.items()) if 1 < len(strata) <= MOST else []
    made: list[Chart | None] = []
    for number, (name, clean) in enumerate(apart, 1):
        own = [row for row in rows if beside.stratum.get(row.index) == name]
        which = f", kind {name}" if beside.kinds else f", stratum {number} of {len(apart)}"
        made.append(_chart(_decider(header) + which, "combined", own, clean, _threshold(clean, p, verdict)))
    if not apart:
        clean = _pooled(strata)
        limit = _threshold(clean, p, verdict) if len(strata) == 1 else None
        made.append(_chart(_decider(header), "combined", rows, clean, limit))
    for name in [name for name in plan.detectors if len(plan.deciding) > 1 or name not in plan.deciding]:
        made.append(_chart(name, name, rows, _pooled(held.get(name, {})), None))
    return [chart for chart in made if chart is not None]


def _decider(header: Header) -> str:
    deciding = header.plan.deciding
    return deciding[0] if len(deciding) == 1 else f"{' and '.join(deciding)}, combined"


def _pooled(strata: Mapping[str, Sequence[float]]) -> list[float]:
    return sorted(x for own in strata.values() for x in own if isfinite(x))


def _chart(title: str, name: str, rows: Sequence[Result], clean: Sequence[float], limit: float | None) -> Chart | None:
    """One drawing; None where nothing was scored."""
    scored = [(row, x) for row in rows if (x := row.judged.get(name)) is not None and isfinite(x)]
    if not scored:
        return None
    values = sorted(x for _, x in scored)
    low, high = min([*values, *clean[:1]]), max([*values, *clean[-1:]])
    high = high if high > low else low + 1.0
    lanes = _lanes(scored, low, high)
    return Chart(
        name=title,
        decides=name == "combined",
        clean=len(clean),
        scanned=len(scored),
        bars=tuple(_bars(clean, values, low, high)),
        lanes=tuple(lanes),
        threshold=None if limit is None else (_x(limit, low, high), limit),
        marks=tuple((_x(v, low, high), f"{v:.3g}") for v in (low + (high - low) * k / 4 for k in range(5))),
        missing=_missing(name == "combined", clean, limit),
        width=LEFT + WIDTH + 16,
        height=TOP + HEIGHT + 24 + LANE * len(lanes) + 8,
        left=LEFT,
        top=TOP,
        bottom=TOP + HEIGHT,
        summary=_summary(values, clean, limit),
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
    below = [bisect_left(scores, edge) for edge in edges[1:-1]]
    return [b - a for a, b in zip([0, *below], [*below, len(scores)], strict=True)]


def _lanes(scored: Sequence[tuple[Result, float]], low: float, high: float) -> list[Lane]:
    lanes: list[Lane] = []
    for outcome in LISTED:
        own = [_x(x, low, high) for row, x in scored if row.outcome == outcome]
        if own:
            y = TOP + HEIGHT + 26 + LANE * len(lanes)
            lanes.append(Lane(outcome, len(own), y, tuple(sorted(set(own)))))
    return lanes


def _cut(rows: Sequence[Result], verdict: Verdict) -> float:
    """The p-value up to which Benjamini-Hochberg finds items in this run; where it finds none, of one alone."""
    p = sorted(value for row in rows if (value := row.p.get("combined")) is not None)
    step = verdict.fdr / max(verdict.planned, 1)
    found = [k for k, value in enumerate(p, 1) if value <= step * k]
    return step * (found[-1] if found else 1)


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


def _summary(values: Sequence[float], clean: Sequence[float], limit: float | None) -> str:
    """The drawing in words, for those who do not see it."""
    parts = [f"{len(values)} scanned items score {values[0]:.3g} to {values[-1]:.3g}"]
    if clean:
        parts.append(f"{len(clean)} clean prompts score {clean[0]:.3g} to {clean[-1]:.3g}")
    if limit is not None:
        parts.append(f"above {limit:.3g} an item is suspicious")
    return "; ".join(parts)
