"""Other statistics of how unevenly the channels light up, to set beside spikiness."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector
from memdetect.detectors.spikiness import REFERENCE, Statistic, averaged, channel_std
from memdetect.probing.hooks import CHANNEL_MAX, MEAN

TOP = 0.05  # share of the channels whose energy counts


def kurtosis(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Fourth central moment over the squared variance of the channels' maxima; 3 for a normal law.

    Free of scale and offset. Range [1, chan]; nan where all channels are equal. Moments in population form.
    """
    deviation = channel_max - channel_max.mean(dim=-1, keepdim=True)
    unit = deviation / deviation.abs().amax(dim=-1, keepdim=True)  # fourth powers stay within float32
    return unit.pow(4).mean(dim=-1) / unit.square().mean(dim=-1).square()


def concentration(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """One over the participation ratio: sum of fourth powers over the square of the sum of squares.

    1 for a single spike, 1 / chan if all are equal: one over the number of channels that take part. Free of scale.
    Range [1 / chan, 1]; nan for a vector of zeros.
    """
    unit = channel_max / channel_max.abs().amax(dim=-1, keepdim=True)
    return unit.pow(4).sum(dim=-1) / unit.square().sum(dim=-1).square()


def top_energy(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Share of the sum of squares that the strongest 5 % of the channels (rounded, at least one) hold.

    Free of scale. Range [count / chan, 1]; nan for a vector of zeros.
    """
    energy = (channel_max / channel_max.abs().amax(dim=-1, keepdim=True)).square()
    count = max(1, round(TOP * channel_max.shape[-1]))
    return energy.topk(count, dim=-1).values.sum(dim=-1) / energy.sum(dim=-1)


def gini(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Gini coefficient of the channels' absolute maxima: 0 if all are equal, 1 - 1 / chan for a single spike.

    With the values sorted upwards, sum_i (2 i - chan - 1) |v_i| / (chan sum |v|). Free of scale; nan for zeros.
    """
    values = channel_max.abs().sort(dim=-1).values
    count = values.shape[-1]
    rank = 2 * torch.arange(1, count + 1, device=channel_max.device) - count - 1
    return (values * rank).sum(dim=-1) / (count * values.sum(dim=-1))


def max_to_mean(channel_max: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Largest of the channels' absolute maxima over their mean: 1 if all are equal, chan for a single spike.

    Free of scale. Range [1, chan]; nan for a vector of zeros.
    """
    size = channel_max.abs()
    return size.amax(dim=-1) / size.mean(dim=-1)


def _of(name: str, statistic: Statistic, unit: str, what: str, alias: str) -> Detector:
    """The record of a statistic of the channels' maxima."""
    return Detector(
        name=name,
        needs=(CHANNEL_MAX,),
        score=averaged(statistic),
        unit=f"1 ({unit})",
        reference=f"{what} of the features of {REFERENCE}",
        alias=alias,
        seen="spiky",
    )


KURTOSIS = _of("kurtosis", kurtosis, "ratio of moments", "fourth standardised moment", "max-kurtosis")
CONCENTRATION = _of(
    "concentration",
    concentration,
    "one over the number of channels that take part",
    "inverse participation ratio",
    "max-ipr",
)
TOP_ENERGY = _of("top-energy", top_energy, "share of the energy", "energy of the strongest channels", "max-top5")
GINI = _of("gini", gini, "Gini coefficient", "Gini coefficient", "max-gini")
MAX_TO_MEAN = _of("max-to-mean", max_to_mean, "ratio", "crest", "max-crest")
MEAN_STD = Detector(
    name="spikiness-mean",
    needs=(MEAN,),
    score=averaged(channel_std, MEAN),
    unit="that of the hidden features",
    reference=f"{REFERENCE}, with the mean over positions in place of the maximum",
    alias="zhang2026-mean",
    seen="spiky",
)
