"""Condition Jacobian: how fast the first prediction changes along the prompt's embedding, at the whole prompt."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

REACH = 0.05  # share of the way from no prompt to the prompt


def slope(step: Step, reach: float = REACH) -> Float[Tensor, " batch"]:
    """||f(c) - f(c - reach (c - c_0))||_2 / reach, f the network's output, c_0 the condition of the other branch."""
    apart = step.cond.float() - step.at_condition(1 - reach).float()
    return torch.linalg.vector_norm(apart.flatten(1), dim=1) / reach


NEED = Need(slope, FIRST, branches=True, embedding=True, further=1)


def _score(trace: Trace) -> Scores:
    return trace.output(NEED)[0]


CONDITION_JACOBIAN = Detector(
    name="condition-jacobian",
    needs=(NEED,),
    score=_score,
    unit="that of the network's output",
    reference="after the abstract of a paper on condition Jacobians (openreview pY2P28M9Iv), which gives no formula; "
    "this one is own",
    alias="condition-slope",
    seeds="mean",
    seen="a prediction that hangs on the exact prompt",
)
