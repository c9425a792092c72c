"""From memorization to generalization: networks of several widths, trained on more and more samples of a mixture."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from memdetect.lab.theory import forms
from memdetect.lab.theory.data import known_mixture
from memdetect.lab.theory.network import Recipe, train
from memdetect.lab.theory.probes import spectrum
from memdetect.lab.theory.results import TransitionResult

SAMPLES = (4, 16, 64, 256, 1024, 4096)
UNITS = (4, 8, 16, 64, 256)
FRESH, RANKED = 400, 100
# Decay 1e-3: n * lambda stays below the eigenvalues of the clusters' four strong directions.
RECIPE = Recipe(0, sigma=0.2, decay=1e-3, rate=1e-2, steps=1000, draws=256)

Cell = tuple[float, float, float, float]


def transition(
    seed: int,
    samples: Sequence[int] = SAMPLES,
    units: Sequence[int] = UNITS,
    recipe: Recipe = RECIPE,
    note: Callable[[str], None] | None = None,
) -> TransitionResult:
    """Train every width on every number of samples; the larger training sets contain the smaller ones."""
    mixture, rng = known_mixture(), np.random.default_rng(seed)
    drawn, _ = mixture.draw(max(samples), rng)
    fresh, _ = mixture.draw(FRESH, rng)
    noise = recipe.sigma * rng.standard_normal(fresh.shape)
    table: list[list[Cell]] = []
    for count in samples:
        if note:
            note(f"transition: {count} samples")
        trained = drawn[:count]
        table.append([_cell(mixture, trained, fresh, noise, (replace(recipe, units=u), seed)) for u in units])
    columns = [[[cell[k] for cell in row] for row in table] for k in range(4)]
    return TransitionResult(
        seed=seed,
        sigma=recipe.sigma,
        samples=list(samples),
        units=list(units),
        between=columns[0],
        seen=columns[1],
        unseen=columns[2],
        rank=columns[3],
    )


def _cell(
    mixture: forms.Mixture, trained: np.ndarray, fresh: np.ndarray, noise: np.ndarray, how: tuple[Recipe, int]
) -> Cell:
    """Place between the poles on fresh samples, error on training and fresh ones, rank at the former."""
    recipe, seed = how
    network = train(trained, recipe, seed)
    known = trained[np.arange(FRESH) % len(trained)]
    seen, unseen = (
        network(torch.from_numpy(x + noise).to(network.first.dtype)).double().numpy() for x in (known, fresh)
    )
    truth = mixture.denoise(fresh + noise, recipe.sigma)
    ranks = [spectrum(*network.weights(), point).rank for point in (known + noise)[:RANKED]]
    return (
        forms.between(unseen, fresh + noise, trained, truth, recipe.sigma),
        float(np.square(seen - known).sum(axis=1).mean()),
        float(np.square(unseen - fresh).sum(axis=1).mean()),
        float(np.median(ranks)),
    )
