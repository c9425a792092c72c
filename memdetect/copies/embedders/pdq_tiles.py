"""PDQ of a picture and of crops of it: 256 bits each. Finds what was cropped, shifted or mirrored too; no weights.

The hash is PDQ's (embedders.pdq): 16 x 16 cosine coefficients of 64 x 64 samples of the luma, one bit each. The filter
before sampling is PDQ's tent, but centred on what it samples, so that a picture and its mirror image are treated alike:
the coefficients of the mirror image are the same with the signs of odd horizontal frequencies changed.
A crop keeps its share of the sides wherever it lies: samples and coefficients of all crops come out of a few products
of matrices. A flat crop has no code. A long picture has other crops: the squares that training cuts out of it.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from memdetect.copies.codes import Codes, as_asked
from memdetect.copies.embedders.embedder import Embedder, Images, Row, Source
from memdetect.copies.embedders.pdq import DIGITS, FREQUENCIES, LARGEST, SIDE, dct, quality
from memdetect.inputs.images import to_rgb

BYTES = FREQUENCIES * FREQUENCIES // 8
PLAIN = 5  # quality below which the bits of a crop count for nothing
Span = tuple[float, float]  # where a crop begins and ends along a side, in shares of it
Crop = tuple[Span, Span]  # down, across


def middle(size: float) -> list[Crop]:
    """The crop of this share of the sides about the centre."""
    span = ((1 - size) / 2, (1 + size) / 2)
    return [(span, span)]


def corners(size: float, margin: float) -> list[Crop]:
    """The four crops of this share of the sides that lie a margin away from the edges at a corner."""
    first, last = (margin, margin + size), (1 - margin - size, 1 - margin)
    return [(down, across) for down in (first, last) for across in (first, last)]


def nine(size: float) -> list[Crop]:
    """The nine crops of this share of the sides at the corners, along the edges and about the centre."""
    spans = [(start, start + size) for start in (0, (1 - size) / 2, 1 - size)]
    return [(down, across) for down in spans for across in spans]


# Found by a random search for what leaves some pair of crops in nearly the same place after a zoom to between 0.75 and
# 0.95, or a shift by up to a tenth, wherever it lies.
GALLERY = [*middle(1), *middle(0.77), *corners(0.86, 0.02), *middle(0.8), *corners(0.67, 0.11)]
LONG = 1.1  # longer over shorter side, above which a picture has other crops: the squares that training cuts out of it
SQUARES = 5  # from end to end of a long picture, one of them about the centre
WIDE = 1.4  # longer over shorter side, above which an image may be two beside each other


def crops_of(size: tuple[int, int]) -> list[Crop]:
    """The crops of a training image of this width and height."""
    share = min(size) / max(size)
    if share >= 1 / LONG:
        return GALLERY
    starts = [(1 - share) * k / (SQUARES - 1) for k in range(SQUARES)]
    squares = [along(size, (start, start + share)) for start in starts]
    return [*middle(1), *middle(0.77), *corners(0.75, 0.06), *squares]


def along(size: tuple[int, int], span: Span) -> Crop:
    """The crop of this span of the longer side, and the whole of the shorter one."""
    return ((0.0, 1.0), span) if size[0] > size[1] else (span, (0.0, 1.0))


# The last two make room for the halves of a wide image.
QUERY = [*middle(1), *corners(0.86, 0.045), *middle(0.77), *nine(0.893), *middle(0.86), *middle(0.93)]
HALVES = ((0.0, 0.5), (0.5, 1.0))


def asked_by(size: tuple[int, int]) -> list[Crop]:
    """The crops of an image that is looked up: the halves of a wide one too, in place of two crops."""
    if max(size) <= WIDE * min(size):
        return QUERY
    return [*QUERY[:-2], *(along(size, half) for half in HALVES)]


def hashes(image: Image.Image, where: Sequence[Crop], mirrored: bool = False) -> UInt8[np.ndarray, "code 32"]:
    """The hash of each crop, packed; with `mirrored` then those of their mirror images. All 0 for a plain crop."""
    luma = _luma(image)
    rows, cols = _samplers(luma.shape, tuple(where))
    first = dict(zip(rows, np.stack([*rows.values()]) @ luma, strict=True))
    small = np.stack([first[down] @ cols[across].T for down, across in where])
    coefficients = dct() @ small @ dct().T
    if mirrored:
        coefficients = np.concatenate([coefficients, coefficients * MIRROR])
    codes = np.packbits(_bits(coefficients), axis=1)
    textured = np.array([quality(samples) >= PLAIN for samples in small])
    return codes * np.tile(textured, 1 + mirrored)[:, None]


MIRROR = np.where(np.arange(1, FREQUENCIES + 1) % 2, -1.0, 1.0)


def _bits(coefficients: Float[np.ndarray, "crop 16 16"]) -> Bool[np.ndarray, "crop 256"]:
    flat = coefficients.reshape(len(coefficients), -1).round(DIGITS)
    middle = flat.shape[1] // 2 - 1
    return flat > np.partition(flat, middle, axis=1)[:, middle : middle + 1]


def _luma(image: Image.Image) -> Float[np.ndarray, "row col"]:
    rgb = to_rgb(image)
    if max(rgb.size) > LARGEST:
        rgb = rgb.resize((min(rgb.width, LARGEST), min(rgb.height, LARGEST)), Image.Resampling.BOX)
    return np.asarray(rgb.convert("L"), np.float64)


@lru_cache(64)
def _samplers(shape: tuple[int, int], where: tuple[Crop, ...]) -> tuple[dict[Span, np.ndarray], dict[Span, np.ndarray]]:
    down, across = (dict.fromkeys(crop[axis] for crop in where) for axis in (0, 1))
    return {span: _sampler(shape[0], span) for span in down}, {span: _sampler(shape[1], span) for span in across}


def _sampler(size: int, span: Span) -> Float[np.ndarray, "64 size"]:
    """Weights of the pixels of a side in SIDE samples: tents that touch, each over a 64th of the span."""
    start, step = span[0] * size, (span[1] - span[0]) * size / SIDE
    middles = start + step * (np.arange(SIDE) + 0.5)
    edges = 2 * (np.arange(size + 1) - middles[:, None]) / step
    return np.diff(_tent_below(edges), axis=1)


def _tent_below(x: np.ndarray) -> np.ndarray:
    """The area of a tent over [-1, 1] that lies below x."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


