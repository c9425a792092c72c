"""Trajectory: the first ways between steps are longer or shorter than those of clean prompts."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.probing.needs import UNTIL_EARLY, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace


def place(step: Step) -> Float[Tensor, "batch chan row col"]:
    """The network's input."""
    return step.x


WAY = Need(place, UNTIL_EARLY, fewest=2)


def way_lengths(places: Float[Tensor, "step item seed chan row col"]) -> Float[Tensor, "way item seed"]:
    """l2 norms of the ways between successive steps."""
    return torch.linalg.vector_norm(places.float().diff(dim=0).flatten(3), dim=-1)


def trajectory(ways: Float[Tensor, "2 way"] | None) -> Detector:
    """The detector of clean prompts' ways (mean and standard deviation of each); without them one that refuses.

    max over the ways of | ||x_t - x_(t-1)|| - mu_t | / sigma_t, by seed. Range [0, inf).
    """

    def score(trace: Trace) -> Scores:
        if ways is None:
            raise MemdetectError("trajectory compares with a bank of clean prompts; run `memdetect calibrate` first")
        found = way_lengths(trace.output(WAY))
        if found.shape[0] != ways.shape[1] or not len(found):
            raise MemdetectError(
                f"trajectory compares {ways.shape[1]} ways with {found.shape[0]}, expected as many, at least one; "
                "calibrate with the same steps, and more of them"
            )
        mean, deviation = ways[:, :, None, None].to(found)
        return ((found - mean).abs() / deviation).amax(dim=0)

    return Detector(
        name="trajectory",
        needs=(WAY,),
        score=score,
        unit="standard deviations of clean prompts",
        reference="Huang et al., KDD 2026 (arXiv 2605.22050), of the first steps",
        alias="huang2026",
        seeds="mean",
        banked=True,
        seen="an unusual way through the first steps",
    )


TRAJECTORY = trajectory(None)
