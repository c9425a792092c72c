"""Dose and response: what was reproduced, and how high a detector scores, against the number of exposures.

Reproduced comes from a world's truth.jsonl (`memdetect lab truth`), scores from a run of its labelled prompts.
Intervals are percentile bootstraps over scenes, 95 %; the share of scenes is Clopper and Pearson's.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from scipy import stats

from memdetect.errors import MemdetectError
from memdetect.lab.world.recipe import TruthRow, read_truth
from memdetect.runs.folder import RunFolder
from memdetect.runs.records import Measurement

POOL = ("control", "ladder", "matched")
OFTEN = 0.75  # share of an item's samples from which on it counts as reproduced
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Rung:
    """One number of exposures: shares reproduced (one for each scene), and the scores of the scenes that have one."""

    exposures: int
    shares: np.ndarray
    scores: np.ndarray

    @property
    def often(self) -> int:
        """Scenes reproduced in at least 3 of 4 samples."""
        return int((self.shares >= OFTEN - 1e-9).sum())


def bootstrap(values: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """Percentile interval of the mean over items."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clopper_pearson(hits: int, total: int) -> tuple[float, float]:
    """Exact interval of a share."""
    found = stats.binomtest(hits, total).proportion_ci(LEVEL, "exact")
    return float(found.low), float(found.high)


def score_of(row: Measurement, detector: str, layers: str, timestep: str) -> float | None:
    """Mean of a detector over the layers that match a glob and over seeds, at one timestep; None where one is missing.

    Raises MemdetectError when the run has no such cell.
    """
    found = row.scores.get(detector)
    cells = [times.get(timestep) for layer, times in found.cells.items() if fnmatchcase(layer, layers)] if found else []
    kept = [cell for cell in cells if cell]
    if not kept or len(kept) != len(cells):
        raise MemdetectError(f"the run has no {detector} at {layers}, t = {timestep}; name a cell that was scanned")
    values = [value for cell in kept for value in cell]
    return None if None in values else float(np.mean([v for v in values if v is not None]))


def rungs_of(truth: Sequence[TruthRow], scores: dict[str, float | None], groups: Sequence[str] = POOL) -> list[Rung]:
    """The rungs of the ladder in the order of exposures; MemdetectError when nothing was judged."""
    rows = [row for row in truth if row.group in groups and row.reproduced is not None]
    if not rows:
        raise MemdetectError("truth.jsonl says of no scene what was reproduced; run `memdetect lab truth` first")
    rungs: list[Rung] = []
    for exposures in sorted({row.exposures for row in rows}):
        own = [row for row in rows if row.exposures == exposures]
        kept = [value for row in own if (value := scores.get(row.id)) is not None]
        rungs.append(Rung(exposures, np.array([row.reproduced for row in own]), np.array(kept)))
    return rungs


def table(rungs: Sequence[Rung], scored: str) -> str:
    """Markdown."""
    title = ["exposures", "scenes", "share of samples that are copies", "scenes copied in 3 of 4 samples", scored]
    lines = [f"| {' | '.join(title)} |", "|---" * len(title) + "|"]
    for rung in rungs:
        low, high = bootstrap(rung.shares)
        first, last = clopper_pearson(rung.often, len(rung.shares))
        cells = [str(rung.exposures), str(len(rung.shares)), f"{rung.shares.mean():.3f} [{low:.3f}, {high:.3f}]"]
        cells += [f"{rung.often} [{first:.2f}, {last:.2f}]", _mean(rung.scores)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: np.ndarray) -> str:
    if len(values) < 2:
        return ""
    low, high = bootstrap(values)
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


def trend(rungs: Sequence[Rung]) -> tuple[float, float]:
    """Spearman's rank correlation of score and exposures over scenes, and its two-sided p-value."""
    exposures = np.concatenate([np.full(len(r.scores), r.exposures) for r in rungs])
    found = stats.spearmanr(exposures, np.concatenate([r.scores for r in rungs]))
    return float(found.statistic), float(found.pvalue)


def plot(rungs: Sequence[Rung], scored: str, out: Path) -> None:
    """Share copied and score against exposures, with the intervals of the table. Needs matplotlib (extra `report`)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, values, label in ((axes[0], "shares", "share of samples that are copies"), (axes[1], "scores", scored)):
        kept = [(r.exposures, getattr(r, values)) for r in rungs if len(getattr(r, values)) > 1]
        means = np.array([v.mean() for _, v in kept])
        ends = np.array([bootstrap(v) for _, v in kept]).T
        axis.errorbar([str(e) for e, _ in kept], means, [means - ends[0], ends[1] - means], fmt="o-", capsize=3)
        axis.set(xlabel="exposures", ylabel=label)
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path, help="folder with truth.jsonl, judged")
    parser.add_argument("run", type=Path, help="run of labelled.jsonl")
    parser.add_argument("--detector", default="spikiness")
    parser.add_argument("--layers", default="up_blocks.0.resnets.*", help="glob; the mean over what matches is shown")
    parser.add_argument("--timestep", default="50")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    given = parser.parse_args(arguments)
    scored = f"{given.detector}, {given.layers}, t = {given.timestep}"
    try:
        rows = list(RunFolder(given.run).measurements())
        scores = {row.id: score_of(row, given.detector, given.layers, given.timestep) for row in rows}
        rungs = rungs_of(read_truth(given.world), scores)
    except MemdetectError as problem:
        parser.error(str(problem))
    print(table(rungs, scored))
    rank, p = trend(rungs)
    print(f"\nSpearman's correlation of score and exposures over scenes: {rank:.3f} (p = {p:.2g})")
    if given.plot:
        plot(rungs, scored, given.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
