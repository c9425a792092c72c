"""Whether scanned prompts and clean ones are of one kind, seen in the bulk of their p-values."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

AT = (0.5, 0.1)
Z, GAP = 3.9, 0.05  # both must be exceeded: what is beyond chance, and what matters


@dataclass(frozen=True, slots=True)
class Bulk:
    """Share of prompts with a p-value of at most `level`, against the share expected of clean ones."""

    level: float
    share: float
    z: float

    @property
    def shifted(self) -> bool:
        """Too many or too few small p-values. Too few: finding nothing would prove nothing."""
        return abs(self.z) > Z and abs(self.share - self.level) > GAP


def bulk_check(ranks: Sequence[tuple[int, int]]) -> tuple[Bulk, ...]:
    """Compare shares of p <= 1/2 and p <= 1/10 with what clean prompts show; ranks: (rank, n) of each prompt.

    z = (share - a) / sqrt(a (1 - a) (1/m + 1/(n + 2))), a = floor(level (n + 1)) / (n + 1), two-sided. Prompts of
    several strata, each with its n, are added up. Leave out what was rejected. Empty for no prompts.
    """
    counts = Counter(ranks)
    sizes = Counter[int]()
    for (_, n), count in counts.items():
        sizes[n] += count if n else 0
    sizes = +sizes
    return tuple(_bulk(counts, sizes, level) for level in AT) if sizes else ()


def _bulk(ranks: Mapping[tuple[int, int], int], sizes: Mapping[int, int], level: float) -> Bulk:
    limits = {n: math.floor(level * (n + 1)) for n in sizes}
    shares = {n: limits[n] / (n + 1) for n in sizes}
    m = sum(sizes.values())
    expected = sum(count * shares[n] for n, count in sizes.items()) / m
    variance = sum(
        (count / m) ** 2 * shares[n] * (1 - shares[n]) * (1 / count + 1 / (n + 2)) for n, count in sizes.items()
    )
    share = sum(count for (c, n), count in ranks.items() if n and c <= limits[n]) / m
    return Bulk(expected, share, (share - expected) / math.sqrt(variance) if variance > 0 else 0.0)


def all_below(ranks: Sequence[tuple[int, int]]) -> bool:
    """Whether all prompts score below every clean one, beyond what chance does once in 10,000 runs.

    m clean prompts all fall below n clean ones with probability 1 / C(n + m, m).
    """
    if not ranks or any(c <= n for c, n in ranks):
        return False
    smallest = min(n for _, n in ranks)
    return math.comb(smallest + len(ranks), len(ranks)) > 10_000
