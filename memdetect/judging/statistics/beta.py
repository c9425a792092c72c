"""Beta and beta-binomial probabilities, and exact bounds of a share, without scipy."""

import math
from functools import lru_cache

_TINY = 1e-300


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b) = P(Beta(a, b) <= x), in [0, 1]; a, b > 0.

    Continued fraction of DLMF 8.17.22 by Lentz's method, on the side of the mean where it converges fast.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log) * _fraction(x, a, b) / a
    return 1 - math.exp(log) * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or _TINY)
    value = d
    for i in range(1, 100_000):
        even = i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i))
        d = 1 / ((1 + even * d) or _TINY)
        c = (1 + even / c) or _TINY
        value *= c * d
        odd = -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1))
        d = 1 / ((1 + odd * d) or _TINY)
        c = (1 + odd / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


@lru_cache(maxsize=65536)
def beta_quantile(q: float, a: float, b: float) -> float:
    """The x in [0, 1] with I_x(a, b) = q, by bisection down to neighbouring numbers."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if incomplete_beta(middle, a, b) < q else (low, middle)
        if high - low < 1e-15 * high:
            break
    return (low + high) / 2


def upper_bound(x: float, n: float, confidence: float = 0.95) -> float:
    """One-sided Clopper-Pearson upper bound of a share: x found among n, both may be effective numbers; 1 for n = 0."""
    return 1.0 if x >= n else beta_quantile(confidence, x + 1, n - x)


def lower_bound(x: float, n: float, confidence: float = 0.95) -> float:
    """One-sided Clopper-Pearson lower bound of a share: x found among n; 0 for x = 0."""
    return 0.0 if x <= 0 else beta_quantile(1 - confidence, x, n - x + 1) if x < n else (1 - confidence) ** (1 / n)


def interval(x: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a share."""
    side = (1 + confidence) / 2
    return lower_bound(x, n, side), upper_bound(x, n, side)


def beta_binomial(k: int, m: int, a: float, b: float) -> float:
    """P(X = k) for X ~ Binomial(m, q) with q ~ Beta(a, b).

    So are the flags among m clean items with the threshold at the a-th largest of a + b - 1 clean scores.
    """
    choose = math.lgamma(m + 1) - math.lgamma(k + 1) - math.lgamma(m - k + 1)
    beta = math.lgamma(k + a) + math.lgamma(m - k + b) - math.lgamma(m + a + b)
    return math.exp(choose + beta - math.lgamma(a) - math.lgamma(b) + math.lgamma(a + b))


def beta_binomial_cdf(k: int, m: int, a: float, b: float) -> float:
    """P(X <= k) for the beta-binomial of `beta_binomial`; 0 for k < 0."""
    return min(1.0, math.fsum(beta_binomial(i, m, a, b) for i in range(min(k, m) + 1)))


def beta_binomial_interval(m: int, a: float, b: float, confidence: float = 0.95) -> tuple[int, int]:
    """Smallest counts l <= u with P(X < l) <= tail and P(X > u) <= tail, tail = (1 - confidence) / 2."""
    tail, total, low, high = (1 - confidence) / 2, 0.0, None, m
    for k in range(m + 1):
        total += beta_binomial(k, m, a, b)
        low = k if low is None and total > tail else low
        if total >= 1 - tail:
            high = k
            break
    return low or 0, high


def t_quantile(q: float, df: float) -> float:
    """Quantile of Student's t for q >= 1/2, through P(|T| > t) = I_{df / (df + t^2)}(df / 2, 1 / 2)."""
    x = beta_quantile(2 * (1 - q), df / 2, 0.5)
    return math.sqrt(df * (1 - x) / x) if x > 0 else math.inf
