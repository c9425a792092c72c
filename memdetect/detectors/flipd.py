"""FLIPD: in how many directions the model's images can change around this one."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.detectors.hutchinson import diagonal
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

SHARE = 0.1  # of the schedule
PROBES = 4


def dimension(step: Step, probes: int = PROBES) -> Float[Tensor, " batch"]:
    """D + noise^2 (tr grad s(signal x0) + ||s||^2), s the score of the prompt's branch: the local dimension.

    With s = -eps / noise: D - noise tr(J eps) + ||eps||^2. The authors' code leaves D out and takes the guided noise.
    """
    timestep = round(SHARE * step.last)
    signal, amount = step.level_at(timestep)
    shown = replace(step, x=signal * step.x.float())
    noise = step.at(shown.x, timestep).prediction.noise
    trace = diagonal(shown, lambda other: other.prediction.noise, probes, timestep).flatten(1).sum(dim=1)
    return shown.x[0].numel() - amount * trace + noise.square().flatten(1).sum(dim=1)


NEED = Need(dimension, AFTER, further=1 + 2 * PROBES)


def _score(trace: Trace) -> Scores:
    return -trace.output(NEED)[0]


FLIPD = Detector(
    name="flipd",
    needs=(NEED,),
    score=_score,
    unit="1 (minus a number of dimensions)",
    reference="Kamkari et al. (arXiv 2406.03537) and Ross et al., ICLR 2025 (arXiv 2411.00113), of the prompt's branch "
    f"with {PROBES} probes",
    alias="ross2025",
    seeds="mean",
    latents=True,
    seen="an image that can hardly change",
)
