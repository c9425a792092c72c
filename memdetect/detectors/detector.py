"""A detector is a record around a pure function: Trace -> one score per item and seed, higher = more memorized."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from memdetect.probing.needs import Need
from memdetect.probing.trace import Trace

Scores = Float[Tensor, "item seed"]
Seeds = Literal["quartile", "mean", "prompt"]


@dataclass(frozen=True, slots=True)
class Detector:
    """Name, what must be captured, the score at one place, and where the formula is from.

    needs: captures of the sampling run, or of finished images noised to a timestep, never of both. unit: what one unit
    of the raw score means. alias: the paper's key, such as `zhang2026`. seeds: how the values of the seeds become the
    prompt's score; `prompt` = the seeds are compared with each other, at least two, and each has the prompt's one
    value. latents: whether it reads the finished latents. banked: whether it compares with a bank of clean prompts,
    which a calibration keeps (`specificity`). seen: what a high score means, in words.
    """

    name: str
    needs: tuple[Need, ...]
    score: Callable[[Trace], Scores]
    unit: str
    reference: str
    alias: str
    seeds: Seeds = "quartile"
    latents: bool = False
    banked: bool = False
    seen: str = ""

    @property
    def of_images(self) -> bool:
        """Whether it reads finished images at layers and timesteps, so that given images can be scored as well."""
        return bool(self.needs) and all(need.when is None for need in self.needs)

    @property
    def unconditional(self) -> bool:
        """Whether it compares with the network's branch without a condition, which some models lack."""
        return any(need.branches for need in self.needs)
