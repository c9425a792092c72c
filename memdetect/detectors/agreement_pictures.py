"""Agreement of the finished images themselves: by their pixels, by their edges, and by an embedder."""

from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from memdetect.adapters import Model
from memdetect.copies.embedders import Embedder, Source, choose_embedder
from memdetect.copies.embedders.sscd_int8 import installed
from memdetect.copies.embedders.weights import find_weights
from memdetect.copies.pixels import TILES
from memdetect.detectors.agreement import REFERENCE
from memdetect.detectors.detector import Detector, Scores
from memdetect.errors import MemdetectError
from memdetect.probing.decoding import Pictures
from memdetect.probing.needs import AFTER, Need
from memdetect.probing.trace import Trace

LONGEST = 64  # pixels of the longer side to which larger images are reduced
EDGE = 1.5  # sum over channels of the gradient's length, of colours in [0, 1]


def reduced(pictures: Pictures) -> Float[Tensor, "batch 3 row col"]:
    """RGB in [0, 1], the longer side at most 64 pixels by area means, sides divisible by 4; nan of a broken image."""
    pixels = torch.stack([torch.from_numpy(one.pixels) for one in pictures.shown]).permute(0, 3, 1, 2).float() / 255
    pixels = pixels.expand(-1, 3, -1, -1)
    scale = min(1.0, LONGEST / max(pixels.shape[2:]))
    rows, cols = (max(TILES, round(side * scale / TILES) * TILES) for side in pixels.shape[2:])
    whole = torch.tensor([one.finite for one in pictures.shown]).view(-1, 1, 1, 1)
    return functional.adaptive_avg_pool2d(pixels, (rows, cols)).where(whole, torch.nan)


def embedded(pictures: Pictures) -> Float[Tensor, "batch dim"]:
    """Unit vectors of the model's embedder; nan of a broken image."""
    vectors = embedder_of(pictures.model).embed([Image.fromarray(one.pixels) for one in pictures.shown])
    vectors[[not one.finite for one in pictures.shown]] = np.nan
    return torch.from_numpy(vectors)


def embedder_of(model: Model) -> Embedder:
    """The embedder that the model's card names, else SSCD. MemdetectError where its weights are not found."""
    if not model.card.embedder and not (find_weights(None) or installed()):
        raise MemdetectError("no weights of SSCD were found, and the model's card names no embedder")
    return _loaded(model.card.embedder or None, model.folder)


@cache
def _loaded(name: str | None, folder: Path | None) -> Embedder:
    return choose_embedder(card=name, source=Source(folder=folder))[0]


def _lacking(model: Model) -> str:
    try:
        embedder_of(model)
    except MemdetectError as problem:
        return f"compares embeddings of the images: {problem}; leave it out"
    return ""


PICTURE = Need(reduced, AFTER, "pictures")
VECTOR = Need(embedded, AFTER, "pictures", lacks=_lacking)
Pair = Callable[[Tensor, Tensor], Float[Tensor, " item"]]


def over_pairs(values: Float[Tensor, "item seed ..."], pair: Pair) -> Scores:
    """Mean of a number of two images over all pairs of an item's seeds, the same value for each seed."""
    count = values.shape[1]
    if count < 2:
        raise MemdetectError("agreement compares the images of a prompt with each other, and there is one; sample more")
    found = [pair(values[:, i], values[:, j]) for i, j in combinations(range(count), 2)]
    return torch.stack(found).mean(dim=0).unsqueeze(1).expand(-1, count)


def tiles_apart(one: Float[Tensor, "item 3 row col"], other: Float[Tensor, "item 3 row col"]) -> Float[Tensor, " item"]:
    """Root mean square difference in the worst of 4 x 4 tiles, in [0, 1]."""
    square = (one - other).square().unflatten(3, (TILES, -1)).unflatten(2, (TILES, -1))
    return square.mean(dim=(1, 3, 5)).flatten(1).amax(dim=1).sqrt()


def edges(pictures: Float[Tensor, "item seed 3 row col"]) -> Float[Tensor, "item seed row col"]:
    """1 where the length of Sobel's gradient, summed over channels, is above 1.5, else 0; nan of a broken image."""
    flat = functional.pad(pictures.flatten(0, 2).unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=flat.device)
    across, down = (functional.conv2d(flat, kernel.view(1, 1, 3, 3)) for kernel in (sobel, sobel.T))
    strength = torch.hypot(across, down).squeeze(1).unflatten(0, pictures.shape[:3]).sum(dim=2)
    return (strength > EDGE).float().where(strength.isfinite(), torch.nan)


def _pixels(trace: Trace) -> Scores:
    return -over_pairs(trace.output(PICTURE)[0], tiles_apart)


def _edges(trace: Trace) -> Scores:
    """Share of the positions at which more than half of an item's images have an edge."""
    found = edges(trace.output(PICTURE)[0])
    if found.shape[1] < 2:
        raise MemdetectError("agreement compares the images of a prompt with each other, and there is one; sample more")
    mean = found.mean(dim=1)
    shared = (mean > 0.5).float().where(mean.isfinite(), torch.nan).mean(dim=(1, 2))
    return shared.unsqueeze(1).expand(-1, found.shape[1])


def _embedder(trace: Trace) -> Scores:
    return over_pairs(trace.output(VECTOR)[0], lambda one, other: (one * other).sum(dim=-1))


SEEN = "the same picture whatever the seed"
AGREEMENT_PIXELS = Detector(
    name="agreement-pixels",
    needs=(PICTURE,),
    score=_pixels,
    unit="1 (minus the difference of the worst tile, of black to white)",
    reference=f"{REFERENCE}, of pixels: minus the mean distance of the worst tile",
    alias="carlini2023-tiles",
    seeds="prompt",
    latents=True,
    seen=SEEN,
)
AGREEMENT_EDGES = Detector(
    name="agreement-edges",
    needs=(PICTURE,),
    score=_edges,
    unit="1 (share of the positions)",
    reference="Webster 2023 (arXiv 2305.08694), edge consistency, of the finished images at 64 pixels",
    alias="webster2023-edges",
    seeds="prompt",
    latents=True,
    seen=SEEN,
)
AGREEMENT_EMBEDDER = Detector(
    name="agreement-embedder",
    needs=(VECTOR,),
    score=_embedder,
    unit="1 (cosine)",
    reference="mean similarity of the seeds by an embedder, the baseline of Wen et al., ICLR 2024 (arXiv 2407.21720)",
    alias="wen2024-sscd",
    seeds="prompt",
    latents=True,
    seen=SEEN,
)
