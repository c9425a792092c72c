"""NeMo's screen: the seeds' first predictions of the noise are alike but for the noise itself."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.probing.needs import Need, Window
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

Maps = Float[Tensor, "image chan row col"]
Windows = Float[Tensor, "image chan place other_place"]
KERNEL, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
SCALES = 3


def noise_difference(step: Step) -> Maps:
    """Predicted noise less the input, each channel brought to [0, 1]."""
    apart = step.prediction.noise - step.x.float()
    low, high = apart.amin(dim=(2, 3), keepdim=True), apart.amax(dim=(2, 3), keepdim=True)
    return (apart - low) / (high - low)


NEED = Need(noise_difference, Window("at", 12.0))  # the second of fifty steps of Stable Diffusion


def ms_ssim(one: Maps, other: Maps) -> Float[Tensor, " image"]:
    """Multi-scale structural similarity of maps in [0, 1], mean over channels.

    Windows of 11 positions and three scales of equal weight, as NeMo's; fewer scales where the smaller side of a scale
    would be below 11, and a window of the side where the first is.
    """
    side = min(one.shape[2:])
    scales = next((n for n in range(SCALES, 1, -1) if side >> (n - 1) >= KERNEL), 1)
    product = torch.ones(one.shape[:2], device=one.device)
    for scale in range(scales):
        luminance, structure = _ssim(one, other)
        last = scale == scales - 1
        term = luminance * structure if last else structure
        product = product * term.mean(dim=(2, 3)).clamp_min(0) ** (1 / scales)
        if not last:
            one, other = (functional.avg_pool2d(maps, 2) for maps in (one, other))
    return product.mean(dim=1)


def _ssim(one: Maps, other: Maps) -> tuple[Windows, Windows]:
    """Luminance, and contrast times structure, of all windows inside the maps."""
    mean, other_mean = _blurred(one), _blurred(other)
    power, other_power = (_blurred(maps.square()) - own.square() for maps, own in ((one, mean), (other, other_mean)))
    shared = _blurred(one * other) - mean * other_mean
    luminance = (2 * mean * other_mean + C1) / (mean.square() + other_mean.square() + C1)
    return luminance, (2 * shared + C2) / (power + other_power + C2)


def _blurred(maps: Maps) -> Windows:
    """Means of all windows inside the maps, weighed by a normal law about their middle."""
    size = min(KERNEL, *maps.shape[2:])
    place = torch.arange(size, device=maps.device) - (size - 1) / 2
    line = torch.exp(-place.square() / (2 * SIGMA**2))
    line = line / line.sum()
    flat = functional.conv2d(maps.flatten(0, 1).unsqueeze(1), line.view(1, 1, -1, 1))
    return functional.conv2d(flat, line.view(1, 1, 1, -1)).squeeze(1).unflatten(0, maps.shape[:2])


def _score(trace: Trace) -> Scores:
    """Largest similarity of two of an item's seeds, the same value for each seed."""
    maps = trace.output(NEED)[0].float()
    if maps.shape[1] < 2:
        raise MemdetectError("noise-agreement compares the images of a prompt, and there is one; sample more")
    pairs = combinations(range(maps.shape[1]), 2)
    found = torch.stack([ms_ssim(maps[:, i], maps[:, j]) for i, j in pairs])
    return found.amax(dim=0).unsqueeze(1).expand(-1, maps.shape[1])


NOISE_AGREEMENT = Detector(
    name="noise-agreement",
    needs=(NEED,),
    score=_score,
    unit="1 (structural similarity)",
    reference="Hintersdorf et al., NeurIPS 2024 (arXiv 2406.02366), NeMo's screen, at the first step with at most 12 "
    "times as much noise as signal, of the run as it is guided",
    alias="hintersdorf2024",
    seeds="prompt",
    seen="the same picture whatever the seed",
)
