"""What is said of two samples of scores, higher = more memorized: the area between them, and counts at a fixed rate."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from memdetect.statistics.auroc import auroc, auroc_interval

FEWEST = 10  # in a class, below which an interval says nothing
LEVEL = 0.95
RATE = 0.05

Positive = Float[np.ndarray, " positive"]
Negative = Float[np.ndarray, " negative"]


def caught(positive: Positive, negative: Negative, rate: float = RATE) -> tuple[int, int]:
    """How many positives and negatives lie above the smallest threshold that flags at most `rate` of the negatives."""
    allowed = math.floor(rate * len(negative) + 1e-9)
    if allowed >= len(negative):
        return len(positive), len(negative)
    threshold = np.sort(negative)[::-1][allowed]
    return int((positive > threshold).sum()), int((negative > threshold).sum())


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


def estimate(positive: Positive, negative: Negative) -> Estimate:
    """Everything that is reported of two samples."""
    few = min(len(positive), len(negative)) < FEWEST
    low, high = (None, None) if few else auroc_interval(positive.tolist(), negative.tolist())
    area = auroc(positive.tolist(), negative.tolist())
    return Estimate(area, low, high, len(positive), len(negative), *caught(positive, negative))
