"""Sharpness of the gap: how fast the gap of the two branches grows along itself, by differences or exactly."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import AT_NOISY, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

REACH = 1.0  # of the network's input, as of Jeon et al.'s mitigation


def by_differences(step: Step, reach: float = REACH) -> Float[Tensor, " batch"]:
    """||(H_c - H_0)(s_c - s_0)||_2 from one further query, `reach` along the gap's direction.

    s are the scores of both branches, H their Jacobians: with d the gap of the noise, ||J_d d|| / noise^2, and J_d d =
    ||d|| (d(x + reach * u) - d(x)) / reach, u = d / ||d||. 0 where the branches say the same.
    """
    gap = step.noise_gap
    size = _norm(gap).view(-1, 1, 1, 1)
    moved = step.at(step.x.float() + reach * gap / size.clamp_min(torch.finfo(size.dtype).tiny))
    return _norm((moved.noise_gap - gap) / reach * size) / step.level[1] ** 2


def by_tangent(step: Step) -> Float[Tensor, " batch"]:
    """The same exactly: one pass that carries the gap along, with attention as written."""
    return _norm(step.tangent(step.noise_gap).noise_gap) / step.level[1] ** 2


def _norm(maps: Float[Tensor, "batch chan row col"]) -> Float[Tensor, " batch"]:
    return torch.linalg.vector_norm(maps.float().flatten(1), dim=1)


DIFFERENCES = Need(by_differences, AT_NOISY, branches=True, further=1)
TANGENT = Need(by_tangent, AT_NOISY, branches=True, further=2)


def _of(need: Need) -> Callable[[Trace], Scores]:
    def score(trace: Trace) -> Scores:
        return trace.output(need)[0]

    return score


REFERENCE = (
    "Jeon et al., ICML 2025 (arXiv 2412.04140), the length as in their code, which the paper squares, at the first "
    "step with at most 20 times as much noise as signal"
)
GAP_SHARPNESS = Detector(
    name="gap-sharpness",
    needs=(DIFFERENCES,),
    score=_of(DIFFERENCES),
    unit="that of the score over that of the latents",
    reference=f"{REFERENCE}; by a finite difference of length 1",
    alias="jeon2025",
    seeds="mean",
    seen="a likelihood that the prompt makes sharp",
)
GAP_SHARPNESS_JVP = Detector(
    name="gap-sharpness-jvp",
    needs=(TANGENT,),
    score=_of(TANGENT),
    unit="that of the score over that of the latents",
    reference=f"{REFERENCE}; exact, by a derivative forwards",
    alias="jeon2025-jvp",
    seeds="mean",
    seen="a likelihood that the prompt makes sharp",
)
