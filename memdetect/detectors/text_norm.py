"""Text norm: length of the prompt's end token as the network is given it. A control: no network of images is asked."""

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.probing.attention import Text
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.trace import Trace


def end_norm(text: Text) -> Float[Tensor, " batch"]:
    """l2 norm of the end token of each prompt."""
    ends = [states[end] for states, end in zip(text.states.float(), text.ends, strict=True)]
    return torch.linalg.vector_norm(torch.stack(ends), dim=1)


NEED = Need(end_norm, FIRST, "text")


def _score(trace: Trace) -> Scores:
    return trace.output(NEED)[0]


TEXT_NORM = Detector(
    name="text-norm",
    needs=(NEED,),
    score=_score,
    unit="that of the text's numbers",
    reference="a control of the prompt's text alone, own; see docs/reference/detectors.md",
    alias="text-norm-end",
    seeds="mean",
    seen="an unusual text",
)
