"""Dose-response: what was reproduced, and how high a detector scores, against the number of exposures.

Reproduced comes from a world's truth.jsonl (`memdetect lab truth`), scores from a run of its labelled prompts.
Intervals are percentile bootstraps over scenes, 95 %; the share of scenes is Clopper and Pearson's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from memdetect.errors import MemdetectError
from memdetect.judging.statistics.beta import interval
from memdetect.lab.theory.figures import pyplot
from memdetect.lab.world.compared import POOL
from memdetect.lab.world.recipe import TruthRow, read_truth
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement

OFTEN = 0.75  # share of an item's samples from which on it counts as reproduced
LEVEL = 0.95

Values = Float[np.ndarray, "_"]


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a detector is read: the layers that match a glob, of which the mean is taken, and a timestep."""

    detector: str = "spikiness"
    layers: str = "up_blocks.0.resnets.*"
    timestep: str = "50"

    def __str__(self) -> str:
        return f"{self.detector}, {self.layers}, t = {self.timestep}"

    def score(self, row: Measurement) -> float | None:
        """Mean over layers and seeds of an item; None where one is missing.

        Raises MemdetectError when the run has no such cell.
        """
        found = row.scores.get(self.detector)
        layers = found.cells.items() if found else ()
        cells = [times.get(self.timestep) for layer, times in layers if fnmatchcase(layer, self.layers)]
        kept = [cell for cell in cells if cell]
        if not kept or len(kept) != len(cells):
            raise MemdetectError(
                f"the run has no {self.detector} at {self.layers}, t = {self.timestep}; name a cell that was scanned"
            )
        values = [value for cell in kept for value in cell]
        return None if None in values else float(np.mean([v for v in values if v is not None]))


@dataclass(frozen=True, slots=True)
class Point:
    """One number of exposures: shares reproduced (one for each scene), and the scores of the scenes that have one."""

    exposures: int
    shares: Values
    scores: Values

    @property
    def often(self) -> int:
        """Scenes reproduced in at least 3 of 4 samples."""
        return int((self.shares >= OFTEN - 1e-9).sum())


def response(world: Path, run: Path, cell: Cell) -> list[Point]:
    """The curve of a folder with a judged truth.jsonl and a run of its labelled prompts, few exposures first.

    Raises MemdetectError as `Cell.score` and `points_of`.
    """
    scores = {row.id: cell.score(row) for row in RunFolder(run).measurements()}
    return points_of(read_truth(world), scores)


def points_of(
    truth: Sequence[TruthRow], scores: Mapping[str, float | None], groups: Sequence[str] = POOL
) -> list[Point]:
    """The points of the curve in the order of exposures; MemdetectError when nothing was judged."""
    rows = [row for row in truth if row.group in groups and row.reproduced is not None]
    if not rows:
        raise MemdetectError("truth.jsonl says of no scene what was reproduced; run `memdetect lab truth` first")
    points: list[Point] = []
    for exposures in sorted({row.exposures for row in rows}):
        own = [row for row in rows if row.exposures == exposures]
        kept = [value for row in own if (value := scores.get(row.id)) is not None]
        points.append(Point(exposures, np.array([row.reproduced for row in own], float), np.array(kept, float)))
    return points


def bootstrap(values: Values, draws: int = 4000) -> tuple[float, float]:
    """Percentile interval of the mean over items."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def report(points: Sequence[Point], cell: Cell) -> str:
    """The table in Markdown, and how score and exposures go together."""
    rank, p = trend(points)
    said = f"Spearman's correlation of score and exposures over scenes: {rank:.3f} (p = {p:.2g})"
    return f"{table(points, str(cell))}\n\n{said}"


def table(points: Sequence[Point], scored: str) -> str:
    """Markdown."""
    title = ["exposures", "scenes", "share of samples that are copies", "scenes copied in 3 of 4 samples", scored]
    lines = [f"| {' | '.join(title)} |", "|---" * len(title) + "|"]
    for point in points:
        low, high = bootstrap(point.shares)
        first, last = interval(point.often, len(point.shares), LEVEL)
        cells = [str(point.exposures), str(len(point.shares)), f"{point.shares.mean():.3f} [{low:.3f}, {high:.3f}]"]
        cells += [f"{point.often} [{first:.2f}, {last:.2f}]", _mean(point.scores)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Values) -> str:
    if len(values) < 2:
        return ""
    low, high = bootstrap(values)
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


def trend(points: Sequence[Point]) -> tuple[float, float]:
    """Spearman's rank correlation of score and exposures over scenes, and its two-sided p-value."""
    exposures = np.concatenate([np.full(len(p.scores), p.exposures) for p in points])
    found: Any = stats.spearmanr(exposures, np.concatenate([p.scores for p in points]))
    return float(found.statistic), float(found.pvalue)


def plot(points: Sequence[Point], scored: str, out: Path) -> None:
    """Share copied and score against exposures, with the intervals of the table. MemdetectError without matplotlib."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, values, label in ((axes[0], "shares", "share of samples that are copies"), (axes[1], "scores", scored)):
        kept = [(p.exposures, getattr(p, values)) for p in points if len(getattr(p, values)) > 1]
        means = np.array([v.mean() for _, v in kept])
        ends = np.array([bootstrap(v) for _, v in kept]).T
        axis.errorbar([str(e) for e, _ in kept], means, [means - ends[0], ends[1] - means], fmt="o-", capsize=3)
        axis.set(xlabel="exposures", ylabel=label)
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    plt.close(figure)
