"""Diagonals and traces of a network's Jacobian from random signs (Hutchinson)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.probing.hooks import plain
from memdetect.probing.steps import Step

Maps = Float[Tensor, "batch chan row col"]


def diagonal(step: Step, field: Callable[[Step], Maps], probes: int, timestep: int | None = None) -> Maps:
    """Mean over draws of v * (J^T v): an unbiased estimate of the diagonal of J = d field / d x.

    v are signs of each image's own seed; two passes a draw. Exact for one draw where J is diagonal.
    """
    total = torch.zeros_like(step.x, dtype=torch.float32)
    for number in range(probes):
        signs = step.noise(number).sign()

        def projected(other: Step, v: Maps = signs) -> Float[Tensor, " batch"]:
            return (field(other) * plain(v)).flatten(1).sum(dim=1)

        total += signs * step.gradient(projected, timestep)
    return total / probes
