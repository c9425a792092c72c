"""How well scores tell memorized prompts from others: AUROC with intervals, over layers and timesteps.

The best layer and timestep are chosen on one half of the prompts (parts tuning and A, or a half by hash) and reported
on the other (parts reporting and report). A score without calibration has no threshold; what false alarms cost is for
calibrated p-values to say.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.optimize import brentq

from memdetect.errors import MemdetectError
from memdetect.records import Measurement, RunFolder

# What should score high, and what beside it should not; the cell is chosen against the first.
RIVALS: Mapping[str, tuple[str, ...]] = {
    "matched": ("control", "seen", "held-out"),
    "verbatim": ("verbatim-control", "seen", "held-out"),
    "template": ("template-control", "seen", "held-out"),
}
HALVES = {"tuning": "choosing", "A": "choosing", "reporting": "reporting", "report": "reporting"}
PAPER_LAYERS, PAPER_TIMESTEP = "up_blocks.0.resnets.*", "50"
FEWEST = 10  # in a class, below which an interval says nothing
LEVEL = 0.95
RATE = 0.05

Vector = Float[np.ndarray, " n"]
Key = tuple[str, str]  # layer, timestep


# Statistics: pure functions of two samples of scores, higher = more memorized.


def placements(positive: Vector, negative: Vector) -> tuple[Vector, Vector]:
    """Share of negatives below each positive, and of positives above each negative; a tie counts half."""
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(axis=1), wins.mean(axis=0)


def auroc(positive: Vector, negative: Vector) -> float:
    """Probability that a positive scores above a negative, ties half; in [0, 1]."""
    return float(placements(positive, negative)[0].mean())


def delong_variances(positive: Vector, negative: Vector) -> tuple[float, float]:
    """The two parts of DeLong's variance of the AUROC: that of the positives drawn, and that of the negatives."""
    above, below = placements(positive, negative)
    return float(above.var(ddof=1) / len(above)), float(below.var(ddof=1) / len(below))


def logit_interval(positive: Vector, negative: Vector, level: float = LEVEL) -> tuple[float, float]:
    """DeLong's interval on the logit scale, t quantile with Satterthwaite's degrees of freedom.

    A single point where the scores show no variance: at AUROC 0 and 1, and when all scores are equal.
    """
    area, (v1, v0) = auroc(positive, negative), delong_variances(positive, negative)
    if v1 + v0 <= 0 or not 0 < area < 1:
        return area, area
    freedom = (v1 + v0) ** 2 / (v1**2 / (len(positive) - 1) + v0**2 / (len(negative) - 1))
    middle = math.log(area / (1 - area))
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(v1 + v0) / (area * (1 - area))
    return _expit(middle - reach), _expit(middle + reach)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def hanley_mcneil_variance(area: float, positives: int, negatives: int) -> float:
    """Variance of an AUROC whose true value is `area` (Hanley and McNeil 1982); 0 at 0 and 1."""
    one = (positives - 1) * (1 - area) / (2 - area)
    other = (negatives - 1) * area / (1 + area)
    return area * (1 - area) * (1 + one + other) / (positives * negatives)


def score_interval(area: float, positives: int, negatives: int, level: float = LEVEL) -> tuple[float, float]:
    """All true values a with (area - a)^2 <= z^2 * variance(a), the variance being Hanley and McNeil's."""
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2

    def excess(a: float) -> float:
        return (area - a) ** 2 - z2 * hanley_mcneil_variance(a, positives, negatives)

    edge = 1e-12  # at 0 and 1 the variance is 0 and `area` itself would be a root
    low = brentq(excess, 0, min(area, 1 - edge)) if area > edge else 0.0
    high = brentq(excess, max(area, edge), 1) if area < 1 - edge else 1.0
    return float(low), float(high)


def auroc_interval(positive: Vector, negative: Vector, level: float = LEVEL) -> tuple[float, float]:
    """Hull of the logit and the score interval; each prompt counts as independent of the others.

    DeLong's interval alone is too short near 1; there the score interval takes over. At AUROC 1 (and mirrored at 0) the
    exact bound ((1 - level) / 2) ** (1 / smaller sample) is in the hull as well.
    """
    area = auroc(positive, negative)
    both = (logit_interval(positive, negative, level), score_interval(area, len(positive), len(negative), level))
    low, high = min(low for low, _ in both), max(high for _, high in both)
    exact = ((1 - level) / 2) ** (1 / min(len(positive), len(negative)))
    if area == 1:
        low = min(low, exact)
    if area == 0:
        high = max(high, 1 - exact)
    return low, high


def caught(positive: Vector, negative: Vector, rate: float = RATE) -> tuple[int, int]:
    """How many positives and negatives lie above the smallest threshold that flags at most `rate` of the negatives."""
    allowed = math.floor(rate * len(negative) + 1e-9)
    if allowed >= len(negative):
        return len(positive), len(negative)
    threshold = np.sort(negative)[::-1][allowed]
    return int((positive > threshold).sum()), int((negative > threshold).sum())


