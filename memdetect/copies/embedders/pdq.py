"""PDQ: 256 bits of the low frequencies of the luma. Finds what was recompressed or rescaled; no weights.

Written from the published description (Facebook, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing
algorithm", 2019): luma, two passes of a box filter in each direction, 64 x 64 samples, 16 x 16 cosine coefficients,
one bit each: above the median or not. Images above 512 pixels are squashed to 512 first. Mirrored, rotated and cropped
copies have other bits and are missed.
"""

from functools import cache
from math import ceil

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from memdetect.copies.embedders.embedder import Embedder, Images, Row, Source
from memdetect.inputs.images import to_rgb

LARGEST = 512
SIDE, FREQUENCIES = 64, 16
LUMA = (0.299, 0.587, 0.114)
PASSES = 2
DIGITS = 6  # of a coefficient; a plain image has none, and rounding errors are no bits


def pdq(image: Image.Image) -> tuple[Bool[np.ndarray, "256"], int]:
    """The hash, 16 x 16 bits row by row (vertical frequency first), and its quality, 0 to 100.

    Below a quality of about 50 the image has too little texture for the bits to mean much (the authors' advice).
    """
    small = samples(image)
    coefficients = (dct() @ small @ dct().T).round(DIGITS).ravel()
    median = np.partition(coefficients, len(coefficients) // 2 - 1)[len(coefficients) // 2 - 1]
    return coefficients > median, quality(small)


def samples(image: Image.Image) -> Float[np.ndarray, "64 64"]:
    """The luma, 0 to 255, filtered and sampled at the centres of 64 x 64 equal blocks."""
    rgb = to_rgb(image)
    if max(rgb.size) > LARGEST:
        rgb = rgb.resize((min(rgb.width, LARGEST), min(rgb.height, LARGEST)), Image.Resampling.BOX)
    luma = np.asarray(rgb, np.float64) @ np.array(LUMA)
    for _ in range(PASSES):
        luma = _box(_box(luma, 1), 0)
    rows, cols = ((np.arange(SIDE) + 0.5) * size / SIDE for size in luma.shape)
    return luma[np.ix_(rows.astype(int), cols.astype(int))]


def quality(small: Float[np.ndarray, "64 64"]) -> int:
    """Sum of the differences of neighbours, in whole hundredths of white, over 90; at most 100."""
    total = sum(float(np.trunc(np.abs(np.diff(small, axis=axis)) * 100 / 255).sum()) for axis in (0, 1))
    return min(100, int(total / 90))


def _box(values: Float[np.ndarray, "row col"], axis: int) -> Float[np.ndarray, "row col"]:
    """Mean over a window of 1/128 of the side, rounded up, cut off at the edges: two passes make a tent of 1/64."""
    size = values.shape[axis]
    window = ceil(size / (2 * SIDE))
    sums = np.cumsum(values, axis=axis)
    sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis=axis)
    place = np.arange(size)
    first, last = np.maximum(place - (window - 1) // 2, 0), np.minimum(place + window // 2 + 1, size)
    count = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
    return (sums.take(last, axis) - sums.take(first, axis)) / count


@cache
def dct() -> Float[np.ndarray, "16 64"]:
    """Frequencies 1 to 16 of the orthonormal DCT-II; the mean, frequency 0, is left out."""
    frequency, place = np.arange(1, FREQUENCIES + 1)[:, None], np.arange(SIDE)
    return np.sqrt(2 / SIDE) * np.cos(np.pi / (2 * SIDE) * frequency * (2 * place + 1))


def load(row: Row, source: Source) -> Embedder:
    """Nothing to load. Bits become +-1/16, so that the cosine is 1 - 2 * hamming / 256."""
    return row.ready(_embed)


def _embed(images: Images) -> np.ndarray:
    return np.stack([np.where(pdq(image)[0], 1.0, -1.0) for image in images])


PDQ = Row(
    name="pdq",
    dim=FREQUENCIES * FREQUENCIES,
    licence="Apache-2.0",
    about="256 bits of low frequencies; finds recompressed and rescaled copies, misses crops and flips",
    preprocessing={
        "rgb": "alpha on white",
        "largest": [LARGEST, "box"],
        "luma": list(LUMA),
        "samples": SIDE,
        "frequencies": FREQUENCIES,
        "passes": PASSES,
    },
    load=load,
)
