"""Anisotropy: length of the gap of pure noise, and its direction where the network takes that for nearly clean."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

LENGTH, COSINE = 1.0, 2.0  # the weights of Stable Diffusion 1
LATE = 0.041  # of the schedule: timestep 41 of 1000


def anisotropy(step: Step) -> Float[Tensor, " batch"]:
    """||d(x, T)||_2 + 2 mean over positions of cos(eps_0(x, t), d(x, t)) over channels, x the first input.

    d(x, T) is the gap of the network's outputs; the cosine is of the noise, as of the paper: the authors' code takes
    raw outputs there, which for a network that predicts v are another thing.
    """
    length = torch.linalg.vector_norm(step.gap.flatten(1), dim=1)
    late = step.at(step.x, round(LATE * step.last))
    cosine = functional.cosine_similarity(late.without.noise, late.noise_gap, dim=1)
    return LENGTH * length + COSINE * cosine.flatten(1).mean(dim=1)


NEED = Need(anisotropy, FIRST, branches=True, further=1)


def _score(trace: Trace) -> Scores:
    return trace.output(NEED)[0]


ANISOTROPY = Detector(
    name="anisotropy",
    needs=(NEED,),
    score=_score,
    unit="that of the network's output",
    reference="Asthana and Belagiannis, ICLR 2026 (arXiv 2601.20642), weights of Stable Diffusion 1 as of their code",
    alias="asthana2026",
    seeds="mean",
    seen="moved far by the prompt, and one way",
)
