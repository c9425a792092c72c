"""Areas under ROC curves and rates at fixed thresholds, with intervals that know families."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import NormalDist

from memdetect.judging.statistics.beta import interval, t_quantile

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


def tpr_at(positive: Sequence[float], negative: Sequence[float], level: float) -> float:
    """Best share of positives above a threshold whose empirical false-positive rate does not exceed the level.

    The papers' TPR@FPR: flag what is strictly above the (floor(level * n) + 1)-th largest clean score.
    """
    above = math.floor(level * len(negative) * (1 + 1e-12))
    if above >= len(negative):
        return 1.0
    threshold = sorted(negative, reverse=True)[above]
    return sum(x > threshold for x in positive) / len(positive)


def share_interval(hits: Sequence[bool], families: Sequence[Hashable], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share whose items come in families (Korn and Graubard 1998): Clopper-Pearson of an effective n.

    n_e = p (1 - p) / V * (t_{n-1} / t_{F-1})^2, at least 1 and at most n; the number of families where p is 0 or 1.
    """
    n, count = len(hits), len(set(families))
    p = sum(hits) / n
    if p in (0.0, 1.0) or count < 2:
        return interval(p * count, count, confidence)
    variance = clustered_variance([float(hit) for hit in hits], families)
    side = (1 + confidence) / 2
    effective = n if variance == 0 else p * (1 - p) / variance
    effective *= (t_quantile(side, n - 1) / t_quantile(side, count - 1)) ** 2
    effective = min(float(n), max(1.0, effective))
    return interval(p * effective, effective, confidence)


def sign_flip(
    first: Mapping[Hashable, float],
    second: Mapping[Hashable, float],
    draw: Callable[[int], int] | None = None,
    flips: int = 9_999,
) -> float:
    """Two-sided p-value of a difference between two detectors, by flipping the signs of families' differences.

    first, second: hits summed by family. Exact by enumeration for up to 20 families that differ, which for families of
    one is McNemar's test; else (1 + b) / (1 + flips) with random bits from `draw` (number of bits -> integer).
    """
    differences = [first[key] - second[key] for key in first if first[key] != second[key]]
    size, seen = len(differences), abs(math.fsum(differences))
    if draw is None and size > 20:
        raise ValueError(f"{size} families differ, at most 20 can be enumerated; give a source of random bits")

    def reaches(bits: int) -> bool:
        return abs(math.fsum(d if bits >> i & 1 else -d for i, d in enumerate(differences))) >= seen - 1e-9

    if draw is None or size <= 20:
        sums = {0.0: 1}  # how many ways of signs lead to each sum
        for d in differences:
            longer: dict[float, int] = {}
            for held, ways in sums.items():
                for value in (round(held + d, 9), round(held - d, 9)):
                    longer[value] = longer.get(value, 0) + ways
            sums = longer
        return sum(ways for value, ways in sums.items() if abs(value) >= seen - 1e-9) / 2**size
    return (1 + sum(reaches(draw(size)) for _ in range(flips))) / (1 + flips)
