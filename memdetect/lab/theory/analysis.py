"""Trained against predicted weights, and whether the conditions of the prediction hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from memdetect.lab.theory import forms
from memdetect.lab.theory.forms import Cluster, Samples, Weights

COLLINEAR = 0.95  # cosine from which two units count as one direction
IDLE = 0.05  # units below this share of the largest norm count as zero


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the theorems ask for, measured; `problems` names what does not hold, one line each.

    alpha, beta: separability. pull: n * decay. floor: smallest eigenvalue of a block that must exceed it.
    """

    alpha: float
    beta: float
    pull: float
    floor: float
    problems: tuple[str, ...]


def conditions(
    clusters: Sequence[Cluster], units: Sequence[int], width: int, decay: float, memorize: bool = False
) -> Conditions:
    """Check Theorem 3.1 for blocks of these numbers of units; `memorize` also checks Corollary 3.2's p >= n."""
    alpha, beta = forms.separability(clusters)
    total = sum(map(len, clusters))
    floors = [_eigenvalues(c)[: max(k, 1)][-1] for c, k in zip(clusters, units, strict=True)]
    pull, floor = total * decay, float(min(floors))
    problems: list[str] = []
    if beta >= 0:
        problems.append(f"beta is {beta:.3f}, the theorem needs it below 0: two means are less than 90 degrees apart")
    if pull >= floor:
        problems.append(
            f"n * lambda is {pull:.4g}, the smallest eigenvalue of a block {floor:.4g}; the theorem needs it smaller, "
            "directions below are removed by the decay"
        )
    if memorize and width < total:
        problems.append(f"{width} units for {total} samples; the corollary needs at least as many units as samples")
    idle = [k for k, count in enumerate(units) if count < 1]
    if idle:
        problems.append(f"no unit is left for cluster {idle[0]}; the theorem gives each at least one")
    return Conditions(alpha, beta, pull, floor, tuple(problems))


def _eigenvalues(cluster: Cluster) -> Float[np.ndarray, " smaller"]:
    """Of the sum of x x^T, largest first, by the smaller of the two Gram matrices, whose other values are equal."""
    return np.linalg.eigvalsh(cluster.T @ cluster if len(cluster) > cluster.shape[1] else cluster @ cluster.T)[::-1]


def directions(cluster: Cluster, pull: float) -> int:
    """How many directions of a cluster decay leaves: eigenvalues of sum x x^T above n * decay; at least 1."""
    values = _eigenvalues(cluster)
    return max(int((values > max(pull, 1e-9 * values[0])).sum()), 1)


def merge(weights: Weights, cosine: float = COLLINEAR) -> Float[np.ndarray, "dim merged"]:
    """Units of one direction as one: the direction of their sum, with the root of the sum of squares as norm.

    [w a_1^T x]_+ ... [w a_k^T x]_+ with a_j > 0 and sum a_j^2 = 1 is the function of [w^T x]_+: Theorem 3.1 leaves
    that rotation free. Idle units are dropped.
    """
    norms = np.linalg.norm(weights, axis=0)
    left = [int(i) for i in np.argsort(-norms) if norms[i] > IDLE * norms.max()]
    made: list[np.ndarray] = []
    while left:
        lead = weights[:, left[0]] / norms[left[0]]
        group = [i for i in left if weights[:, i] @ lead > cosine * norms[i]]
        total = (weights[:, group] * norms[group]).sum(axis=1)
        made.append(total / np.linalg.norm(total) * np.sqrt(np.square(norms[group]).sum()))
        left = [i for i in left if i not in group]
    return np.stack(made, axis=1)


@dataclass(frozen=True, slots=True)
class Memorized:
    """Trained weights against Corollary 3.2.

    columns: relative distance after the best order of the units; merged: the same after collinear units were merged;
    filter: relative distance of W2 W1^T. units_a_sample: trained units of each sample's direction.
    """

    columns: float
    merged: float
    filter: float
    units_a_sample: tuple[int, ...]


def against_memorizing(first: Weights, second: Weights, samples: Samples, sigma: float, decay: float) -> Memorized:
    """Distances from (r_i x_i); the columns are those of W1. Raises MemdetectError when no prediction exists."""
    predicted = forms.memorizing(samples, sigma, decay)
    wide = _at_least(first, predicted.shape[1])
    joined = _at_least(merge(first), predicted.shape[1])
    wanted = predicted @ predicted.T
    unit = predicted / np.linalg.norm(predicted, axis=0)
    norms = np.linalg.norm(first, axis=0)
    close = (unit.T @ first > COLLINEAR * norms) & (norms > IDLE * norms.max())
    return Memorized(
        columns=forms.gap(wide, predicted).columns,
        merged=forms.gap(joined, predicted).columns,
        filter=float(np.linalg.norm(second @ first.T - wanted) / np.linalg.norm(wanted)),
        units_a_sample=tuple(int(k) for k in close.sum(axis=1)),
    )


def _at_least(weights: Weights, units: int) -> Float[np.ndarray, "dim padded"]:
    return np.pad(weights, ((0, 0), (0, max(units - weights.shape[1], 0))))


@dataclass(frozen=True, slots=True)
class Block:
    """The units of one cluster against Corollary 3.3.

    units: units that are most active on it. filter: relative distance of their W2_k W1_k^T from the best filter of
    that rank. own, other: share of the cluster's own, and of all other, samples on which a unit of the block is
    active; the theorem has 1 and 0. energy: share of the cluster's hidden energy that is in its own block.
    """

    units: int
    filter: float
    own: float
    other: float
    energy: float


def assign(first: Weights, clusters: Sequence[Cluster]) -> Int[np.ndarray, " unit"]:
    """The cluster on which each unit has the most energy, the mean of h^2; -1 for idle units."""
    energy = np.stack([np.square(np.maximum(c @ first, 0)).mean(axis=0) for c in clusters])
    norms = np.linalg.norm(first, axis=0)
    used = (norms > IDLE * norms.max()) & (energy.max(axis=0) > 0)
    return np.where(used, energy.argmax(axis=0), -1)


def blocks(
    first: Weights, second: Weights, clusters: Sequence[Cluster], sigma: float, decay: float
) -> tuple[Block, ...]:
    """Each cluster's units and their filter against (S_k - lambda / rho_k)(S_k + sigma^2)^-1 at that rank.

    S_k is the second moment of the cluster's samples, so that this is Theorem 3.1 on these samples.
    """
    owner, total = assign(first, clusters), sum(map(len, clusters))
    return tuple(
        _block(first, second, clusters, k, owner == k, (sigma, decay * total / len(c))) for k, c in enumerate(clusters)
    )


def _block(
    first: Weights,
    second: Weights,
    clusters: Sequence[Cluster],
    k: int,
    mine: np.ndarray,
    levels: tuple[float, float],
) -> Block:
    cluster = clusters[k]
    hidden = np.maximum(cluster @ first, 0)
    others = [c for j, c in enumerate(clusters) if j != k]
    elsewhere = np.concatenate(others) if others else cluster[:0]
    moment = cluster.T @ cluster / len(cluster)
    wanted = forms.population_filter(moment, max(int(mine.sum()), 1), levels[0], levels[1])
    found = second[:, mine] @ first[:, mine].T
    return Block(
        units=int(mine.sum()),
        filter=float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)),
        own=_share(hidden[:, mine] > 0),
        other=_share(elsewhere @ first[:, mine] > 0),
        energy=float(np.square(hidden[:, mine]).sum() / max(np.square(hidden).sum(), 1e-30)),
    )


def _share(active: np.ndarray) -> float:
    return float(active.mean()) if active.size else 0.0
