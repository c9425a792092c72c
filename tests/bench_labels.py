"""Labelled prompts and scores of made-up detectors, for the bench."""

from collections.abc import Mapping, Sequence

import numpy as np

from memdetect.evaluation.bench.asked import SPLITS, Asked, Comparison, Labelled
from memdetect.evaluation.bench.choosing import Cell, Place

ASKED = Asked((Comparison("famous", "plain"),), clean=("fresh",))


def labelled(counts: Mapping[str, int], asked: Asked = ASKED, members: int = 1) -> Labelled:
    """So many prompts of each group in each split, `members` of them a family; ids are GROUP-SPLIT-NUMBER."""
    names = {f"{g}-{split}-{i:03d}": (g, split, i) for g, n in counts.items() for split in SPLITS for i in range(n)}
    return Labelled(
        asked,
        {name: group for name, (group, _, _) in names.items()},
        {name: f"{group}-{split}-{i // members}" for name, (group, split, i) in names.items()},
        {name: split for name, (_, split, _) in names.items()},
        {name: f"{group} picture {i}" for name, (group, _, i) in names.items()},
        {},
    )


def noise(labels: Labelled, rng: np.random.Generator, shift: float = 0.0, group: str = "famous") -> dict[str, float]:
    """A normal number for each prompt, more by `shift` for one group."""
    return {name: float(rng.normal() + shift * (own == group)) for name, own in labels.groups.items()}


def cells(detector: str, scores: Sequence[Mapping[str, float]]) -> list[Cell]:
    """The places of a detector, a step each."""
    return [Cell(detector, Place(f"step {k}"), f"{detector} @ {k}", own) for k, own in enumerate(scores, 1)]
