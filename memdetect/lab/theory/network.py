"""The two-layer ReLU autoencoder of the paper's theory, and its training at one noise level.

f(x) = W2 [W1^T x]_+ without biases. The loss is eq. 6 of Zhang et al., ICLR 2026:
1/n sum_i E ||f(x_i + sigma e) - x_i||^2 + decay * (||W1||^2 + ||W2||^2).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from memdetect.errors import Exit, MemdetectError

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained.

    decay: lambda of eq. 6. optimizer: a name in OPTIMIZERS. draws: samples a step, drawn with replacement; 0 takes
    every sample once. copies: noise draws for each of them. anneal: let the rate fall to 0 along a quarter cosine, so
    that the noise of the steps does not stay in the weights. tied: W2 = W1, one parameter, whose decay counts for
    both layers as in eq. 6.
    """

    units: int
    sigma: float = 0.2
    decay: float = 0.0
    optimizer: str = "adam"
    rate: float = 1e-3
    steps: int = 2000
    draws: int = 0
    copies: int = 1
    anneal: bool = True
    tied: bool = True


class ReluDae(nn.Module):
    """f(x) = W2 [W1^T x]_+, W1 and W2 of shape [dim, unit]; tied networks have one parameter for both."""

    def __init__(self, first: Float[Tensor, "dim unit"], second: Float[Tensor, "dim unit"] | None = None) -> None:
        super().__init__()
        self.first = nn.Parameter(first.clone())
        self.second = self.first if second is None else nn.Parameter(second.clone())

    def represent(self, noisy: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch unit"]:
        """Hidden layer h = [W1^T x]_+, at least 0, in the unit of the data."""
        return torch.relu(noisy @ self.first)

    def forward(self, noisy: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The denoised samples."""
        return self.represent(noisy) @ self.second.T

    def weights(self) -> tuple[Float[np.ndarray, "dim unit"], Float[np.ndarray, "dim unit"]]:
        """W1 and W2 as arrays of float64."""
        return self.first.detach().double().numpy(), self.second.detach().double().numpy()


def fresh_network(dim: int, units: int, seed: int, *, tied: bool = True, dtype: torch.dtype = torch.float32) -> ReluDae:
    """Random weights as in PyTorch's Linear: uniform in +-1 / sqrt(fan-in)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(fan: int) -> Tensor:
        return ((torch.rand(dim, units, generator=generator, dtype=torch.float64) * 2 - 1) / fan**0.5).to(dtype)

    first = draw(dim)
    return ReluDae(first, None if tied else draw(units))


def equation_six(
    network: ReluDae, clean: Float[Tensor, "draw dim"], noisy: Float[Tensor, "draw dim"], decay: float
) -> Float[Tensor, ""]:
    """The loss of eq. 6 on given draws; unit: squared distance of data, summed over dimensions."""
    error = (network(noisy) - clean).square().sum(dim=1).mean()
    return error + decay * (network.first.square().sum() + network.second.square().sum())


def lambda_of(weight_decay: float, dim: int) -> float:
    """Lambda of eq. 6 that an optimizer's `weight_decay` w on PyTorch's mean squared error stands for: dim * w / 2.

    MSELoss averages over samples and dimensions, so it is 1 / dim of the first term of eq. 6. Adam, RMSprop and SGD
    add w * W to the gradient of each layer, the gradient of (w / 2) ||W||^2. Times dim: lambda = dim * w / 2 for each
    layer. The paper's code ties its layers by two parameters on the same memory, each decayed and stepped by itself,
    so that the gradient of the common matrix is decayed twice: the same lambda. (A single tied parameter decayed once
    has dim * w / 4.) AdamW takes rate * w * W off without dividing it by the gradient's size, which is the gradient of
    no fixed penalty: there is no lambda for it.
    """
    return dim * weight_decay / 2


def _optimizer(network: ReluDae, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW decays by itself, w = 2 lambda / dim; for the others the decay is part of the loss."""
    dim = network.first.shape[0]
    decay = 2 * recipe.decay / dim if recipe.optimizer == "adamw" else 0.0
    return OPTIMIZERS[recipe.optimizer](network.parameters(), lr=recipe.rate, weight_decay=decay)


def check(recipe: Recipe) -> None:
    """Raise MemdetectError, one line, for a recipe that cannot be trained."""
    if recipe.optimizer not in OPTIMIZERS:
        raise MemdetectError(f"no optimizer named {recipe.optimizer!r}; choose one of {', '.join(OPTIMIZERS)}")
    for name, least in (("units", 1), ("steps", 1), ("copies", 1), ("draws", 0)):
        if getattr(recipe, name) < least:
            raise MemdetectError(f"{name} is {getattr(recipe, name)}, expected at least {least}")
    for name in ("sigma", "decay", "rate"):
        if not 0 <= getattr(recipe, name) < float("inf"):
            raise MemdetectError(f"{name} is {getattr(recipe, name)}, expected a finite number of at least 0")


def train(
    samples: Float[np.ndarray, "sample dim"],
    recipe: Recipe,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    note: Callable[[int, float], None] | None = None,
) -> ReluDae:
    """Train a network from random weights; the same samples, recipe and seed give the same weights.

    `note` is called with the step and the loss now and then. Raises MemdetectError for a recipe that cannot be
    trained, and (error, not usage) when the loss is no longer finite.
    """
    check(recipe)
    clean = torch.from_numpy(np.ascontiguousarray(samples)).to(dtype)
    network = fresh_network(clean.shape[1], recipe.units, seed, tied=recipe.tied, dtype=dtype)
    for step, loss in _steps(network, clean, recipe, seed):
        if step % 250 == 0 or step == recipe.steps - 1:
            value = float(loss)
            if not np.isfinite(value):
                raise MemdetectError(f"the loss is {value} at step {step}; lower the rate {recipe.rate:g}", Exit.ERROR)
            if note:
                note(step, value)
    return network.requires_grad_(False)


def _steps(
    network: ReluDae, clean: Float[Tensor, "sample dim"], recipe: Recipe, seed: int
) -> Iterable[tuple[int, Tensor]]:
    generator = torch.Generator().manual_seed(seed + 1)
    optimizer = _optimizer(network, recipe)
    decay = 0.0 if recipe.optimizer == "adamw" else recipe.decay
    for step in range(recipe.steps):
        if recipe.anneal:
            share = np.cos(np.pi / 2 * step / recipe.steps)
            optimizer.param_groups[0]["lr"] = recipe.rate * share
        batch = clean
        if recipe.draws:
            batch = clean[torch.randint(len(clean), (recipe.draws,), generator=generator)]
        batch = batch.repeat(recipe.copies, 1)
        noise = torch.randn(batch.shape, generator=generator, dtype=clean.dtype)
        loss = equation_six(network, batch, batch + recipe.sigma * noise, decay)
        optimizer.zero_grad(set_to_none=True)
        # Of one scale with the paper's mean squared error: RMSprop and Adam forget it but for their epsilon.
        (loss / clean.shape[1]).backward()
        optimizer.step()
        yield step, loss.detach()
