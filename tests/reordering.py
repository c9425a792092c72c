"""A trace with its items, or its seeds, in another order, for tests that batch mates and order change nothing."""

from collections.abc import Sequence
from dataclasses import replace

from memdetect.probing.trace import Trace


def reordered(trace: Trace, items: Sequence[int]) -> Trace:
    """The same trace with its items in this order."""
    rows = list(items)
    latents = None if trace.latents is None else trace.latents[rows]
    families = tuple(trace.families[i] for i in rows) if trace.families else ()
    arrays = {key: array[:, rows] for key, array in trace.arrays.items()}
    return replace(trace, arrays=arrays, latents=latents, families=families)


def reseeded(trace: Trace, seeds: Sequence[int]) -> Trace:
    """The same trace with the seeds of each item in this order."""
    columns = list(seeds)
    latents = None if trace.latents is None else trace.latents[:, columns]
    return replace(trace, arrays={key: array[:, :, columns] for key, array in trace.arrays.items()}, latents=latents)
