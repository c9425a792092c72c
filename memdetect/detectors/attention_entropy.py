"""Attention entropy: over how many tokens of the prompt the image spreads its attention."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.attention import Attention
from memdetect.probing.needs import FIRST, RUN, Need
from memdetect.probing.trace import Trace

LAYER = 3  # of the cross-attentions in the order in which they run, counted from 0
TAIL = 0.2  # share of the steps that count as the last ones


def token_shares(attention: Attention) -> Float[Tensor, "batch token"]:
    """Mean attention to each token over positions and heads."""
    return attention.maps.mean(dim=1)


def shares_after(attention: Attention) -> Float[Tensor, "batch 2 token"]:
    """The same, and the same from the end token on with 0 before."""
    shares = token_shares(attention)
    place = torch.arange(shares.shape[1], device=shares.device)
    after = place >= torch.tensor(attention.ends, device=shares.device).unsqueeze(1)
    return torch.stack([shares, shares * after], dim=1)


STEPS, START = Need(shares_after, RUN, "attention"), Need(token_shares, FIRST, "attention")


def entropy(shares: Float[Tensor, "*batch token"]) -> Float[Tensor, "*batch"]:
    """-sum a ln a over the tokens, in nats; a token without attention adds nothing."""
    return torch.special.entr(shares).sum(dim=-1)


def _average(trace: Trace) -> Scores:
    """Mean over the last fifth of the steps of E_t + |E_t^sum - E_1^sum|.

    E_t is the entropy of the mean over all layers, E_t^sum that over the end token and the padding alone, E_1^sum the
    latter at the first step.
    """
    found = entropy(torch.stack(list(trace.need(STEPS).values())).mean(dim=0))  # step item seed 2
    tail = max(1, round(TAIL * len(found)))
    whole, after = found[-tail:, ..., 0], found[-tail:, ..., 1]
    return (whole + (after - found[0, ..., 1]).abs()).mean(dim=0)


def _first(trace: Trace) -> Scores:
    """Entropy at the first step in the fourth layer, or the last of fewer."""
    layers = list(trace.need(START).values())
    return entropy(layers[min(LAYER, len(layers) - 1)][0])


REFERENCE = "Ren et al., ECCV 2024 (arXiv 2403.11052)"
ATTENTION_ENTROPY = Detector(
    name="attention-entropy",
    needs=(STEPS,),
    score=_average,
    unit="1 (nats)",
    reference=f"{REFERENCE}, metric D of all layers and the last steps, with the absolute value that their code lacks",
    alias="ren2024",
    seeds="mean",
    latents=True,
    seen="attention spread over many tokens",
)
ATTENTION_ENTROPY_FIRST = Detector(
    name="attention-entropy-first",
    needs=(START,),
    score=_first,
    unit="1 (nats)",
    reference=f"{REFERENCE}, entropy of the fourth layer at the first step",
    alias="ren2024-first",
    seeds="mean",
    seen="attention spread over many tokens",
)
