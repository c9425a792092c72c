"""The forward process of a pipeline's training schedule: how much signal and noise there is at a timestep."""

import hashlib
import math
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.errors import MemdetectError

BETAS = ("beta_start", "beta_end", "beta_schedule", "trained_betas", "num_train_timesteps", "rescale_betas_zero_snr")
PAPER_SIGMA = 0.176  # noise over signal of the paper's figure, that of t = 50 on DiT's schedule


def is_flow(scheduler: Any) -> bool:
    """Whether the process is x_t = (1 - s) x_0 + s eps with s = t / 1000, as of rectified flows."""
    return bool(
        type(scheduler).__name__.startswith("FlowMatch")
        or scheduler.config.get("use_flow_sigmas")
        or scheduler.config.get("prediction_type") == "flow_prediction"
    )


def is_edm(scheduler: Any) -> bool:
    """Whether the network is preconditioned as in Karras et al., 2022: it sees c_in * (x_0 + sigma eps)."""
    return type(scheduler).__name__.startswith("EDM")


def last_timestep(scheduler: Any) -> int:
    """The timestep with the most noise; MemdetectError for a schedule of an unknown kind."""
    if is_flow(scheduler) or is_edm(scheduler):
        return int(scheduler.config["num_train_timesteps"])
    return len(_table(scheduler)) - 1


def levels(scheduler: Any, timestep: int) -> tuple[float, float]:
    """(signal, noise) amplitudes at a timestep, in the network's own input.

    sqrt(abar), sqrt(1 - abar) of the variance-preserving process; 1 - s, s of a flow, s = t / num_train_timesteps;
    c_in, sigma * c_in of an EDM sampler, c_in = (sigma^2 + sigma_data^2)^-1/2, whose timestep t is the place
    t / num_train_timesteps on its own curve from sigma_min to sigma_max. Raises MemdetectError for a timestep outside
    the schedule, and for a schedule of another kind.
    """
    last = last_timestep(scheduler)
    if not 0 <= timestep <= last:
        raise MemdetectError(f"timestep {timestep} is outside the model's schedule; expected 0 to {last}")
    if is_flow(scheduler):
        return 1 - timestep / last, timestep / last
    if is_edm(scheduler):
        spread = _edm_sigma(scheduler.config, timestep / last)
        c_in = (spread**2 + scheduler.config["sigma_data"] ** 2) ** -0.5
        return c_in, spread * c_in
    kept = float(_table(scheduler)[timestep])
    return kept**0.5, (1 - kept) ** 0.5


def level_of_step(scheduler: Any, number: int) -> tuple[float, float]:
    """(signal, noise) amplitudes of the network's input at a step of the schedule that is set, counted from 0.

    From the step's own sigma where the scheduler keeps one for each, for the timestep that the network is told may be
    rounded (DPM++ with Karras's sigmas). Else as `levels`, also at timesteps between those of the training, where
    ln(sigma) is interpolated.
    """
    timestep, last = float(scheduler.timesteps[number]), last_timestep(scheduler)
    # One of second order passes through places between two of its sigmas, which only the timesteps tell.
    own = float(scheduler.sigmas[number]) if scheduler.order == 1 and hasattr(scheduler, "sigmas") else None
    if is_flow(scheduler):
        share = timestep / last if own is None else own
        return 1 - share, share
    if own is not None:
        c_in = (own**2 + (scheduler.config["sigma_data"] if is_edm(scheduler) else 1) ** 2) ** -0.5
        return c_in, own * c_in
    if timestep.is_integer():
        return levels(scheduler, int(timestep))
    below = min(max(int(timestep), 0), last - 1)
    low, high = sigma(scheduler, below), sigma(scheduler, below + 1)
    if not 0 < low < high < math.inf:
        return levels(scheduler, round(timestep))
    found = math.exp(math.log(low) + (timestep - below) * math.log(high / low))
    return (1 + found**2) ** -0.5, found * (1 + found**2) ** -0.5


_Place = TypeVar("_Place", float, Tensor)


def _edm_sigma(config: Any, place: _Place) -> _Place:
    """Sigma at a place in [0, 1], 0 the cleanest: Karras's ramp of sigma^(1/rho), or the exponential one."""
    low, high = config["sigma_min"], config["sigma_max"]
    if config["sigma_schedule"] == "exponential":
        return low * (high / low) ** place
    rho = config["rho"]
    return (low ** (1 / rho) + place * (high ** (1 / rho) - low ** (1 / rho))) ** rho


def network_time(scheduler: Any, timestep: Tensor, clock: float = 1.0) -> Tensor:
    """The time that a network is told at timesteps: clock * t; of an EDM sampler c_noise = ln(sigma) / 4."""
    if is_edm(scheduler):
        place = timestep.float() / last_timestep(scheduler)
        return 0.25 * torch.log(_edm_sigma(scheduler.config, place))
    return timestep if clock == 1 else timestep * clock


def timestep_at(scheduler: Any, wanted: float) -> int:
    """The timestep whose sigma (noise over signal) is nearest to the one wanted, by their ratio.

    Raises MemdetectError for a sigma outside the schedule.
    """
    found = {t: sigma(scheduler, t) for t in range(last_timestep(scheduler) + 1)}
    held = {t: s for t, s in found.items() if 0 < s < math.inf}
    low, high = min(held.values()), max(held.values())
    if not low * 0.99 <= wanted <= high * 1.01:
        raise MemdetectError(f"sigma {wanted:g} is outside the model's schedule; expected {low:.3g} to {high:.3g}")
    return min(held, key=lambda t: abs(math.log(held[t] / wanted)))


def edm_point(scheduler: Any) -> int:
    """Timestep where an EDM sampler's noise over sigma_data is that of the paper's figure, or the nearest to it."""
    lowest, highest = sigma(scheduler, 0), sigma(scheduler, last_timestep(scheduler))
    return timestep_at(scheduler, min(max(PAPER_SIGMA * scheduler.config["sigma_data"], lowest), highest))


def fingerprint(scheduler: Any) -> str:
    """16 hex digits of what decides the levels: betas, a flow's number of timesteps, or an EDM's curve, as configured.

    Not the table that follows from them: its last bits differ from one processor to another. Only a scheduler whose
    configuration names no betas has its table hashed.
    """
    config = scheduler.config
    if is_flow(scheduler):
        content = f"flow:{config['num_train_timesteps']}".encode()
    elif is_edm(scheduler):
        names = ("sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "rho", "num_train_timesteps")
        content = f"edm:{[config[name] for name in names]}".encode()
    elif "beta_schedule" in config:
        betas = {name: config.get(name) for name in BETAS}
        held = np.asarray(betas["trained_betas"]).tolist() if betas["trained_betas"] is not None else None
        content = f"betas:{list({**betas, 'trained_betas': held}.values())}".encode()
    else:
        content = _table(scheduler).numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


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
