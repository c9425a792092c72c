"""The value that has to be exceeded for a conformal p-value of at most a level."""

from collections.abc import Sequence
from math import floor


def quantile(reference: Sequence[float], level: float) -> tuple[float | None, bool]:
    """The value that must be exceeded for a p-value of at most `level`, and whether n can show that level.

    p = (1 + #{reference >= s}) / (1 + n) <= level needs #{reference >= s} <= level * (n + 1) - 1 =: m, so that s
    exceeds the (m + 1)-th largest. For m < 0 none does: the largest is given, beyond which p = 1 / (n + 1).
    """
    allowed = floor(level * (len(reference) + 1) + 1e-9) - 1
    if not reference:
        return None, False
    return reference[len(reference) - 1 - max(allowed, 0)], allowed >= 0
