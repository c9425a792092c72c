"""Intervals of means and of their differences by drawing families anew."""

import random
from collections.abc import Hashable, Sequence

DRAWS = 2000

Group = tuple[Sequence[float], Sequence[Hashable]]  # values, and the family of each


def mean_difference_interval(
    first: Group, second: Group | None = None, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of mean(first) - mean(second), or of mean(first) alone, over families drawn with repetition.

    Families that both groups share are drawn for both at once, those of one group among themselves, so that no draw
    lacks a group and pairs stay pairs. Deterministic for a seed. Both groups must have values.
    """
    sums: dict[Hashable, list[float]] = {}
    for side, (values, families) in enumerate((first, second or ([], []))):
        for value, family in zip(values, families, strict=True):
            row = sums.setdefault(family, [0.0, 0.0, 0.0, 0.0])
            row[2 * side] += value
            row[2 * side + 1] += 1
    kinds: dict[tuple[bool, bool], list[list[float]]] = {}
    for row in sums.values():
        kinds.setdefault((row[1] > 0, row[3] > 0), []).append(row)
    rng = random.Random(seed)
    found: list[float] = []
    for _ in range(draws):
        total = [0.0, 0.0, 0.0, 0.0]
        for rows in kinds.values():
            for row in rng.choices(rows, k=len(rows)):
                total = [a + b for a, b in zip(total, row, strict=True)]
        found.append(total[0] / total[1] - (total[2] / total[3] if total[3] else 0.0))
    found.sort()
    side = (1 - level) / 2
    return _quantile(found, side), _quantile(found, 1 - side)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between order statistics."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
