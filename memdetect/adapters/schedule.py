"""The forward process of a pipeline's training schedule: how much signal and noise there is at a timestep."""

import hashlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError


def is_flow(scheduler: Any) -> bool:
    """Whether the process is x_t = (1 - s) x_0 + s eps with s = t / 1000, as of rectified flows."""
    return bool(
        type(scheduler).__name__.startswith("FlowMatch")
        or scheduler.config.get("use_flow_sigmas")
        or scheduler.config.get("prediction_type") == "flow_prediction"
    )


def levels(scheduler: Any, timestep: int) -> tuple[float, float]:
    """(signal, noise) amplitudes at a timestep, in the network's own input.

    sqrt(abar), sqrt(1 - abar) of the variance-preserving process; 1 - s, s of a flow, s = t / num_train_timesteps.
    Raises MemdetectError for a timestep outside the schedule, and for a schedule of another kind.
    """
    if is_flow(scheduler):
        last = int(scheduler.config["num_train_timesteps"])
        _check(timestep, last)
        return 1 - timestep / last, timestep / last
    kept = float(_table(scheduler)[_check(timestep, len(_table(scheduler)) - 1)])
    return kept**0.5, (1 - kept) ** 0.5


def fingerprint(scheduler: Any) -> str:
    """16 hex digits of what decides the levels: the table of abar, or a flow's number of timesteps."""
    if is_flow(scheduler):
        content = f"flow:{scheduler.config['num_train_timesteps']}".encode()
    else:
        content = _table(scheduler).numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _check(timestep: int, last: int) -> int:
    if not 0 <= timestep <= last:
        raise MemdetectError(f"timestep {timestep} is outside the model's schedule; expected 0 to {last}")
    return timestep


def _table(scheduler: Any) -> Float[Tensor, " time"]:
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        kind = type(scheduler).__name__
        raise MemdetectError(f"the noise of {kind} at a timestep is not known; use a scheduler with alphas_cumprod")
    return table


def sigma(scheduler: Any, timestep: int) -> float:
    """Noise over signal at a timestep, sqrt((1 - abar) / abar); infinite where no signal is left."""
    signal, noise = levels(scheduler, timestep)
    return noise / signal if signal > 0 else float("inf")


def add_noise(
    clean: Float[Tensor, "*batch chan row col"], noise: Float[Tensor, "*batch chan row col"], level: tuple[float, float]
) -> Float[Tensor, "*batch chan row col"]:
    """x_t = signal * x_0 + noise_amplitude * eps, the paper's ADDFORWARDNOISE."""
    return torch.add(clean * level[0], noise, alpha=level[1])
