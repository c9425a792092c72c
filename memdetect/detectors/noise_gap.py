"""Noise gap: how far the prompt moves the clean estimate, at the first steps."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.adapters.prediction import predicted
from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import UNTIL_EARLY, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace


def gap_norm(step: Step) -> Float[Tensor, " batch"]:
    """||x0-hat with the prompt - x0-hat without||_2 over all values, where Wen et al. take the noise.

    Of the noise the difference is smaller by noise over signal, and zero where no signal is left.
    """
    other = step.cond.float() - step.gap
    apart = step.clean - predicted(other, step.x.float(), step.level, step.kind).clean
    return torch.linalg.vector_norm(apart.flatten(1), dim=1)


NEED = Need(gap_norm, UNTIL_EARLY, branches=True)


def _score(trace: Trace) -> Scores:
    return trace.output(NEED).mean(dim=0)


NOISE_GAP = Detector(
    name="noise-gap",
    needs=(NEED,),
    score=_score,
    unit="that of the latents",
    reference="Wen et al., ICLR 2024 (arXiv 2407.21720), in units of the clean image, mean of the first steps",
    alias="wen2024",
    seeds="mean",
    seen="moved far by the prompt",
)
