"""Scores of a trace: of each item as a whole, and at each of a detector's places for each of its seeds."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector
from memdetect.judging.statistics.combine import of_seeds
from memdetect.probing.trace import Trace
from memdetect.runs.plan import RUN
from memdetect.runs.records import Score

Place = tuple[str, str]


def scores_in(trace: Trace, detectors: Sequence[Detector], seeds: int = 0) -> list[dict[str, Score]]:
    """Of each item of a trace the score of each detector, and its cells: layer -> timestep -> one value for each seed.

    A detector is asked once for each of its places: all items and seeds at a time. seeds: of how many the score of a
    prompt is made, where an item holds several times as many, each of which are compared among themselves; 0 = all.
    """
    count = seeds or trace.shape[1]
    apart = trace.grouped(count) if count != trace.shape[1] else trace
    found = [(detector, _cells(detector, apart)) for detector in detectors]
    return [
        {detector.name: _score(detector, cells, i, trace.shape[1]) for detector, cells in found}
        for i in range(trace.shape[0])
    ]


def places_of(detector: Detector, trace: Trace) -> list[tuple[Place, Trace]]:
    """Each place at which a detector is read, and the part of the trace that is read there."""
    if not detector.of_images:
        return [(RUN, trace)]
    return [
        ((layer, f"{timestep:g}"), trace.select(layer=layer, step=step))
        for layer in trace.layers
        for step, timestep in enumerate(trace.timesteps)
    ]


def _cells(detector: Detector, trace: Trace) -> dict[Place, list[list[float | None]]]:
    """Place -> for each item one value a seed; None where it is not finite."""
    return {place: _numbers(detector.score(part)) for place, part in places_of(detector, trace)}


def _score(detector: Detector, cells: dict[Place, list[list[float | None]]], item: int, seeds: int) -> Score:
    kept: dict[str, dict[str, list[float | None]]] = {}
    for (layer, timestep), values in cells.items():
        groups = seeds // len(values[0])
        own = [value for row in values[item * groups : (item + 1) * groups] for value in row]
        kept.setdefault(layer, {})[timestep] = own
    every = [values for times in kept.values() for values in times.values()]
    return Score(score=_whole(every, detector), cells=kept)


def _whole(cells: Sequence[Sequence[float | None]], detector: Detector) -> float | None:
    """The prompt's score as it is judged: of each seed the mean over places, then by the detector's rule over seeds."""
    numbers = [[value for value in values if value is not None] for values in cells]
    if any(len(own) != len(values) for own, values in zip(numbers, cells, strict=True)):
        return None
    return of_seeds([sum(own) / len(cells) for own in zip(*numbers, strict=True)], detector.seeds)


def _numbers(scores: Float[Tensor, "item seed"]) -> list[list[float | None]]:
    """None where a score is not finite."""
    finite = scores.isfinite().tolist()
    rows = zip(scores.tolist(), finite, strict=True)
    return [[value if kept else None for value, kept in zip(own, whole, strict=True)] for own, whole in rows]
