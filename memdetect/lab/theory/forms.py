"""What the theory says the weights of a trained ReLU autoencoder are, and how far given weights are from it.

f(x) = W2 [W1^T x]_+ with W1, W2 of shape [dim, unit], trained on x + sigma * noise with the loss (eq. 6)
1/n sum_i E ||f(x_i + sigma e) - x_i||^2 + decay * (||W1||^2 + ||W2||^2). Zhang et al., ICLR 2026, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from memdetect.errors import MemdetectError

Samples = Float[np.ndarray, "sample dim"]
Cluster = Float[np.ndarray, "_ dim"]  # of a list whose members differ in length
Noisy = Float[np.ndarray, "noisy dim"]
Weights = Float[np.ndarray, "dim unit"]
Square = Float[np.ndarray, "dim dim"]


def separability(clusters: Sequence[Cluster]) -> tuple[float, float]:
    """(alpha, beta) of Definition 3.1: largest relative radius of a cluster, largest cosine between two means.

    alpha >= 0, beta in [-1, 1]; the theorems ask for beta < 0. beta is -1 for a single cluster.
    """
    means = [cluster.mean(axis=0) for cluster in clusters]
    radii = [np.linalg.norm(c - m, axis=1).max() / np.linalg.norm(m) for c, m in zip(clusters, means, strict=True)]
    unit = np.stack([m / np.linalg.norm(m) for m in means])
    cosines = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)]
    return float(max(radii)), float(cosines.max()) if len(cosines) else -1.0


def memorizing(samples: Samples, sigma: float, decay: float = 0.0) -> Weights:
    """Corollary 3.2: one unit for each sample, r_i x_i with r_i^2 = (|x|^2 - n decay) / (|x|^4 + sigma^2 |x|^2).

    Raises MemdetectError when n * decay reaches the smallest |x_i|^2: weight decay then removes that unit.
    """
    squares = np.square(samples).sum(axis=1)
    limit = len(samples) * decay
    if limit >= squares.min():
        raise MemdetectError(
            f"n * decay is {limit:.4g}, the smallest squared norm {squares.min():.4g}; the corollary needs it smaller"
        )
    scale = np.sqrt((squares - limit) / (squares**2 + sigma**2 * squares))
    return (scale[:, None] * samples).T


def block(samples: Samples, units: int, sigma: float, decay: float = 0.0, total: int | None = None) -> Weights:
    """Theorem 3.1: U (I + n_k sigma^2 / L)^(-1/2) (I - n decay / L)^(1/2), the rotation O_k left out.

    U, L: the leading `units` eigenvectors and eigenvalues of the sum of x x^T over the cluster; `total`: samples of
    all clusters together. Raises MemdetectError when the cluster has fewer directions than units, or n * decay
    reaches the smallest of the eigenvalues.
    """
    values, vectors = np.linalg.eigh(samples.T @ samples)
    values, vectors = values[::-1][:units], vectors[:, ::-1][:, :units]
    limit = (total or len(samples)) * decay
    if len(values) < units or values[-1] <= max(limit, 1e-12 * values[0]):
        raise MemdetectError(
            f"eigenvalue {units} of the cluster is {values[-1]:.4g}, expected more than n * decay = {limit:.4g}; "
            "give it fewer units or less decay"
        )
    gain = np.sqrt((1 - limit / values) / (1 + len(samples) * sigma**2 / values))
    return vectors * gain


def blockwise(clusters: Sequence[Cluster], units: Sequence[int], sigma: float, decay: float = 0.0) -> Weights:
    """Theorem 3.1 (and Corollary 3.4, where a cluster of equal samples gets one unit): the blocks side by side."""
    total = sum(map(len, clusters))
    blocks = [block(c, k, sigma, decay, total) for c, k in zip(clusters, units, strict=True)]
    oriented = [_towards(w, c.mean(axis=0)) for w, c in zip(blocks, clusters, strict=True)]
    return np.concatenate(oriented, axis=1)


def _towards(weights: Weights, mean: Float[np.ndarray, " dim"]) -> Weights:
    """Turn a block so that every unit has the same positive product with the cluster's mean.

    The theorem leaves the rotation free; the units have to be active on their cluster.
    """
    along = weights.T @ mean
    target = np.full(len(along), np.linalg.norm(along) / np.sqrt(len(along)))
    return weights @ _reflection(along, target)


def _reflection(a: Float[np.ndarray, " unit"], b: Float[np.ndarray, " unit"]) -> Float[np.ndarray, "unit unit"]:
    """Orthogonal, symmetric matrix that takes a to b (of equal norm) and b to a."""
    difference = a - b
    square = difference @ difference
    return np.eye(len(a)) - (2 * np.outer(difference, difference) / square if square > 1e-24 else 0)


def population_filter(moment: Square, units: int, sigma: float, decay: float = 0.0, weight: float = 1.0) -> Square:
    """Corollary 3.3: the best rank-`units` part of (S - decay / rho I) (S + sigma^2 I)^-1 for a cluster.

    `moment`: S = mu mu^T + Sigma; `weight`: rho, the cluster's share. Directions that decay removes count as 0.
    """
    gain, vectors = gains(moment, units, sigma, decay, weight)
    return (vectors * gain) @ vectors.T


def gains(
    moment: Square, units: int, sigma: float, decay: float = 0.0, weight: float = 1.0
) -> tuple[Float[np.ndarray, " unit"], Weights]:
    """Eigenvalues, in [0, 1), and eigenvectors of `population_filter`, strongest first."""
    values, vectors = np.linalg.eigh(moment)
    values, vectors = values[::-1][:units], vectors[:, ::-1][:, :units]
    return np.maximum(values - decay / weight, 0) / (values + sigma**2), vectors


def margin(samples: Samples, weights: Weights) -> float:
    """Smallest distance of a sample to the boundary of any unit that is not zero: |w^T x| / |w|.

    Noise of far less than this never changes which units are active, and the closed forms hold.
    """
    norms = np.linalg.norm(weights, axis=0)
    used = norms > 1e-9 * norms.max()
    return float(np.abs(samples @ weights[:, used] / norms[used]).min())


@dataclass(frozen=True, slots=True)
class Gap:
    """Distance of weights from the predicted ones, relative to the latter's norm; 0 = equal.

    columns: after the best matching of units (permutation); filter: of W W^T, which no rotation within a block
    changes; unused: share of the squared norm in units that the prediction leaves at zero.
    """

    columns: float
    filter: float
    unused: float


def gap(found: Float[np.ndarray, "dim trained"], predicted: Weights) -> Gap:
    """Compare trained with predicted weights; MemdetectError when there are fewer units than predicted."""
    if found.shape[1] < predicted.shape[1]:
        raise MemdetectError(f"{found.shape[1]} units were trained, {predicted.shape[1]} are predicted; train more")
    wanted = np.pad(predicted, ((0, 0), (0, found.shape[1] - predicted.shape[1])))
    cost = np.square(found).sum(0)[:, None] + np.square(wanted).sum(0) - 2 * found.T @ wanted
    rows, columns = linear_sum_assignment(cost)
    norm = np.linalg.norm(predicted)
    spare = rows[columns >= predicted.shape[1]]
    return Gap(
        columns=float(np.sqrt(max(cost[rows, columns].sum(), 0)) / norm),
        filter=float(
            np.linalg.norm(found @ found.T - predicted @ predicted.T) / np.linalg.norm(predicted @ predicted.T)
        ),
        unused=float(np.square(found[:, spare]).sum() / np.square(found).sum()),
    )


def empirical_denoiser(noisy: Noisy, samples: Samples, sigma: float) -> Noisy:
    """E[x | noisy] for the empirical law of the samples: a softmax of -|noisy - x_i|^2 / (2 sigma^2)."""
    square = np.square(noisy).sum(1)[:, None] + np.square(samples).sum(1) - 2 * noisy @ samples.T
    logits = -square / (2 * sigma**2)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True) @ samples


@dataclass(frozen=True, slots=True)
class Mixture:
    """A Gaussian mixture: shares [cluster], means [cluster, dim], covariances [cluster, dim, dim]."""

    shares: Float[np.ndarray, " cluster"]
    means: Float[np.ndarray, "cluster dim"]
    covariances: Float[np.ndarray, "cluster dim dim"]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Samples, np.ndarray]:
        """`count` samples, and the cluster of each."""
        which = rng.choice(len(self.shares), count, p=self.shares)
        roots = np.linalg.cholesky(self.covariances + 1e-12 * np.eye(self.means.shape[1]))
        noise = rng.standard_normal((count, self.means.shape[1]))
        return self.means[which] + np.einsum("nij,nj->ni", roots[which], noise), which

    def denoise(self, noisy: Noisy, sigma: float) -> Noisy:
        """E[x | noisy] under the mixture itself: the generalizing solution."""
        eye = np.eye(noisy.shape[1])
        logits, guesses = [], []
        for share, mean, covariance in zip(self.shares, self.means, self.covariances, strict=True):
            total = covariance + sigma**2 * eye
            centred = noisy - mean
            solved = np.linalg.solve(total, centred.T).T
            logits.append(np.log(share) - 0.5 * (centred * solved).sum(1) - 0.5 * np.linalg.slogdet(total)[1])
            guesses.append(mean + solved @ covariance)
        table = np.stack(logits)
        weights = np.exp(table - table.max(axis=0))
        return np.einsum("kn,knd->nd", weights / weights.sum(axis=0), np.stack(guesses))


def between(denoised: Noisy, noisy: Noisy, samples: Samples, truth: Noisy, sigma: float) -> float:
    """Where a denoiser lies between the two poles: 0 = the empirical denoiser, 1 = the true one.

    Least-squares share along the line from the empirical denoiser's outputs to `truth`, those of the true one; may
    leave [0, 1]. Says little where the poles are close to each other against the denoiser's distance from both, as
    with many samples in few dimensions.
    """
    pole = empirical_denoiser(noisy, samples, sigma)
    line = truth - pole
    return float(((denoised - pole) * line).sum() / np.square(line).sum())
