"""Loss and CLiD on a model's own samples: does the network restore what it made, and does the prompt help?"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

SHARE = 0.1  # of the schedule, up to which noise is added: t = 100 of 1000


def restored(step: Step) -> Float[Tensor, " batch"]:
    """Mean square of the error of the noise that the prompt's branch predicts, one draw."""
    asked, noise = step.noised(round(SHARE * step.last))
    return _power(asked.prediction.noise - noise)


def likelihood_gap(step: Step) -> Float[Tensor, " batch"]:
    """The same error without the prompt, less that with it, both of one draw."""
    asked, noise = step.noised(round(SHARE * step.last))
    return _power(asked.without.noise - noise) - _power(asked.prediction.noise - noise)


def _power(error: Float[Tensor, "batch chan row col"]) -> Float[Tensor, " batch"]:
    return error.square().flatten(1).mean(dim=1)


LOSS_NEED = Need(restored, AFTER, further=1)
CLID_NEED = Need(likelihood_gap, AFTER, branches=True, further=1)


def _of(need: Need, sign: int) -> Callable[[Trace], Scores]:
    def score(trace: Trace) -> Scores:
        return sign * trace.output(need)[0]

    return score


LOSS = Detector(
    name="loss",
    needs=(LOSS_NEED,),
    score=_of(LOSS_NEED, -1),
    unit="square of that of the noise",
    reference="minus the training loss, on the model's own samples with their prompt",
    alias="own-loss",
    seeds="mean",
    latents=True,
    seen="an image that the network restores",
)
CLID = Detector(
    name="clid",
    needs=(CLID_NEED,),
    score=_of(CLID_NEED, 1),
    unit="square of that of the noise",
    reference="Zhai et al., NeurIPS 2024 (arXiv 2405.14800), conditional likelihood discrepancy against the empty "
    "prompt, on the model's own samples",
    alias="zhai2024",
    seeds="mean",
    latents=True,
    seen="an image that the prompt restores",
)
