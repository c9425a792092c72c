"""Many prompts at once: Benjamini-Hochberg, and how many detections it takes with n clean prompts."""

import math
from collections import Counter
from collections.abc import Sequence

# Exact equalities of p * m and r * rate are the rule for ranks; bare floats would refuse some of them.
_ULP = 1 + 1e-9


def benjamini_hochberg(p: Sequence[float | None], rate: float, planned: int) -> list[bool]:
    """Which hypotheses are rejected at a false discovery rate, over `planned` of them; None = not measured, p = 1.

    The largest r with p_(r) * planned <= r * rate; all p up to p_(r) are rejected (Benjamini and Hochberg 1995).
    Conformal p-values that share their clean scores are positively dependent, so that the rate holds.
    """
    planned = max(planned, len(p))
    r, limit = 0, -1.0
    for value, times in sorted(Counter(value for value in p if value is not None).items()):  # many are equal
        r += times
        limit = value if value * planned <= r * rate * _ULP else limit
    return [value is not None and value <= limit for value in p]


def detections_needed(n: int, planned: int, rate: float, smallest: float | None = None) -> int:
    """h: how many prompts have to stand above all n clean ones before any can be rejected: ceil(m / (rate (n+1))).

    smallest: the least p-value there is, when it is not 1 / (n + 1).
    """
    return max(1, math.ceil(planned * (smallest or 1 / (n + 1)) / rate / _ULP))


def n_needed(planned: int, rate: float) -> int:
    """How many clean prompts it takes until a single detection can be rejected: planned / rate - 1."""
    return max(0, math.ceil(planned / rate / _ULP) - 1)


def chance_of_top(n: int, planned: int) -> float:
    """P(some of `planned` clean prompts stands above all n clean ones) = m / (m + n)."""
    return planned / (planned + n) if planned + n else 0.0
