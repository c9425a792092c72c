"""Specificity: the seeds agree with each other, and not with what clean prompts give."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.agreement import EARLY_CLEAN, agreement, unit_pictures
from memdetect.detectors.bank import Bank
from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.probing.trace import Trace

NEAREST, FLOOR = 10, 0.02


def specificity(bank: Bank | None) -> Detector:
    """The detector of a bank; without one, a detector that refuses to score.

    ln((1 - c + 0.02) / (1 - w + 0.02)): w = agreement of the item's seeds, c = mean of its ten largest mean
    correlations with the prompts of the bank, those of its own family left out (of fewer where fewer are left, nan of
    none). 0 where the seeds agree with each other no more than with other prompts' pictures; range about [-4.7, 4.7].
    """

    def score(trace: Trace) -> Scores:
        if bank is None:
            raise MemdetectError("specificity compares with a bank of clean prompts; run `memdetect calibrate` first")
        clean = trace.output(EARLY_CLEAN)[0]
        own = agreement(clean)
        other = _nearest(unit_pictures(clean).mean(dim=1), trace.families, bank).unsqueeze(1)
        return torch.log((1 - other + FLOOR) / (1 - own + FLOOR))

    return Detector(
        name="specificity",
        needs=(EARLY_CLEAN,),
        score=score,
        unit="1 (logarithm of a ratio of distances)",
        reference="agreement against the ten nearest of other prompts, own; see docs/reference/detectors.md",
        alias="agreement-specific",
        seeds="prompt",
        banked=True,
        seen="the same picture whatever the seed, unlike those of other prompts",
    )


def _nearest(pictures: Float[Tensor, "item dim"], families: tuple[str, ...], bank: Bank) -> Float[Tensor, " item"]:
    """Mean of the ten largest correlations with the bank's prompts of other families."""
    if (made := pictures.shape[1]) != (held := bank.pictures.shape[1]):
        said = (
            f"the bank holds pictures of {held} numbers, this run makes {made}; calibrate with images of the same size"
        )
        raise MemdetectError(said)
    found = pictures @ bank.pictures.float().T
    if families:
        own = [[family == other for other in bank.families] for family in families]
        found = found.masked_fill(torch.tensor(own, device=found.device), -torch.inf)
    nearest = found.topk(min(NEAREST, found.shape[1]), dim=1).values
    others = ~nearest.isneginf()
    return nearest.where(others, 0.0).sum(dim=1) / others.sum(dim=1)


SPECIFICITY = specificity(None)
