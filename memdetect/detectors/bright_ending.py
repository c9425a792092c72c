"""Bright Ending: the gap where the last step attends to the end of the prompt."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.attention import Attention
from memdetect.probing.needs import LAST, RUN, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace


def gap_power(step: Step) -> Float[Tensor, "batch row col"]:
    """Square of the gap of the network's outputs, summed over channels: all that a mask over positions needs."""
    return step.gap.square().sum(dim=1)


def end_map(attention: Attention) -> Float[Tensor, "batch row col"]:
    """Attention to the prompt's end token, mean over heads."""
    return attention.of_end()


GAP, MASK = Need(gap_power, RUN, branches=True), Need(end_map, LAST, "attention")


def mask_of(trace: Trace) -> Float[Tensor, "item seed row col"]:
    """Mean over the layers of the finest maps of the way down of a U-Net; over all layers of another network."""
    layers = trace.need(MASK)
    down = {name: array[0] for name, array in layers.items() if name.startswith("down_blocks.")}
    found = list((down or {name: array[0] for name, array in layers.items()}).values())
    finest = max(array[0, 0].numel() for array in found)
    return torch.stack([array for array in found if array[0, 0].numel() == finest]).mean(dim=0)


def _score(trace: Trace) -> Scores:
    """Mean over steps of ||d m||_2 / mean(m), m the mask stretched bilinearly to the latents."""
    power, mask = trace.output(GAP), mask_of(trace)
    shape = power.shape[1:3]
    wide = functional.interpolate(mask.flatten(0, 1).unsqueeze(1), power.shape[3:], mode="bilinear")
    whole = wide.squeeze(1).unflatten(0, shape)
    lengths = (power * whole.square()).sum(dim=(-2, -1)).sqrt()
    return lengths.mean(dim=0) / whole.mean(dim=(-2, -1))


BRIGHT_ENDING = Detector(
    name="bright-ending",
    needs=(GAP, MASK),
    score=_score,
    unit="that of the network's output",
    reference="Chen et al., ICLR 2025 (arXiv 2410.21665), masked magnitude, the soft mask of their code",
    alias="chen2025",
    seeds="mean",
    latents=True,
    seen="moved far by the prompt where its end is attended to",
)
