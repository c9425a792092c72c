"""Other statistics of how unevenly the channels light up, to set beside spikiness."""

from jaxtyping import Float
from torch import Tensor

from memdetect.detector import Detector, Scores
from memdetect.detectors.spikiness import REFERENCE, mean_score, spread
from memdetect.trace import Trace

TOP = 0.05  # share of the channels whose energy counts


def kurtosis(peak: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Fourth central moment over the squared variance of the channels' maxima; 3 for a normal law.

    Free of scale and offset. Range [1, chan]; nan where all channels are equal. Moments in population form.
    """
    deviation = peak - peak.mean(dim=-1, keepdim=True)
    unit = deviation / deviation.abs().amax(dim=-1, keepdim=True)  # fourth powers stay within float32
    return unit.pow(4).mean(dim=-1) / unit.square().mean(dim=-1).square()


def concentration(peak: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """One over the participation ratio: sum of fourth powers over the square of the sum of squares.

    1 for a single spike, 1 / chan if all are equal: one over the number of channels that take part. Free of scale.
    Range [1 / chan, 1]; nan for a vector of zeros.
    """
    unit = peak / peak.abs().amax(dim=-1, keepdim=True)
    return unit.pow(4).sum(dim=-1) / unit.square().sum(dim=-1).square()


def top_energy(peak: Float[Tensor, "*batch chan"]) -> Float[Tensor, "*batch"]:
    """Share of the sum of squares that the strongest 5 % of the channels (rounded, at least one) hold.

    Free of scale. Range [count / chan, 1]; nan for a vector of zeros.
    """
    energy = (peak / peak.abs().amax(dim=-1, keepdim=True)).square()
    count = max(1, round(TOP * peak.shape[-1]))
    return energy.topk(count, dim=-1).values.sum(dim=-1) / energy.sum(dim=-1)


def score_kurtosis(trace: Trace) -> Scores:
    """Mean of `kurtosis` over layers, timesteps and seeds."""
    return mean_score([kurtosis(peak.float()) for peak in trace.need("peak").values()])


def score_concentration(trace: Trace) -> Scores:
    """Mean of `concentration` over layers, timesteps and seeds."""
    return mean_score([concentration(peak.float()) for peak in trace.need("peak").values()])


def score_top_energy(trace: Trace) -> Scores:
    """Mean of `top_energy` over layers, timesteps and seeds."""
    return mean_score([top_energy(peak.float()) for peak in trace.need("peak").values()])


def score_mean_spread(trace: Trace) -> Scores:
    """Mean over layers, timesteps and seeds of the spread of the channels' means, instead of their maxima."""
    return mean_score([spread(mean.float()) for mean in trace.need("mean").values()])


KURTOSIS = Detector(
    name="kurtosis",
    look="image",
    needs=frozenset({"peak"}),
    score=score_kurtosis,
    unit="1 (ratio of moments)",
    reference="fourth standardised moment of the features of Zhang et al., ICLR 2026, Algorithm 1",
    alias="peak-kurtosis",
)
CONCENTRATION = Detector(
    name="concentration",
    look="image",
    needs=frozenset({"peak"}),
    score=score_concentration,
    unit="1 (one over the number of channels that take part)",
    reference="inverse participation ratio of the features of Zhang et al., ICLR 2026, Algorithm 1",
    alias="peak-ipr",
)
TOP_ENERGY = Detector(
    name="top-energy",
    look="image",
    needs=frozenset({"peak"}),
    score=score_top_energy,
    unit="1 (share of the energy)",
    reference="energy of the strongest channels of the features of Zhang et al., ICLR 2026, Algorithm 1",
    alias="peak-top5",
)
MEAN_SPREAD = Detector(
    name="spikiness-mean",
    look="image",
    needs=frozenset({"mean"}),
    score=score_mean_spread,
    unit="that of the hidden features",
    reference=f"{REFERENCE}, with the mean over positions in place of the maximum",
    alias="zhang2026-mean",
)
