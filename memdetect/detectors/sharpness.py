"""Sharpness: of a memorized prompt the first clean estimate is a picture already, not a blur."""

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace


def laplacian_rms(step: Step) -> Float[Tensor, " batch"]:
    """Root mean square of the 5-point Laplacian of x0-hat, over channels and inner positions."""
    x = step.clean
    found = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:] - 4 * x[..., 1:-1, 1:-1]
    return found.square().flatten(1).mean(dim=1).sqrt()


NEED = Need(laplacian_rms, FIRST)


def _score(trace: Trace) -> Scores:
    return trace.output(NEED)[0]


SHARPNESS = Detector(
    name="sharpness",
    needs=(NEED,),
    score=_score,
    unit="that of the latents",
    reference="rms of the Laplacian of the first conditional clean estimate, own; see docs/reference/detectors.md",
    alias="first-sharpness",
    seeds="mean",
    seen="a finished picture at the first step",
)
