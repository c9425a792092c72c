"""Denoising confidence: how strong a picture the guided network gives of almost pure noise."""

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import Need, Window
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

SIGMA = 20.0  # noise over signal; Webster's single step starts at 14.6


def guided_power(step: Step) -> Float[Tensor, " batch"]:
    """Mean square of x0-hat of the guided output, over all values."""
    return step.guided.square().flatten(1).mean(dim=1)


NEED = Need(guided_power, Window("at", SIGMA), branches=True, guided=True)


def _score(trace: Trace) -> Scores:
    return trace.output(NEED)[0]


DCS = Detector(
    name="dcs",
    needs=(NEED,),
    score=_score,
    unit="square of that of the latents",
    reference="Webster 2023 (arXiv 2305.08694), denoising confidence score, of the clean estimate",
    alias="webster2023",
    seeds="mean",
    seen="a strong picture out of noise",
)
