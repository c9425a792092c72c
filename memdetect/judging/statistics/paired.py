"""Two shares of the same families: whether they differ, and by how much. Only families that changed tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from memdetect.judging.statistics.beta import incomplete_beta


@dataclass(frozen=True, slots=True)
class PairedShare:
    """Families flagged in two runs: in both, in the old one alone, in the new one alone, in neither.

    what: what flags a family. confidence: of the interval of the difference, new less old.
    """

    what: str
    both: int
    old_only: int
    new_only: int
    neither: int
    confidence: float = 0.95

    @property
    def families(self) -> int:
        """How many families could be compared."""
        return self.both + self.old_only + self.new_only + self.neither

    @property
    def old(self) -> int:
        """Families flagged in the old run."""
        return self.both + self.old_only

    @property
    def new(self) -> int:
        """Families flagged in the new run."""
        return self.both + self.new_only

    @property
    def difference(self) -> float:
        """Share flagged in the new run less that in the old one, in [-1, 1]; 0 where nothing could be compared."""
        return (self.new_only - self.old_only) / self.families if self.families else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The score interval of the difference."""
        return score_interval(self.new_only, self.old_only, self.families, self.confidence)

    @property
    def p(self) -> float:
        """Two-sided p-value of the exact McNemar test."""
        return mcnemar(self.new_only, self.old_only)


def paired_share(what: str, old: Mapping[str, bool], new: Mapping[str, bool], confidence: float) -> PairedShare:
    """Count the families that both runs tell of. old, new: family -> whether it is flagged."""
    shared = [(old[key], new[key]) for key in old.keys() & new.keys()]
    return PairedShare(
        what,
        both=shared.count((True, True)),
        old_only=shared.count((True, False)),
        new_only=shared.count((False, True)),
        neither=shared.count((False, False)),
        confidence=confidence,
    )


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p-value of McNemar's exact test: min(1, 2 P(Binomial(gained + lost, 1/2) <= the smaller)).

    1 where nothing changed. McNemar 1947, in the exact form of Cochran 1950.
    """
    fewer, more = sorted((gained, lost))
    return 1.0 if fewer == more else min(1.0, 2 * incomplete_beta(0.5, more, fewer + 1))


def score_interval(gained: int, lost: int, families: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two paired shares, (gained - lost) / families, within [-1, 1].

    All differences d that the score test does not reject: |gained - lost - n d| <= z sqrt(n (2 q + d (1 - d))), where q
    is the likeliest share of families lost if d holds. Tango 1998, Statistics in Medicine 17, 891-908.
    """
    if not families:
        return -1.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    difference = (gained - lost) / families
    low = _crossing(gained, lost, families, z, (-1.0, difference))
    high = _crossing(gained, lost, families, -z, (difference, 1.0))
    return low, high


def _crossing(gained: int, lost: int, n: int, z: float, within: tuple[float, float]) -> float:
    """The difference at which the score, which falls as it grows, is z; by bisection."""
    low, high = within
    for _ in range(100):
        middle = (low + high) / 2
        if _score(middle, gained, lost, n) >= z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(d: float, gained: int, lost: int, n: int) -> float:
    """The score statistic of a difference d; infinite where no share of lost families leaves it any variance."""
    variance = n * (2 * _likeliest(d, gained, lost, n) + d * (1 - d))
    distance = gained - lost - n * d
    if variance <= 0:
        return 0.0 if distance == 0 else distance * float("inf")
    return distance / sqrt(variance)


def _likeliest(d: float, gained: int, lost: int, n: int) -> float:
    """The likeliest share of families lost if the difference is d: the root of 2 n q^2 + B q - lost d (1 - d) = 0."""
    b = (2 * n - gained + lost) * d - gained - lost
    root = sqrt(max(0.0, b * b + 8 * n * lost * d * (1 - d)))
    return max(0.0, -d, (root - b) / (4 * n))
