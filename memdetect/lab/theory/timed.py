"""The time-conditioned ReLU autoencoder and its sampler, with which the paper draws images from the toy network.

f(x, s) = skip * x + W (exp(m(log s)) * [W^T x]_+): tied, m a small network whose last layer starts at zero, so that
the untrained factor is 1. Noise levels s are log-uniform; sampling is the variance-exploding kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memdetect.errors import Exit, MemdetectError
from memdetect.lab.theory.network import OPTIMIZERS, Recipe, check

LEVELS = (0.02, 2.0)  # smallest and largest noise level of training and sampling, for pictures in [-1, 1]
WIDE = (0.02, 10.0)  # the same for the mixture, whose samples lie farther out than noise of 2
HIDDEN = 32  # width of the network that reads the noise level


class TimedDae(nn.Module):
    """f(x, s) as above; W of shape [dim, unit], Kaiming-uniform at first, skip 0 at first."""

    def __init__(self, dim: int, units: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bound = (6 / dim) ** 0.5
        self.first = nn.Parameter((torch.rand(dim, units, generator=generator) * 2 - 1) * bound)
        self.skip = nn.Parameter(torch.zeros(()))
        self.read = nn.Parameter(torch.randn(2, HIDDEN, generator=generator))
        self.scale = nn.Parameter(torch.zeros(HIDDEN, units))
        self.level = nn.Parameter(torch.zeros(units))

    def represent(self, noisy: Float[Tensor, "draw dim"], sigma: Float[Tensor, " draw"]) -> Float[Tensor, "draw unit"]:
        """Hidden layer with its factor for the noise level, at least 0."""
        read = nn.functional.silu(torch.log(sigma)[:, None] * self.read[0] + self.read[1])
        return torch.relu(noisy @ self.first) * torch.exp(read @ self.scale + self.level)

    def forward(self, noisy: Float[Tensor, "draw dim"], sigma: Float[Tensor, " draw"]) -> Float[Tensor, "draw dim"]:
        """The denoised samples, one noise level each."""
        return self.skip * noisy + self.represent(noisy, sigma) @ self.first.T


Denoiser = Callable[[Tensor, Tensor], Tensor]  # noisy samples [draw, dim] and their levels [draw] -> denoised


def train_timed(
    samples: Float[np.ndarray, "sample dim"],
    recipe: Recipe,
    seed: int = 0,
    levels: tuple[float, float] = LEVELS,
    note: Callable[[int, float], None] | None = None,
) -> TimedDae:
    """Train at all noise levels at once; `recipe.sigma` is not used. Deterministic by seed.

    The decay is that of eq. 6 on W, which counts as both layers; skip and factor are not decayed. Raises
    MemdetectError for a recipe that cannot be trained and for a loss that is no longer finite.
    """
    check(recipe)
    clean = torch.from_numpy(np.ascontiguousarray(samples)).float()
    network = TimedDae(clean.shape[1], recipe.units, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    optimizer = OPTIMIZERS[recipe.optimizer](network.parameters(), lr=recipe.rate)
    low, high = np.log(levels[0]), np.log(levels[1])
    for step in range(recipe.steps):
        if recipe.anneal:
            optimizer.param_groups[0]["lr"] = recipe.rate * np.cos(np.pi / 2 * step / recipe.steps)
        batch = clean
        if recipe.draws:
            batch = clean[torch.randint(len(clean), (recipe.draws,), generator=generator)]
        batch = batch.repeat(recipe.copies, 1)
        sigma = torch.exp(low + (high - low) * torch.rand(len(batch), generator=generator))
        noisy = batch + sigma[:, None] * torch.randn(batch.shape, generator=generator)
        error = (network(noisy, sigma) - batch).square().sum(dim=1).mean()
        loss = (error + 2 * recipe.decay * network.first.square().sum()) / clean.shape[1]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 250 == 0 or step == recipe.steps - 1:
            _watch(step, float(loss.detach()) * clean.shape[1], note)
    return network.requires_grad_(False)


def _watch(step: int, loss: float, note: Callable[[int, float], None] | None) -> None:
    if not np.isfinite(loss):
        raise MemdetectError(f"the loss is {loss} at step {step}; lower the rate", Exit.ERROR)
    if note:
        note(step, loss)


@dataclass(frozen=True, slots=True)
class Path:
    """A sampling run: the noise level before each kept step, and the samples there; the last ones are at level 0."""

    sigmas: tuple[float, ...]
    states: Float[Tensor, "kept draw dim"]


def noise_levels(steps: int = 60, levels: tuple[float, float] = LEVELS) -> tuple[float, ...]:
    """`steps` geometric noise levels from the largest to the smallest, then 0."""
    return (*np.geomspace(levels[1], levels[0], steps).tolist(), 0.0)


def sample(
    denoise: Denoiser,
    start: Float[Tensor, "draw dim"],
    sigmas: Sequence[float],
    seed: int = 0,
    clamp: float | None = 1.0,
    keep: Sequence[int] = (),
) -> Path:
    """Variance-exploding ancestral sampling from `start`, which is noise of the first of the levels `sigmas`.

    x += (s^2 - t^2) * (f(x, s) - x) / s^2 + sqrt(s^2 - t^2) * noise from level s to t; no noise in the last step.
    clamp: states are cut to [-clamp, clamp] after each step, as the paper's code does for pictures; None does not.
    keep: steps before which the state is kept, beside the end.
    """
    generator = torch.Generator().manual_seed(seed)
    state = start
    kept: list[tuple[float, Tensor]] = []
    for step, (now, after) in enumerate(pairwise(sigmas)):
        if step in keep:
            kept.append((now, state))
        variance = now**2 - after**2
        score = (denoise(state, torch.full((len(state),), now)) - state) / now**2
        state = state + variance * score
        if after > 0:
            state = state + variance**0.5 * torch.randn(state.shape, generator=generator)
        if clamp is not None:
            state = state.clamp(-clamp, clamp)
    kept.append((0.0, state))
    return Path(tuple(level for level, _ in kept), torch.stack([state for _, state in kept]))
