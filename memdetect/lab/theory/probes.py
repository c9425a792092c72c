"""What a trained network does with a sample: Jacobian, repeated denoising, and the shape of its hidden layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.shape import concentration, kurtosis, top_energy
from memdetect.detectors.spikiness import channel_std, l4_over_l2
from memdetect.lab.theory.forms import Weights

STATISTICS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "spikiness": channel_std,
    "spikiness-l4": l4_over_l2,
    "kurtosis": kurtosis,
    "concentration": concentration,
    "top-energy": top_energy,
}


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of the Jacobian at a sample, largest first.

    rank: exp of the entropy of their squares' shares, from 1 to the number of active units. top: |cosine| of the
    first left singular vector with the sample. along: ||J x||^2 / (||x||^2 ||J||^2), the share of J that acts on the
    sample's own direction: 1 for a memorized sample, about 1 / rank if all directions count alike.
    """

    values: Float[np.ndarray, " unit"]
    rank: float
    top: float
    along: float


def spectrum(first: Weights, second: Weights, point: Float[np.ndarray, " dim"]) -> Spectrum:
    """Of J = W2 diag(active) W1^T at `point`, through the small matrix of two QR factorizations. Exact."""
    active = point @ first > 0
    if not active.any():
        return Spectrum(np.zeros(1), 0.0, 0.0, 0.0)
    left, upper = np.linalg.qr(second[:, active])
    _, lower = np.linalg.qr(first[:, active])
    turned, values, _ = np.linalg.svd(upper @ lower.T)
    shares = np.square(values) / np.square(values).sum()
    moved = second[:, active] @ (first[:, active].T @ point)
    norm = np.linalg.norm(point)
    return Spectrum(
        values=values,
        rank=float(np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())),
        top=float(abs(left @ turned[:, 0] @ point) / norm),
        along=float(np.square(moved).sum() / (norm**2 * np.square(values).sum())),
    )


def nearest_cosine(points: Tensor, samples: Tensor) -> Tensor:
    """Largest cosine of each point with any of the samples; 0 for a point at the origin."""
    unit = torch.nn.functional.normalize(samples, dim=1)
    return (torch.nn.functional.normalize(points, dim=1) @ unit.T).amax(dim=1)


@dataclass(frozen=True, slots=True)
class Iteration:
    """Repeated denoising: after each step the cosine with the nearest training sample, and the last points."""

    cosines: Float[Tensor, "iteration start"]
    last: Float[Tensor, "start dim"]


def iterate(
    denoise: Callable[[Tensor], Tensor], starts: Float[Tensor, "start dim"], samples: Float[Tensor, "sample dim"],
    steps: int = 30,
) -> Iteration:  # fmt: skip
    """Denoise again and again, scaled back to the start's norm each time: a power method on a network without biases.

    Scaling changes no direction, since f(a x) = a f(x) for a > 0. A point that the network takes to 0 stays there.
    """
    norms, points = starts.norm(dim=1, keepdim=True), starts
    cosines = [nearest_cosine(points, samples)]
    for _ in range(steps):
        points = torch.nn.functional.normalize(denoise(points), dim=1) * norms
        cosines.append(nearest_cosine(points, samples))
    return Iteration(torch.stack(cosines), points)


def shapes(hidden: Float[Tensor, "sample unit"]) -> dict[str, Float[Tensor, " sample"]]:
    """Spikiness, l4/l2, kurtosis, concentration and top-energy of each sample's hidden layer, as detectors do it."""
    return {name: statistic(hidden) for name, statistic in STATISTICS.items()}


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive scores above a negative, ties half; nan without one of the two."""
    if not positive or not negative:
        return float("nan")
    high, low = np.asarray(positive)[:, None], np.asarray(negative)
    return float((high > low).mean() + 0.5 * (high == low).mean())
