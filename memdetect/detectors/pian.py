"""PIAN on a model's own samples: noise that the network itself expects is expected again further up."""

import math

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

SHARE = 0.2  # of the schedule, where the noise is expected again: t = 200 of 1000


def pian_distance(step: Step) -> Float[Tensor, " batch"]:
    """||e - eps(signal x0 + noise e, t)||_4^4 summed over all values, e = eps(x0, 0) of mean size sqrt(2 / pi).

    x0 is shown at t = 0 without noise, in the network's own unit: as it is, but of an EDM sampler over sigma_data.
    """
    timestep = round(SHARE * step.last)
    least, amount = step.level_at(0)
    first = step.at(step.x * least / (1 - amount**2) ** 0.5, 0).prediction.noise
    size = first.abs().flatten(1).mean(dim=1).view(-1, 1, 1, 1)
    noise = first / size * math.sqrt(2 / math.pi)
    signal, amount = step.level_at(timestep)
    again = step.at(signal * step.x + amount * noise, timestep).prediction.noise
    return (noise - again).pow(4).flatten(1).sum(dim=1)


NEED = Need(pian_distance, AFTER, further=2)


def _score(trace: Trace) -> Scores:
    return -trace.output(NEED)[0]


PIAN = Detector(
    name="pian",
    needs=(NEED,),
    score=_score,
    unit="fourth power of that of the noise",
    reference="Kong et al., ICLR 2024 (arXiv 2305.18355), PIAN, on the model's own samples with their prompt",
    alias="kong2024",
    seeds="mean",
    latents=True,
    seen="an image that the network holds on to",
)
