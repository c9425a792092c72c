"""DSM: how far the predicted noise moves between two of the first steps."""

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import NOISY, Need, Window
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace


def noise(step: Step) -> Float[Tensor, "batch chan row col"]:
    """The noise that the prompt's branch predicts."""
    return step.prediction.noise


NEED = Need(noise, Window("at", NOISY, count=2), fewest=2)


def _score(trace: Trace) -> Scores:
    first, second = trace.output(NEED).float()
    return (second - first).square().flatten(2).sum(dim=2)


DSM = Detector(
    name="dsm",
    needs=(NEED,),
    score=_score,
    unit="square of that of the noise",
    reference="||eps(x_2, t_2) - eps(x_1, t_1)||^2 of an anonymous ICML 2026 submission (its code: "
    "randomnameforicml/icml-2026), at the first step with at most 20 times as much noise as signal and the next",
    alias="dsm2026",
    seeds="mean",
    seen="predictions that change at the first steps",
)
