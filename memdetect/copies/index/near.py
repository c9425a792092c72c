"""Which rows are near-duplicates of an image, as its embedder sees them?

A row is one when it is at least as similar to the image as the image with a rim cut off is. Of three rims the widest
counts that the embedder still tells from chance: an embedder that loses a crop says nothing by it.
"""

from collections.abc import Sequence
from math import inf
from statistics import NormalDist

import numpy as np
from jaxtyping import Int64
from PIL import Image

from memdetect.copies.codes import as_asked, similarities
from memdetect.copies.index.embedder_protocol import Embeds, Held, Queries, alike, as_held

RIMS = (
    3 / 32,
    1 / 16,
    1 / 32,
)  # of each side, cut off on all four; chosen on a tuning split of the bundled pictures (decisions.md)
PAIRS = 20_000  # of rows, drawn at random, that show how similar strangers are
FEW = 2000  # rows up to which all their cosines together take less time than those of PAIRS one by one
FEWEST = 8  # rows below which pairs are too few to say
BEYOND = 100  # a look-up meets `count` strangers; one in so many look-ups may pass the bound
LARGEST = 512  # pixels of the longer side of what is embedded with its rim cut off
EDGE = 1 - 1e-6


def bound(vectors: Held, seed: int = 0) -> float:
    """A similarity that strangers hardly reach: inf where there are too few rows to say, or most pairs are alike.

    Median and median absolute deviation of the Fisher transforms (artanh) of the cosines of random pairs, and of a
    normal distribution with these the quantile 1 - 1 / (BEYOND * rows). Copies are few among random pairs, however
    many rows have one, so that they move it little.
    """
    count = len(vectors)
    if count < FEWEST:
        return inf
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, count, (2, PAIRS))
    apart = one != other
    fisher = np.arctanh(np.clip(_cosines(vectors, one[apart], other[apart]), -EDGE, EDGE))
    middle = float(np.median(fisher))
    deviation = 1.4826 * float(np.median(np.abs(fisher - middle)))
    z = NormalDist().inv_cdf(1 - 1 / (BEYOND * count))
    return float(np.tanh(middle + z * deviation)) if deviation > 0 else inf


def _cosines(vectors: Held, one: Int64[np.ndarray, " pair"], other: Int64[np.ndarray, " pair"]) -> np.ndarray:
    """Of pairs of rows, however often a pair comes: where rows are few, each is multiplied with each once."""
    if len(vectors) <= FEW and vectors.dtype != np.uint8:
        wide = vectors.astype(np.float32)
        return (wide @ wide.T)[one, other]
    parts = np.array_split(np.stack([one, other]), max(1, len(one) // 1000), axis=1)
    return np.concatenate([_similar(vectors[a], vectors[b]) for a, b in parts])


def _similar(one: Held, other: Held) -> np.ndarray:
    if one.dtype == np.uint8:
        return similarities(as_asked(one), other)
    return np.einsum("pd,pd->p", one.astype(np.float32), other.astype(np.float32))


def rimless(image: Image.Image, rim: float) -> Image.Image:
    """An image without a rim of this share of each side, on all four, at its own size, or smaller: LARGEST."""
    scale = min(1, LARGEST / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    x, y = image.width * rim, image.height * rim
    return image.resize(size, Image.Resampling.LANCZOS, box=(x, y, image.width - x, image.height - y))


def cuts(images: Sequence[Image.Image], vectors: Queries, embedder: Embeds, limit: float) -> list[float]:
    """The similarity from which a row counts as a near-duplicate of each image; inf where nothing tells.

    vectors: of the images. limit: of `bound`. The widest rim counts whose loss leaves an image above it: one embedding
    for each image, and one more for each narrower rim that has to be tried.
    """
    found = [inf] * len(images)
    left = list(range(len(images)))
    for rim in RIMS:
        if not left:
            break
        same = alike(vectors[left], as_held([rimless(images[k], rim) for k in left], embedder))
        seen = {k: value for k, value in zip(left, same, strict=True) if value > limit}  # NaN is not seen
        for k, value in seen.items():
            found[k] = value
        left = [k for k in left if k not in seen]
    return found