def gallery(images: Images) -> UInt8[np.ndarray, "image tile 32"]:
    """Codes of training images."""
    found = [hashes(image, crops_of(image.size)) for image in images]
    return np.stack(found) if found else np.zeros((0, len(GALLERY), BYTES), np.uint8)


def queries(images: Images) -> UInt8[np.ndarray, "image view 32"]:
    """Codes of images that are looked up, and of their mirror images. All 1 for a plain crop."""
    found = [hashes(image, asked_by(image.size), mirrored=True) for image in images]
    codes = np.stack(found) if found else np.zeros((0, 2 * len(QUERY), BYTES), np.uint8)
    return as_asked(codes)


def load(row: Row, source: Source) -> Embedder:
    """Nothing to load. A vector is of the whole picture: its bits as +-1/16."""
    return row.ready(_embed, codes=Codes(len(GALLERY), gallery, queries))


def _embed(images: Images) -> np.ndarray:
    bits = np.stack([np.unpackbits(hashes(image, QUERY[:1])[0]) for image in images])
    return np.where(bits, 1.0, -1.0)


PDQ_TILES = Row(
    name="pdq-tiles",
    dim=FREQUENCIES * FREQUENCIES,
    licence="Apache-2.0",
    about="PDQ of a picture and of crops of it; finds cropped, shifted and mirrored copies, misses rotated and redrawn",
    preprocessing={
        "rgb": "alpha on white",
        "largest": [LARGEST, "box"],
        "luma": "8 bits",
        "samples": [SIDE, "tent"],
        "frequencies": FREQUENCIES,
        "plain": PLAIN,
        "gallery": [[list(span) for span in crop] for crop in GALLERY],
        "long": [LONG, SQUARES, WIDE],
        "query": [[list(span) for span in crop] for crop in QUERY],
    },
    load=load,
)
