"""Curvature differences: how much sharper the prompt makes the likelihood, position by position, at the last step."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.detectors.hutchinson import diagonal
from memdetect.probing.needs import LAST, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

PROBES = 4


def last_gap_power(step: Step) -> Float[Tensor, " batch"]:
    """Mean over positions of the square of the noise's gap, summed over channels: the paper's Ds."""
    return step.noise_gap.square().sum(dim=1).flatten(1).mean(dim=1)


def curvature_difference(step: Step, probes: int = PROBES) -> Float[Tensor, " batch"]:
    """Mean over positions of relu(sum over channels of diag(J eps_c - J eps_0)): the paper's Dh.

    The noise is not divided by its amplitude, as in the authors' code.
    """
    found = diagonal(step, lambda other: other.noise_gap, probes)
    return found.sum(dim=1).relu().flatten(1).mean(dim=1)


SCORE_NEED = Need(last_gap_power, LAST, branches=True)
HESSIAN_NEED = Need(curvature_difference, LAST, branches=True, further=2 * PROBES)


def _of(need: Need) -> Callable[[Trace], Scores]:
    def score(trace: Trace) -> Scores:
        return trace.output(need)[0]

    return score


REFERENCE = "Kim and Lee, ICML 2026 (arXiv 2605.26756)"
LAST_GAP = Detector(
    name="last-gap",
    needs=(SCORE_NEED,),
    score=_of(SCORE_NEED),
    unit="square of that of the noise",
    reference=f"{REFERENCE}, Ds: the proxy without derivatives, mean of the map",
    alias="kimlee2026-ds",
    seeds="mean",
    seen="moved far by the prompt at the last step",
)
CURVATURE_GAP = Detector(
    name="curvature-gap",
    needs=(HESSIAN_NEED,),
    score=_of(HESSIAN_NEED),
    unit="that of the noise over that of the latents",
    reference=f"{REFERENCE}, Dh with {PROBES} probes, mean of the map",
    alias="kimlee2026-dh",
    seeds="mean",
    seen="a likelihood that the prompt makes sharp",
)
