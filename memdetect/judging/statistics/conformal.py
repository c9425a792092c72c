"""Conformal p-values: the rank of a score among those of clean prompts, and what n of them can show."""

import math
from bisect import bisect_left
from collections.abc import Sequence

from memdetect.errors import MemdetectError
from memdetect.judging.statistics.beta import incomplete_beta

_ULP = 1 + 1e-9  # what a product of floats may be off by


def rank(reference: Sequence[float], score: float) -> int:
    """1 + #{reference >= score} of reference scores in ascending order, from 1 to n + 1; ties count against the score.

    The numerator of the p-value. Raises MemdetectError for a score that is not a number.
    """
    if score != score:
        raise MemdetectError("a score that is not a number has no p-value; the item is inconclusive")
    return 1 + len(reference) - bisect_left(reference, score)


def p_value(reference: Sequence[float], score: float) -> float:
    """(1 + #{reference >= score}) / (1 + n) for reference scores in ascending order: never below 1 / (1 + n).

    Under exchangeability P(p <= a) <= a for every n. Raises MemdetectError for a score that is not a number.
    """
    return rank(reference, score) / (1 + len(reference))


def smallest_n(level: float) -> int:
    """How many clean prompts it takes until a p-value can be at most `level`: 19 for 5 %, 99 for 1 %."""
    return max(0, math.ceil(1 / level / _ULP) - 1)


def rank_at(n: int, level: float) -> int:
    """The largest rank whose p-value is at most `level`: floor(level * (n + 1)); 0 = none."""
    return math.floor(level * (n + 1) * _ULP)


def conditional_rank(n: int, level: float, delta: float) -> int:
    """The largest j such that flagging `rank <= j` has a true rate of at most `level` with probability 1 - delta.

    Over the draw of the n clean scores, that rate is Beta(j, n + 1 - j) (Vovk 2012). 0 = there is none.
    """
    low, high = 0, n
    while low < high:
        j = (low + high + 1) // 2
        good = incomplete_beta(level, j, n + 1 - j) >= 1 - delta
        low, high = (j, high) if good else (low, j - 1)
    return low


def smallest_conditional_n(level: float, delta: float) -> int:
    """How many clean prompts `conditional_rank` needs before it is 1: (1 - level)^n <= delta."""
    return math.ceil(math.log(delta) / math.log1p(-level) / _ULP)


def simes_levels(n: int, delta: float) -> list[float]:
    """p-values b_1 .. b_(n+1) of the ranks 1 .. n + 1 that are valid given the clean scores, but for a chance of delta.

    Bates, Candes, Lei, Romano, Sesia (2023), Simes adjustment with K = floor(n / 2): b_c = 1 - delta^(1/K) *
    [i (i-1) .. (i-K+1) / (n (n-1) .. (n-K+1))]^(1/K), i = n + 1 - c, and 1 where i < K. n >= 2.
    """
    k = n // 2
    whole = math.lgamma(n + 1) - math.lgamma(n - k + 1)

    def level(i: int) -> float:
        part = math.lgamma(i + 1) - math.lgamma(i - k + 1)
        return 1 - math.exp((math.log(delta) + part - whole) / k)

    return [level(n + 1 - c) if n + 1 - c >= k else 1.0 for c in range(1, n + 2)]