def halves(groups: Mapping[str, str], parts: Mapping[str, str] | None = None) -> tuple[set[str], set[str]]:
    """Ids for choosing and ids for reporting, from id -> group and id -> part of the world.

    Part B belongs to neither. Ids without a part are halved by the first bit of their sha256, except that the cut is
    moved to each group's median, so that every group is halved; of an odd group the reporting half has one more.
    """
    known = {name: HALVES.get(part) for name, part in (parts or {}).items() if name in groups}
    choosing = {name for name, half in known.items() if half == "choosing"}
    reporting = {name for name, half in known.items() if half == "reporting"}
    for group in set(groups.values()):
        members = sorted(
            (name for name, own in groups.items() if own == group and name not in known),
            key=lambda s: hashlib.sha256(s.encode()).digest(),
        )
        choosing.update(members[: len(members) // 2])
        reporting.update(members[len(members) // 2 :])
    return choosing, reporting


@dataclass(frozen=True, slots=True)
class Estimate:
    """AUROC of two samples, its interval (None where a sample is too small), and counts at a fixed false rate."""

    auroc: float
    low: float | None
    high: float | None
    positives: int
    negatives: int
    caught: int
    false: int


def estimate(positive: Vector, negative: Vector) -> Estimate:
    """Everything that is reported of two samples."""
    few = min(len(positive), len(negative)) < FEWEST
    low, high = (None, None) if few else auroc_interval(positive, negative)
    area = auroc(positive, negative)
    return Estimate(area, low, high, len(positive), len(negative), *caught(positive, negative))


# From a run to tables.


@dataclass(frozen=True, slots=True)
class Labels:
    """Group and, where known, part of every id; `positive` is the group that should score high."""

    groups: Mapping[str, str]
    parts: Mapping[str, str]
    positive: str = "matched"

    @property
    def rivals(self) -> tuple[str, ...]:
        """The groups to compare with that have enough items."""
        return tuple(g for g in RIVALS[self.positive] if list(self.groups.values()).count(g) >= 2)


@dataclass(frozen=True, slots=True)
class Scores:
    """A detector's scores in a run: (layer or mean of layers, timestep) -> id -> score; the labels of the ids.

    default: the row that stands for the paper's layers.
    """

    cells: Mapping[Key, Mapping[str, float]]
    labels: Labels
    default: str

    def estimates(self, key: Key, ids: set[str]) -> dict[str, Estimate]:
        """The positive group against each rival, among the given ids."""
        values, groups = self.cells[key], self.labels.groups

        def sample(group: str) -> np.ndarray:
            return np.array([values[name] for name in sorted(ids & values.keys()) if groups[name] == group])

        positive = sample(self.labels.positive)
        negatives = {rival: sample(rival) for rival in self.labels.rivals}
        return {name: estimate(positive, negative) for name, negative in negatives.items() if len(negative)}

    def halves(self) -> tuple[set[str], set[str]]:
        """Ids for choosing and for reporting."""
        return halves(self.labels.groups, self.labels.parts)


def scores_of(rows: Iterable[Measurement], labels: Labels, detector: str) -> Scores:
    """Scores of a detector: each layer, the mean of all, and the mean of the paper's where those are only some."""
    tables = {row.id: table for row in rows if (table := _table(row, detector)) is not None}
    layers = list(dict.fromkeys(layer for table in tables.values() for layer, _ in table))
    times = list(dict.fromkeys(t for table in tables.values() for _, t in table))
    paper = [layer for layer in layers if fnmatchcase(layer, PAPER_LAYERS)]
    means = {f"mean of all {len(layers)}": layers}
    if paper and len(paper) < len(layers):
        means[f"mean of {PAPER_LAYERS}"] = paper
    cells: dict[Key, dict[str, float]] = {}
    for t in times:
        for name, members in {**{layer: [layer] for layer in layers}, **means}.items():
            cells[name, t] = {i: float(np.mean([table[m, t] for m in members])) for i, table in tables.items()}
    return Scores(cells, labels, list(means)[-1])


def _table(row: Measurement, detector: str) -> dict[Key, float] | None:
    """(layer, timestep) -> mean over the seeds; None when a value is missing or not finite."""
    found = row.scores.get(detector)
    if found is None:
        return None
    values = {(layer, t): seeds for layer, times in found.cells.items() for t, seeds in times.items()}
    if any(value is None for seeds in values.values() for value in seeds):
        return None
    return {key: float(np.mean([v for v in seeds if v is not None])) for key, seeds in values.items()}


def labels_of(rows: Iterable[Measurement], truth: Path | None, positive: str) -> Labels:
    """Group and part of every measured id: from the truth file (JSON lines with id and group), else from the run."""
    lines = truth.read_text(encoding="utf-8").splitlines() if truth else []
    given = {str(row["id"]): row for row in map(json.loads, filter(str.strip, lines)) if "group" in row}
    found = {row.id: given.get(row.id, row.meta) for row in rows}
    for name, row in found.items():
        if not row.get("group"):
            raise MemdetectError(f"item {name} has no group; scan a world's prompt files, or give its truth.jsonl")
    groups = {name: str(row["group"]) for name, row in found.items()}
    labels = Labels(groups, {name: str(row["part"]) for name, row in found.items() if "part" in row}, positive)
    if list(groups.values()).count(positive) < 2 or not labels.rivals:
        wanted = f"{positive} and of one of {', '.join(RIVALS[positive])}"
        raise MemdetectError(f"fewer than two items are of {wanted}; scan labelled prompts")
    return labels


def chosen_rows(scores: Scores) -> Iterator[tuple[str, Key, dict[str, Estimate]]]:
    """What is reported: the best cell where it was chosen, then on the other half the best, the default, the worst."""
    choosing, reporting = scores.halves()
    rival = scores.labels.rivals[0]
    order = sorted(scores.cells, key=lambda key: -scores.estimates(key, choosing)[rival].auroc)
    yield "chosen (selection)", order[0], scores.estimates(order[0], choosing)
    yield "chosen", order[0], scores.estimates(order[0], reporting)
    if (default := (scores.default, PAPER_TIMESTEP)) in scores.cells:
        yield "default", default, scores.estimates(default, reporting)
    yield "worst", order[-1], scores.estimates(order[-1], reporting)


def table(all_scores: Mapping[str, Scores]) -> str:
    """The main table in Markdown; the counts at 5 % false are against the first rival."""
    rivals = next(iter(all_scores.values())).labels.rivals
    titles = ["detector", "cell", "layer", "t", *(f"AUROC, {r}" for r in rivals), "caught at 5 % false", "false"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for detector, scores in all_scores.items():
        for what, (layer, t), found in chosen_rows(scores):
            first = found[rivals[0]]
            counts = [f"{first.caught}/{first.positives}", f"{first.false}/{first.negatives}"]
            areas = [_area(found[r], what) if r in found else "" for r in rivals]
            lines.append(f"| {' | '.join([detector, what, layer, t, *areas, *counts])} |")
    return "\n".join(lines)


def _area(found: Estimate, what: str) -> str:
    if "selection" in what:
        return f"{found.auroc:.3f}"
    if found.low is None or found.high is None:
        return f"{found.auroc:.3f} (too few)"
    return f"{found.auroc:.3f} [{found.low:.3f}, {found.high:.3f}]"


def grid(scores: Scores, rival: str) -> str:
    """AUROC of every cell on the reporting half, in Markdown."""
    _, reporting = scores.halves()
    times = list(dict.fromkeys(t for _, t in scores.cells))
    lines = [f"| layer | {' | '.join(f't = {t}' for t in times)} |", "|---" * (len(times) + 1) + "|"]
    for layer in dict.fromkeys(layer for layer, _ in scores.cells):
        areas = [f"{scores.estimates((layer, t), reporting)[rival].auroc:.3f}" for t in times]
        lines.append(f"| {layer} | {' | '.join(areas)} |")
    return "\n".join(lines)


def document(all_scores: Mapping[str, Scores]) -> dict[str, dict[str, list[dict[str, object]]]]:
    """All estimates as plain data: `table` as printed, `grid` = every cell on the reporting half with intervals."""

    def row(key: Key, found: Mapping[str, Estimate], **more: str) -> dict[str, object]:
        return {**more, "layer": key[0], "timestep": key[1], **{name: asdict(e) for name, e in found.items()}}

    return {
        detector: {
            "table": [row(key, found, cell=what) for what, key, found in chosen_rows(scores)],
            "grid": [row(key, scores.estimates(key, scores.halves()[1])) for key in scores.cells],
        }
        for detector, scores in all_scores.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a finished run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders written by memdetect scan, with the same settings")
    parser.add_argument("--truth", type=Path, help="JSON lines with id, group and part, where the inputs had none")
    parser.add_argument("--positive", choices=list(RIVALS), default="matched", help="the group that should score high")
    parser.add_argument("--grids", action="store_true", help="print the AUROC of every cell as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all estimates here as well")
    given = parser.parse_args(arguments)
    try:
        rows = [row for run in given.runs for row in RunFolder(run).measurements()]
        labels = labels_of(rows, given.truth, given.positive)
    except MemdetectError as problem:
        parser.error(str(problem))
    detectors = dict.fromkeys(name for row in rows for name in row.scores)
    all_scores = {detector: scores_of(rows, labels, detector) for detector in detectors}
    counted = (given.positive, *labels.rivals)
    counts = ", ".join(f"{list(labels.groups.values()).count(name)} {name}" for name in counted)
    ids = {name for name, group in labels.groups.items() if group in counted}
    kept = [len(ids & next(iter(scores.cells.values())).keys()) for scores in all_scores.values()]
    print(f"{counts}; left out, not finite or unreadable: {len(ids) - min(kept, default=0)}. Intervals 95 %.\n")
    print(table(all_scores))
    print("\n`selection`: the half on which the cell was chosen, biased upwards. All else: the other half.")
    for detector, scores in all_scores.items() if given.grids else ():
        for rival in labels.rivals:
            print(f"\n{detector}: AUROC of {given.positive} against {rival}, reporting half\n\n{grid(scores, rival)}")
    if given.json:
        given.json.write_text(json.dumps(document(all_scores), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
