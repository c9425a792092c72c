"""What is said of two samples of scores, higher = more memorized: the area between them, and counts at a fixed rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from memdetect.judging.statistics.auroc import auroc, auroc_interval

FEWEST = 10  # families of a class, below which an interval says nothing
LEVEL = 0.95
RATE = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """Scores of a group, and the family of each; those of one family are not independent."""

    scores: Sequence[float]
    families: Sequence[str]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Estimate:
    """AUROC of two samples, its interval (None where a sample is too small), and counts at a fixed false rate."""

    auroc: float
    low: float | None
    high: float | None
    positives: int
    negatives: int
    tpr_at_fpr: int
    false: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.auroc:.3f} (too few)"
        return f"{self.auroc:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(positive: Sample, negative: Sample) -> Estimate:
    """Everything that is reported of two samples; the interval counts families."""
    few = min(len(set(positive.families)), len(set(negative.families))) < FEWEST
    families = (positive.families, negative.families)
    low, high = (None, None) if few else auroc_interval(positive.scores, negative.scores, families)
    counts = tpr_at_fpr(positive.scores, negative.scores)
    return Estimate(auroc(positive.scores, negative.scores), low, high, len(positive), len(negative), *counts)


def tpr_at_fpr(positive: Sequence[float], negative: Sequence[float], rate: float = RATE) -> tuple[int, int]:
    """How many positives and negatives lie above the smallest threshold that flags at most `rate` of the negatives."""
    allowed = math.floor(rate * len(negative) + 1e-9)
    if allowed >= len(negative):
        return len(positive), len(negative)
    threshold = sorted(negative, reverse=True)[allowed]
    return sum(x > threshold for x in positive), sum(x > threshold for x in negative)


def shuffle(
    rng: np.random.Generator, labels: Bool[np.ndarray, " item"], families: Int[np.ndarray, " item"]
) -> Bool[np.ndarray, " item"]:
    """Labels as another random draw would deal them: within families that hold both kinds, of others family by family.

    Items of one family are not independent: a family of one kind gets one label as a whole.
    """
    _, first, own = np.unique(families, return_index=True, return_inverse=True)
    above, size = np.bincount(own, labels), np.bincount(own)
    both = (above > 0) & (above < size)
    dealt = labels.copy()
    for family in np.flatnonzero(both):
        rows = np.flatnonzero(own == family)
        dealt[rows] = labels[rng.permutation(rows)]
    whole = np.flatnonzero(~both)
    whole = whole[np.argsort(first[whole])]
    given = np.zeros(len(first), bool)
    given[whole] = labels[rng.permutation(first[whole])]
    return np.where(both[own], dealt, given[own])
