"""Which variant of a detector is reported: chosen on the tuning split, of which nothing else is said."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memdetect.evaluation.bench.asked import FEWEST, Comparison, Labelled, Split
from memdetect.evaluation.bench.variants import ALL, Variant
from memdetect.evaluation.cells import PAPER_TIMESTEP, scores_of
from memdetect.evaluation.estimates import tpr_at_fpr
from memdetect.evaluation.groups import Labels, Question
from memdetect.judging.statistics.auroc import auroc
from memdetect.runs.plan import RUN
from memdetect.runs.records import Measurement

LEVELS = (0.01, 0.05)  # false-positive rates that are reported
TIES = 1e-9  # by how much a value has to be better to be chosen over an earlier one


@dataclass(frozen=True, slots=True)
class Place:
    """Where a detector is read: a step of the run in words, a layer, a timestep; "" = as the detector names it."""

    step: str = ALL
    layer: str = ALL
    timestep: str = ALL

    def __str__(self) -> str:
        words = (self.step, self.layer, f"t={self.timestep}" if self.timestep else "")
        return ", ".join(word for word in words if word) or "its own"


@dataclass(frozen=True, slots=True)
class Cell:
    """A detector's scores at one place, by id; of prompts whose seeds all have a finite one, their mean."""

    detector: str
    place: Place
    record: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The variant of a detector that was best on the tuning split. scores: such that more is more memorized.

    turned: whether lower scores of the detector were the higher ones there. tuning: what it was chosen by. tried: how
    many variants there were, both signs counted.
    """

    cell: Cell
    turned: bool
    tuning: float
    tried: int
    scores: Mapping[str, float]

    @property
    def detector(self) -> str:
        """Its name."""
        return self.cell.detector

    def __str__(self) -> str:
        return f"{'-' if self.turned else ''}{self.cell.place}"


def cells_of(rows: Sequence[Measurement], variants: Sequence[Variant]) -> dict[str, list[Cell]]:
    """Every place of every detector, in the order in which they are listed."""
    found: dict[str, list[Cell]] = {}
    for variant in variants:
        found.setdefault(variant.detector, []).extend(_cells(rows, variant))
    return found


def _cells(rows: Sequence[Measurement], variant: Variant) -> Iterator[Cell]:
    name = variant.record.name
    if not variant.record.of_images:
        place = Place(variant.step, variant.layer)
        yield Cell(variant.detector, place, name, _of_run(rows, name))
        return
    # Labels play no part in reading the cells.
    labels = Labels({}, {}, {}, Question(""))
    found = scores_of(rows, labels, name)
    for layer, timestep in sorted(found.cells, key=lambda key: key != (found.default, PAPER_TIMESTEP)):
        yield Cell(variant.detector, Place(ALL, layer, timestep), name, found.cells[layer, timestep])


def _of_run(rows: Sequence[Measurement], name: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        values = row.scores[name].cells[RUN[0]][RUN[1]] if name in row.scores else [None]
        kept = [value for value in values if value is not None]
        if kept and len(kept) == len(values):
            found[row.id] = float(np.mean(kept))
    return found


def choose(cells: Sequence[Cell], labels: Labelled) -> Chosen | None:
    """The variant, with its sign, with the largest `objective` on the tuning split; None where none has one.

    Of equals the first: as the detector is, unturned.
    """
    best: Chosen | None = None
    for turned in (False, True):
        for cell in cells:
            scores = {name: -value for name, value in cell.scores.items()} if turned else cell.scores
            value = objective(scores, labels)
            if value is not None and (best is None or value > best.tuning + TIES):
                best = Chosen(cell, turned, value, 2 * len(cells), scores)
    return best


def objective(scores: Mapping[str, float], labels: Labelled, split: Split = "tuning") -> float | None:
    """Mean over the comparisons of the mean of two numbers, of those that there are; in [0, 1].

    The AUROC against the group's own controls, or against clean prompts where it has none, and the share found at 1 %
    of the clean prompts, or at 5 % where these are fewer than 100. None where a side has fewer than two scores.
    """
    found = [_value(scores, labels, each, split) for each in labels.asked.compared]
    kept = [value for value in found if value is not None]
    return None if len(kept) < len(found) else float(np.mean(kept))


def _value(scores: Mapping[str, float], labels: Labelled, each: Comparison, split: Split) -> float | None:
    asked = labels.asked
    positive = labels.sample(scores, [each.positive], split).scores
    clean = labels.sample(scores, asked.clean, split).scores
    rival = labels.sample(scores, [each.control], split).scores if each.control else clean
    if min(len(positive), len(rival)) < FEWEST:
        return None
    parts = [auroc(positive, rival)]
    level = next((level for level in LEVELS if len(clean) * level >= 1 - TIES), None)
    if level is not None:
        parts.append(tpr_at_fpr(positive, clean, level)[0] / len(positive))
    return float(np.mean(parts))
