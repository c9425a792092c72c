"""The forward process of a pipeline's training schedule: how much signal and noise there is at a timestep."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError


def levels(scheduler: Any, timestep: int) -> tuple[float, float]:
    """(signal, noise) amplitudes sqrt(abar), sqrt(1 - abar) of the variance-preserving process at a timestep.

    Raises MemdetectError for a timestep outside the schedule (0 .. num_train_timesteps - 1).
    """
    table: Float[Tensor, " time"] = scheduler.alphas_cumprod
    if not 0 <= timestep < len(table):
        raise MemdetectError(f"timestep {timestep} is outside the model's schedule; expected 0 to {len(table) - 1}")
    kept = float(table[timestep])
    return kept**0.5, (1 - kept) ** 0.5


def sigma(scheduler: Any, timestep: int) -> float:
    """Noise over signal at a timestep, sqrt((1 - abar) / abar); infinite where no signal is left."""
    signal, noise = levels(scheduler, timestep)
    return noise / signal if signal > 0 else float("inf")


def add_noise(
    clean: Float[Tensor, "*batch chan row col"], noise: Float[Tensor, "*batch chan row col"], level: tuple[float, float]
) -> Float[Tensor, "*batch chan row col"]:
    """x_t = signal * x_0 + noise_amplitude * eps, the paper's ADDFORWARDNOISE."""
    return torch.add(clean * level[0], noise, alpha=level[1])
