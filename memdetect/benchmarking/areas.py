"""AUROC of two samples of scores, higher = more memorized, with intervals that hold for few samples and near 1."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.optimize import root_scalar

FEWEST = 10  # in a class, below which an interval says nothing
LEVEL = 0.95
RATE = 0.05

Positive = Float[np.ndarray, " positive"]
Negative = Float[np.ndarray, " negative"]


def placements(positive: Positive, negative: Negative) -> tuple[Positive, Negative]:
    """Share of negatives below each positive, and of positives above each negative; a tie counts half."""
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(axis=1), wins.mean(axis=0)


def auroc(positive: Positive, negative: Negative) -> float:
    """Probability that a positive scores above a negative, ties half; in [0, 1]."""
    return float(placements(positive, negative)[0].mean())


def delong_variances(positive: Positive, negative: Negative) -> tuple[float, float]:
    """The two parts of DeLong's variance of the AUROC: that of the positives drawn, and that of the negatives."""
    above, below = placements(positive, negative)
    return float(above.var(ddof=1) / len(above)), float(below.var(ddof=1) / len(below))


def logit_interval(positive: Positive, negative: Negative, level: float = LEVEL) -> tuple[float, float]:
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
    low = root_scalar(excess, bracket=(0, min(area, 1 - edge))).root if area > edge else 0.0
    high = root_scalar(excess, bracket=(max(area, edge), 1)).root if area < 1 - edge else 1.0
    return float(low), float(high)


def auroc_interval(positive: Positive, negative: Negative, level: float = LEVEL) -> tuple[float, float]:
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
    low, high = (None, None) if few else auroc_interval(positive, negative)
    area = auroc(positive, negative)
    return Estimate(area, low, high, len(positive), len(negative), *caught(positive, negative))
