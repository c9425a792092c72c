"""Agreement: of a memorized prompt, every seed is on its way to the same picture."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.probing.needs import AT_EARLY, Need
from memdetect.probing.steps import clean
from memdetect.probing.trace import Trace

EARLY_CLEAN = Need(clean, AT_EARLY)
ROUNDING = 1e-6  # of a picture's size: what is left of one colour is rounding of its mean
REFERENCE = "the seeds' agreement of Carlini et al., USENIX Security 2023 (arXiv 2301.13188), section 4.2"


def unit_pictures(latents: Float[Tensor, "*batch chan row col"]) -> Float[Tensor, "*batch dim"]:
    """Latents without each channel's mean over positions, as vectors of length 1; nan where nothing is left."""
    wide = latents.float()
    flat = (wide - wide.mean(dim=(-2, -1), keepdim=True)).flatten(-3)
    size, whole = (torch.linalg.vector_norm(each, dim=-1, keepdim=True) for each in (flat, wide.flatten(-3)))
    return flat / size.where(size > ROUNDING * whole, torch.nan)


def agreement(latents: Float[Tensor, "item seed chan row col"]) -> Scores:
    """Mean over all pairs of an item's seeds of the correlation of their pictures, the same value for each seed.

    corr(a, b) = <a', b'> / (||a'|| ||b'||), a' = a less each channel's mean over positions. Range [-1, 1]: 1 where all
    seeds give one picture. nan for a picture of one colour.
    """
    units = unit_pictures(latents)
    if units.shape[1] < 2:
        raise MemdetectError("agreement compares the images of a prompt with each other, and there is one; sample more")
    pairs = [(units[:, i] * units[:, j]).sum(dim=-1) for i, j in combinations(range(units.shape[1]), 2)]
    return torch.stack(pairs).mean(dim=0).unsqueeze(1).expand(-1, units.shape[1])


def _early(trace: Trace) -> Scores:
    return agreement(trace.output(EARLY_CLEAN)[0])


def _final(trace: Trace) -> Scores:
    return agreement(trace.finished())


AGREEMENT = Detector(
    name="agreement",
    needs=(EARLY_CLEAN,),
    score=_early,
    unit="1 (correlation)",
    reference=f"{REFERENCE}, of the clean estimates at the first step with at most 8 times as much noise as signal",
    alias="agreement-early",
    seeds="prompt",
    seen="the same picture whatever the seed",
)
AGREEMENT_FINAL = Detector(
    name="agreement-final",
    needs=(),
    score=_final,
    unit="1 (correlation)",
    reference=f"{REFERENCE}, of the finished latents",
    alias="carlini2023",
    seeds="prompt",
    latents=True,
    seen="the same picture whatever the seed",
)
