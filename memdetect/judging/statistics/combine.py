"""From the seeds of a prompt to one score, and from several detectors to one."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from memdetect.errors import MemdetectError

MOST = 3  # detectors that decide together; each further one costs power unless it adds


def quartile(seeds: Sequence[float]) -> float:
    """The lower upper quartile of a prompt's seeds: sorted ascending, number floor(0.75 (k - 1)) from 0.

    What about a quarter of the seeds reach: the lowest of 1 or 2, the second highest of 4, the third highest of 8.
    """
    return sorted(seeds)[3 * (len(seeds) - 1) // 4]


def of_seeds(values: Sequence[float], rule: str) -> float:
    """A prompt's score of its seeds' values: their lower upper `quartile`, their `mean`, or the one that all have.

    `prompt`: a detector that compares the seeds gives each the same value. Raises KeyError for another rule.
    """
    return {"quartile": quartile, "mean": fmean, "prompt": min}[rule](values)


@dataclass(frozen=True, slots=True)
class Tail:
    """A detector's scores on the tuning split, in ascending order, and its exponential tail above `start`."""

    scores: tuple[float, ...]
    start: float
    scale: float
    share: float

    def surprise(self, score: float) -> float:
        """How unusual a score is, in nats: -ln of its rank in that split up to `start`, extrapolated linearly above.

        It only orders: what a combined score may claim comes from its rank in the calibration split. In [0, inf).
        """
        top = -math.log(self.share)
        if score > self.start:
            return top + (score - self.start) / self.scale
        above = len(self.scores) - bisect_left(self.scores, score)
        return min(-math.log((1 + above) / (len(self.scores) + 1)), top)


def fit_tail(name: str, scores: Sequence[float]) -> Tail:
    """Fit a detector's tail on the tuning split: its upper max(10, 10 %) scores, by the mean of their excess.

    Raises MemdetectError for a detector that is constant there, or fewer than 11 scores.
    """
    ordered, q = tuple(sorted(scores)), max(10, math.ceil(len(scores) / 10))
    if len(ordered) <= q:
        raise MemdetectError(
            f"the tuning split has {len(ordered)} clean prompts, expected at least {q + 1}; calibrate with more"
        )
    start = ordered[-q - 1]
    scale = math.fsum(ordered[-q:]) / q - start
    if not scale > 0:
        raise MemdetectError(f"detector {name!r} is constant on the calibration prompts; leave it out")
    return Tail(ordered, start, scale, q / len(ordered))


def combined(tails: Mapping[str, Tail], scores: Mapping[str, float], by: str = "max") -> float:
    """The largest surprise of a prompt over all detectors that decide, or by `sum` their sum; KeyError if one lacks."""
    surprises = [tail.surprise(scores[name]) for name, tail in tails.items()]
    return math.fsum(surprises) if by == "sum" else max(surprises)
