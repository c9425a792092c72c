"""A detector is a record around a pure function: Trace -> one score per item, higher = more memorized."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from memdetect.probing.trace import Trace

Scores = Float[Tensor, " item"]
Moment = Literal["text", "first", "run", "image"]


@dataclass(frozen=True, slots=True)
class Detector:
    """Name, what must be captured, the score, and where the formula is from.

    look: when the denoiser is watched: `text` never (text encoder only), `first` the first sampling step, `run` the
    whole sampling, `image` a finished image noised to a timestep. needs: names of captures (see `probing.CAPTURES`).
    unit: what one unit of the raw score means. alias: the paper's key, such as `zhang2026`. unconditional: whether it
    compares with the network's branch without a condition, which distilled and unconditional models lack.
    """

    name: str
    look: Moment
    needs: frozenset[str]
    score: Callable[[Trace], Scores]
    unit: str
    reference: str
    alias: str
    unconditional: bool = False
