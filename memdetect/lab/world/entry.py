"""One prompt of a world, and the draw of what it is used for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from memdetect.lab.world.scenes import Scene

Part = Literal["tuning", "calibration", "test"]
CLEAN_PARTS: Mapping[Part, float] = {"tuning": 0.15, "calibration": 0.6, "test": 0.25}


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled or clean prompt: what it is, how often the training shows its image, in which part it is used.

    `group`: duplicated (with the most exposures), control (0 or 1 exposures), dose-response (between), verbatim,
    verbatim-control, template, template-control, shown-emblem, seen, unseen, emblem. `family` is what is split
    together. An entry has a scene, or (verbatim) a clip art, or (verbatim-control) neither.
    """

    id: str
    group: str
    family: str
    part: Part
    exposures: int
    caption: str
    scene: Scene | None = None
    clip: str | None = None


def halves(rng: np.random.Generator, count: int) -> list[Part]:
    """The split of each of `count` labelled prompts, by a draw: half of them for tuning, half for the test."""
    return ["tuning" if i < count // 2 else "test" for i in rng.permutation(count)]


def parts_of(rng: np.random.Generator, count: int) -> list[Part]:
    """The part of each of `count` clean prompts, by a draw, in the shares of `CLEAN_PARTS`."""
    a, b = (round(share * count) for share in (CLEAN_PARTS["tuning"], 1 - CLEAN_PARTS["test"]))
    return ["tuning" if i < a else "calibration" if i < b else "test" for i in rng.permutation(count)]
