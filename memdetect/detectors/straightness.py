"""Straightness: of a memorized prompt the way through the first steps turns little."""

import torch

from memdetect.detectors.detector import Detector, Scores
from memdetect.detectors.trajectory import place
from memdetect.probing.needs import NOISY, Need, Window
from memdetect.probing.trace import Trace

PLACES = Need(place, Window("at", NOISY, count=5), fewest=3)


def _score(trace: Trace) -> Scores:
    """Mean over neighbouring ways of the cosine of their directions, in [-1, 1]; nan where one has no length."""
    ways = trace.output(PLACES).float().diff(dim=0).flatten(3)
    units = ways / torch.linalg.vector_norm(ways, dim=-1, keepdim=True)
    return (units[:-1] * units[1:]).sum(dim=-1).mean(dim=0)


STRAIGHTNESS = Detector(
    name="straightness",
    needs=(PLACES,),
    score=_score,
    unit="1 (cosine)",
    reference="mean cosine of neighbouring ways of the network's input, own; see docs/reference/detectors.md",
    alias="curvature",
    seeds="mean",
    seen="a straight way through the first steps",
)
