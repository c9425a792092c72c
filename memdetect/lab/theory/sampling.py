"""Images drawn from the time-conditioned network, and how near they are to what it was trained on."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

import numpy as np
import torch

from memdetect.lab.theory.data import Data
from memdetect.lab.theory.presets import Plan
from memdetect.lab.theory.probes import nearest_cosine
from memdetect.lab.theory.results import Panel, SamplingResult, picture
from memdetect.lab.theory.sets import training_set
from memdetect.lab.theory.timed import LEVELS, WIDE, noise_levels, sample, train_timed

Note = Callable[[str], None]
DRAWN, SHOWN = 64, 4
KEEP = (0, 20, 35, 50)  # of 60 steps


def draw(
    data: Data,
    regime: Literal["memorize", "generalize"],
    plan: Plan,
    seed: int,
    preset: str,
    note: Note | None = None,
) -> SamplingResult:
    """Train the time-conditioned network of a regime and draw samples from pure noise."""

    def seen(step: int, loss: float) -> None:
        if note and step % 1000 == 0:
            note(f"sampling, {regime}: step {step} of {plan.recipe.steps}, loss {loss:.3f}")

    chosen = training_set(data, regime, plan)
    levels = LEVELS if data.side else WIDE
    network = train_timed(chosen.samples, plan.recipe, seed, levels, note=seen)
    samples = torch.from_numpy(chosen.samples).float()
    generator = torch.Generator().manual_seed(seed + 2)
    start = levels[1] * torch.randn(DRAWN, samples.shape[1], generator=generator)
    path = sample(network, start, noise_levels(levels=levels), seed + 3, 1.0 if data.side else None, KEEP)
    ends = path.states[-1]
    fresh = torch.from_numpy(chosen.fresh[:DRAWN]).float()
    rows = [_row(path.sigmas, path.states[:, i].double().numpy(), chosen.samples, data.side) for i in range(SHOWN)]
    return SamplingResult(
        regime=regime,
        data=data.name,
        preset=preset,
        seed=seed,
        recipe=asdict(plan.recipe),
        cosines=nearest_cosine(ends, samples).tolist(),
        fresh=nearest_cosine(fresh, samples).tolist(),
        rows=rows,
    )


def _row(sigmas: tuple[float, ...], states: np.ndarray, samples: np.ndarray, side: int) -> list[Panel]:
    """One sample on its way, and the training sample nearest to its end."""
    unit = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    cosines = unit @ states[-1] / max(float(np.linalg.norm(states[-1])), 1e-30)
    nearest = int(cosines.argmax())
    panels = [picture(f"sigma {level:.2g}", state, side) for level, state in zip(sigmas, states, strict=True)]
    return [*panels, picture(f"nearest, cos {cosines[nearest]:.2f}", samples[nearest], side)]
