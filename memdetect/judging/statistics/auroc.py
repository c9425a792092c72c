"""Areas under ROC curves, with intervals that know families."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from statistics import NormalDist

from memdetect.judging.statistics.beta import t_quantile

Z95 = NormalDist().inv_cdf(0.975)


def placements(scores: Sequence[float], others: Sequence[float]) -> list[float]:
    """For each score the share of `others` below it, ties counted half; in [0, 1]."""
    ordered = sorted(others)
    return [(bisect_left(ordered, x) + bisect_right(ordered, x)) / 2 / len(ordered) for x in scores]


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """P(positive > negative) + P(tie) / 2."""
    return math.fsum(placements(positive, negative)) / len(positive)


def clustered_variance(values: Sequence[float], families: Sequence[Hashable] | None = None) -> float:
    """Variance of a mean whose values come in families: F/(F-1) * sum_f (sum_{i in f} (y_i - mean))^2 / n^2.

    Obuchowski (1997). With families of one it is s^2 / n; infinite for a single family.
    """
    mean = math.fsum(values) / len(values)
    sums: dict[Hashable, float] = {}
    for key, value in zip(families or range(len(values)), values, strict=True):
        sums[key] = sums.get(key, 0.0) + value - mean
    if len(sums) < 2:
        return math.inf
    return len(sums) / (len(sums) - 1) * math.fsum(s * s for s in sums.values()) / len(values) ** 2


def delong_variance(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Variance of the area (DeLong, DeLong, Clarke-Pearson 1988), each score its own family."""
    below = placements(positive, negative)
    above = [1 - share for share in placements(negative, positive)]
    return clustered_variance(below) + clustered_variance(above)


def lower_area(positive: Sequence[float], negative: Sequence[float], confidence: float = 0.95) -> float:
    """One-sided DeLong lower bound of the area, in [0, 1]."""
    z = NormalDist().inv_cdf(confidence)
    return max(0.0, auroc(positive, negative) - z * math.sqrt(delong_variance(positive, negative)))


def auroc_interval(
    positive: Sequence[float],
    negative: Sequence[float],
    families: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
) -> tuple[float, float]:
    """95 % interval of the area: the hull of clustered DeLong on the logit scale and a score interval by families.

    Near 1, where DeLong's variance vanishes, the Hanley-McNeil score interval holds; families of both sides default to
    the scores themselves.
    """
    below, above = placements(positive, negative), [1 - p for p in placements(negative, positive)]
    first, second = families or (range(len(positive)), range(len(negative)))
    area = math.fsum(below) / len(below)
    counts = len(set(first)), len(set(second))
    score = _score_interval(area, *counts)
    parts = clustered_variance(below, first), clustered_variance(above, second)
    variance = sum(parts)
    if area in (0.0, 1.0):  # exactly: all of the smaller side on one side of the other, 0.025^(1 / families)
        exact = 0.025 ** (1 / min(counts))
        return (min(score[0], exact), 1.0) if area else (0.0, max(score[1], 1 - exact))
    if not 0 < variance < math.inf:
        return score
    df = variance**2 / sum(v * v / (f - 1) for v, f in zip(parts, counts, strict=True) if v > 0)
    half = t_quantile(0.975, df) * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    low, high = (1 / (1 + math.exp(-min(700, max(-700, logit + side * half)))) for side in (-1, 1))
    return min(low, score[0]), max(high, score[1])


def _score_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """All a with (A - a)^2 <= z^2 var(a), Hanley and McNeil's (1982) variance, found by bisection on either side."""

    def kept(a: float) -> bool:
        spread = 1 + (positives - 1) * (1 - a) / (2 - a) + (negatives - 1) * a / (1 + a)
        return (area - a) ** 2 <= Z95 * Z95 * a * (1 - a) * spread / (positives * negatives)

    def edge(inside: float, outside: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if kept(middle) else (inside, middle)
        return outside

    return edge(area, 0.0), edge(area, 1.0)
