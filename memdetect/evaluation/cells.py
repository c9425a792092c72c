"""From the rows of labelled runs to scores by cell (layer and timestep); one half to choose on, the other to report."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.evaluation.estimates import Estimate, Sample, estimate
from memdetect.judging.statistics.auroc import auroc
from memdetect.runs.records import Measurement

# What should score high, and what beside it should not; the cell is chosen against the first.
RIVALS: Mapping[str, tuple[str, ...]] = {
    "matched": ("control", "seen", "held-out"),
    "duplicated": ("control", "seen", "held-out"),  # as the first world calls it
    "verbatim": ("verbatim-control", "seen", "held-out"),
    "template": ("template-control", "seen", "held-out"),
}
HALVES = {"tuning": "choosing", "A": "choosing", "reporting": "reporting", "report": "reporting"}
PAPER_LAYERS, PAPER_TIMESTEP = "up_blocks.0.resnets.*", "50"

Key = tuple[str, str]  # layer, timestep


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
class Labels:
    """Group, family and, where known, part of every id; `positive` is the group that should score high.

    Items of one family are not independent of each other: they are drawn, shuffled and counted together.
    """

    groups: Mapping[str, str]
    parts: Mapping[str, str]
    families: Mapping[str, str]
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
        values, labels = self.cells[key], self.labels

        def sample(group: str) -> Sample:
            kept = [name for name in sorted(ids & values.keys()) if labels.groups[name] == group]
            return Sample([values[name] for name in kept], [labels.families[name] for name in kept])

        positive = sample(labels.positive)
        return {name: estimate(positive, negative) for name in labels.rivals if len(negative := sample(name))}

    def area(self, key: Key, ids: set[str]) -> float:
        """AUROC of the positive group against its first rival, among the given ids; nothing else is worked out."""
        values, groups = self.cells[key], self.labels.groups
        kept = sorted(ids & values.keys())
        positive, rival = (
            [values[i] for i in kept if groups[i] == g] for g in (self.labels.positive, self.labels.rivals[0])
        )
        return auroc(positive, rival)

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
    parts = {name: str(row["part"]) for name, row in found.items() if "part" in row}
    labels = Labels(groups, parts, {name: str(row.get("family", name)) for name, row in found.items()}, positive)
    if list(groups.values()).count(positive) < 2 or not labels.rivals:
        wanted = f"{positive} and of one of {', '.join(RIVALS[positive])}"
        raise MemdetectError(f"fewer than two items are of {wanted}; scan labelled prompts")
    return labels
