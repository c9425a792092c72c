"""Scores of a trace: of each item as a whole, and at each layer and timestep for each of its seeds."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector
from memdetect.probing.trace import Trace
from memdetect.runs.records import Score


def scores_in(trace: Trace, detectors: Sequence[Detector]) -> list[dict[str, Score]]:
    """Of each item of a trace the score of each detector, and its cells: layer -> timestep -> one value for each seed.

    A detector is asked once for the whole trace, and once for each layer and timestep: all items and seeds at a time.
    """
    apart = trace.apart()
    found = [(detector.name, _scores(detector, trace, apart)) for detector in detectors]
    items = next(iter(trace.arrays.values())).shape[1]
    return [{name: scores[i] for name, scores in found} for i in range(items)]


def _scores(detector: Detector, trace: Trace, apart: Trace) -> list[Score]:
    """Scores of one detector; apart: the trace with each seed as an item."""
    whole = _numbers(detector.score(trace))
    seeds = next(iter(trace.arrays.values())).shape[2]
    cells: list[dict[str, dict[str, list[float | None]]]] = [{layer: {} for layer in trace.layers} for _ in whole]
    for layer in trace.layers:
        for step, timestep in enumerate(trace.timesteps):
            values = _numbers(detector.score(apart.select(layer=layer, step=step)))
            for i, own in enumerate(cells):
                own[layer][f"{timestep:g}"] = values[i * seeds : (i + 1) * seeds]
    return [Score(score=score, cells=own) for score, own in zip(whole, cells, strict=True)]


def _numbers(scores: Float[Tensor, " item"]) -> list[float | None]:
    """None where a score is not finite."""
    kept: list[bool] = scores.isfinite().tolist()
    return [value if finite else None for value, finite in zip(scores.tolist(), kept, strict=True)]
