"""What a count of flagged families bounds, and what a scan must be to bound it."""

import math
from dataclasses import dataclass
from typing import Literal

from memdetect.judging.statistics.beta import beta_binomial_cdf, lower_bound, upper_bound
from memdetect.judging.statistics.conformal import rank_at, smallest_n


@dataclass(frozen=True, slots=True)
class Rate:
    """Families flagged at a fixed level: `flagged` of `families`, and the upper bound of the share.

    copies: how many of the flagged ones hold a copy, whole or in part.
    rank: a prompt is flagged when at most `rank` - 1 of the n clean scores reach its own. limit: None = not limited.
    """

    flagged: int
    families: int
    rank: int
    n: int
    bound: float
    confidence: float
    limit: float | None = None
    copies: int = 0

    @property
    def level(self) -> float:
        """False-positive rate at which prompts were flagged."""
        return self.rank / (self.n + 1)

    @property
    def outcome(self) -> Literal["pass", "fail", "inconclusive"]:
        """Fail when share and bound exceed the limit, pass when neither does, inconclusive between."""
        if self.limit is None or self.bound <= self.limit:
            return "pass"
        return "fail" if self.flagged > self.limit * self.families else "inconclusive"


def flagging_level(level: float, limit: float | None) -> float:
    """The level at which families are flagged: a fifth of the limit at most, or clean models would fail by design."""
    return level if limit is None else min(level, limit / 5)


def count_rate(flagged: int, families: int, n: int, level: float, confidence: float, limit: float | None) -> Rate:
    """Bound the share of flagged families, one-sided Clopper-Pearson."""
    rank = rank_at(n, flagging_level(level, limit))
    return Rate(flagged, families, rank, n, upper_bound(flagged, families, confidence), confidence, limit)


def most_allowed(families: int, limit: float, confidence: float) -> int:
    """The largest number of flagged families whose upper bound is within the limit; -1 = not even none."""
    low, high = -1, families
    while low < high:
        x = (low + high + 1) // 2
        low, high = (x, high) if upper_bound(x, families, confidence) <= limit else (low, x - 1)
    return low


def pass_probability(families: int, n: int, level: float, limit: float, confidence: float) -> float:
    """P(the bound is within the limit | nothing memorized): flags of clean families are beta-binomial."""
    rank = rank_at(n, flagging_level(level, limit))
    allowed = most_allowed(families, limit, confidence)
    return beta_binomial_cdf(allowed, families, rank, n + 1 - rank) if rank else 0.0


def smallest_families(limit: float, confidence: float) -> int:
    """Fewest families that can show the limit, none flagged: ln(1 - confidence) / ln(1 - limit)."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-limit) / (1 + 1e-9))


def recommended_families(limit: float, confidence: float, allowed: int = 4) -> int:
    """Fewest families for which `allowed` flagged ones still pass; with n = 20 / limit a clean model passes .93."""
    low, high = smallest_families(limit, confidence), 40 * math.ceil((allowed + 3) / limit)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if upper_bound(allowed, middle, confidence) <= limit else (middle + 1, high)
    return low


def smallest_clean(level: float, limit: float | None) -> int:
    """Fewest clean prompts with which a prompt can be flagged at all."""
    return smallest_n(flagging_level(level, limit))


def memorized_share(flagged: int, families: int, found: int, canaries: int, confidence: float = 0.95) -> float:
    """Upper bound of the memorized share: CP_U(flagged) / CP_L(found of canaries), each at half the doubt; at most 1.

    It holds if memorized prompts are flagged as often as the canaries are, whatever the false-positive rate.
    """
    side = (1 + confidence) / 2
    sensitivity = lower_bound(found, canaries, side)
    share = upper_bound(flagged, families, side)
    return min(1.0, share / sensitivity) if sensitivity > 0 else 1.0
