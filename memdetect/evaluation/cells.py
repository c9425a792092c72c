"""From the rows of labelled runs to scores by cell (layer and timestep)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from memdetect.errors import MemdetectError
from memdetect.evaluation.estimates import Estimate, Sample, estimate
from memdetect.evaluation.groups import Labels
from memdetect.judging.statistics.auroc import auroc
from memdetect.runs.plan import RUN
from memdetect.runs.records import Measurement

PAPER_LAYERS, PAPER_TIMESTEP = "up_blocks.0.resnets.*", "50"

Key = tuple[str, str]  # layer, timestep


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

    def splits(self) -> tuple[set[str], set[str]]:
        """Ids of the tuning and of the test split."""
        return self.labels.splits()


def all_scores(rows: Sequence[Measurement], labels: Labels) -> dict[str, Scores]:
    """Scores of every detector that has some; MemdetectError where none has."""
    names = dict.fromkeys(name for row in rows for name in row.scores)
    found = {name: scores for name in names if (scores := scores_of(rows, labels, name)).cells}
    if not found:
        raise MemdetectError("no item has finite scores; see the notes of the run's items")
    return found


def scores_of(rows: Iterable[Measurement], labels: Labels, detector: str) -> Scores:
    """Scores of a detector: each layer, the mean of all, and the mean of the paper's where those are only some."""
    tables = {row.id: table for row in rows if (table := _table(row, detector)) is not None}
    layers = list(dict.fromkeys(layer for table in tables.values() for layer, _ in table))
    times = list(dict.fromkeys(t for table in tables.values() for _, t in table))
    paper = [layer for layer in layers if fnmatchcase(layer, PAPER_LAYERS)]
    means = {f"mean of all {len(layers)}": layers} if layers != [RUN[0]] else {}  # the run is no layer
    if paper and len(paper) < len(layers):
        means[f"mean of {PAPER_LAYERS}"] = paper
    cells: dict[Key, dict[str, float]] = {}
    for t in times:
        for name, members in {**{layer: [layer] for layer in layers}, **means}.items():
            cells[name, t] = {i: float(np.mean([table[m, t] for m in members])) for i, table in tables.items()}
    return Scores(cells, labels, [*layers[:1], *means][-1] if layers else "")


def _table(row: Measurement, detector: str) -> dict[Key, float] | None:
    """(layer, timestep) -> mean over the seeds; None when a value is missing or not finite."""
    found = row.scores.get(detector)
    if found is None:
        return None
    values = {(layer, t): seeds for layer, times in found.cells.items() for t, seeds in times.items()}
    if any(value is None for seeds in values.values() for value in seeds):
        return None
    return {key: float(np.mean([v for v in seeds if v is not None])) for key, seeds in values.items()}
