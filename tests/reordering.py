"""A trace with its items in another order, for tests that batch mates and order change nothing."""

from collections.abc import Sequence
from dataclasses import replace

from memdetect.probing.trace import Trace


def reordered(trace: Trace, items: Sequence[int]) -> Trace:
    """The same trace with its items in this order."""
    rows = list(items)
    latents = None if trace.latents is None else trace.latents[rows]
    return replace(trace, arrays={key: array[:, rows] for key, array in trace.arrays.items()}, latents=latents)
