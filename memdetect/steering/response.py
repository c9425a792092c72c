"""The shape of a response to rising strength: how suddenly it comes, whether it turns back, where its middle lies."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

STILL = 1e-6  # total change below which a response has no shape


def _shares(strengths: Sequence[float], values: Sequence[float]) -> Float[np.ndarray, "2 interval"] | None:
    """Of each interval between strengths its share of the whole range, and of the whole change."""
    steps, widths = np.abs(np.diff(np.asarray(values, float))), np.diff(np.asarray(strengths, float))
    return None if steps.sum() <= STILL else np.stack([widths / widths.sum(), steps / steps.sum()])


def sharpness(strengths: Sequence[float], values: Sequence[float]) -> float | None:
    """How threshold-like a response is: the largest excess of an interval's share of the change over its width.

    max_j (|e_j+1 - e_j| / sum - (a_j+1 - a_j) / (a_n - a_0)): 0 for a straight line; 1 less the interval's share of
    the range where all change happens in one. None for a response that does not change. strengths: ascending.
    """
    found = _shares(strengths, values)
    return None if found is None else float((found[1] - found[0]).max())


def steadiness(strengths: Sequence[float], values: Sequence[float]) -> float | None:
    """How little a response turns back: |e_n - e_0| over the sum of |e_j+1 - e_j|; 1 if it only rises or only falls."""
    if _shares(strengths, values) is None:
        return None
    steps = np.diff(np.asarray(values, float))
    return float(abs(steps.sum()) / np.abs(steps).sum())


def midpoint(strengths: Sequence[float], values: Sequence[float]) -> float | None:
    """The strength, between those tried, at which half of all change has happened."""
    found = _shares(strengths, values)
    if found is None:
        return None
    return float(np.interp(0.5, np.concatenate([[0.0], np.cumsum(found[1])]), np.asarray(strengths, float)))
