"""Spikiness: a memorized image lights up few channels, a novel one lights up many evenly."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.hooks import CHANNEL_MAX
from memdetect.probing.needs import Need
from memdetect.probing.trace import Trace

Statistic = Callable[[Tensor], Tensor]
REFERENCE = "Zhang et al., ICLR 2026 (arXiv 2512.20963), Algorithm 1"


def channel_std(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Standard deviation over channels of each channel's maximum over positions; population form.

    0 if all channel maxima are equal, a*sqrt(chan-1)/chan if a single one is a and the others 0. Unit: that of the
    features, so scores of two layers or two models do not compare. Range [0, inf).
    """
    return channel_max.std(dim=-1, correction=0)


def l4_over_l2(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Norm ratio ||v||_4 / ||v||_2 of the channels' maxima: 1 for a single spike, chan**-0.25 if all are equal.

    Free of scale: v and 3v score alike. Range [chan**-0.25, 1]; nan for a vector of zeros, which has no shape.
    """
    unit = channel_max / channel_max.abs().amax(dim=-1, keepdim=True)  # fourth powers of raw ones leave float32's range
    return torch.linalg.vector_norm(unit, 4, dim=-1) / torch.linalg.vector_norm(unit, 2, dim=-1)


def averaged(statistic: Statistic, need: Need = CHANNEL_MAX) -> Callable[[Trace], Scores]:
    """A score: the mean of a statistic of the channels over layers and timesteps, for each item and seed."""

    def score(trace: Trace) -> Scores:
        values = [statistic(features.float()) for features in trace.need(need).values()]
        return torch.stack(values).mean(dim=(0, 1))  # layer, step

    return score


SPIKINESS = Detector(
    name="spikiness",
    needs=(CHANNEL_MAX,),
    score=averaged(channel_std),
    unit="that of the hidden features",
    reference=REFERENCE,
    alias="zhang2026",
    seen="spiky",
)
SPIKINESS_L4 = Detector(
    name="spikiness-l4",
    needs=(CHANNEL_MAX,),
    score=averaged(l4_over_l2),
    unit="1 (ratio of norms)",
    reference=f"{REFERENCE}; the l4/l2 statistic of its code",
    alias="zhang2026-l4",
    seen="spiky",
)
