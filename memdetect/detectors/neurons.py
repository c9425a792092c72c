"""Neurons: of the values that cross-attention makes of a prompt, the one furthest from those of clean prompts."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.probing.attention import Text
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.trace import Trace

Moments = Mapping[str, Float[Tensor, "2 _"]]
WHERE = ("down_blocks.", "mid_block.")


def value_sizes(text: Text) -> Float[Tensor, "batch dim"]:
    """Mean over tokens of the absolute value of each neuron of one layer's `to_v`."""
    return text.states.float().abs().mean(dim=1)


NEED = Need(value_sizes, FIRST, "values")


def neurons(moments: Moments) -> Detector:
    """The detector of clean prompts' neurons (mean and standard deviation, by layer); without them one that refuses.

    max over neurons of |a - mu| / sigma, of the layers on the way down and in the middle of a U-Net, of all layers of
    another network. A neuron that is the same for all clean prompts says nothing. Range [0, inf).
    """

    def score(trace: Trace) -> Scores:
        if not moments:
            raise MemdetectError("neurons compares with a bank of clean prompts; run `memdetect calibrate` first")
        found = {name: array[0] for name, array in trace.need(NEED).items()}
        own = {name: array for name, array in found.items() if name.startswith(WHERE)} or found
        if missing := own.keys() - moments.keys():
            raise MemdetectError(f"the bank keeps no neurons of layer {min(missing)!r}; calibrate with this model")
        return torch.stack([_furthest(array, moments[name]) for name, array in own.items()]).amax(dim=0)

    return Detector(
        name="neurons",
        needs=(NEED,),
        score=score,
        unit="standard deviations of clean prompts",
        reference="Hintersdorf et al., NeurIPS 2024 (arXiv 2406.02366), NeMo's first selection of neurons, largest z",
        alias="hintersdorf2024-neurons",
        seeds="mean",
        banked=True,
        seen="a neuron that no clean prompt moves so",
    )


def _furthest(sizes: Float[Tensor, "item seed dim"], moments: Float[Tensor, "2 dim"]) -> Scores:
    mean, deviation = moments.to(sizes)
    return ((sizes - mean).abs() / deviation).where(deviation > 0, 0.0).amax(dim=-1)


NEURONS = neurons({})
