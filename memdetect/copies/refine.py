"""A placing refined to a fraction of a pixel and to a small turn.

Inverse compositional alignment with robust weights: Baker and Matthews 2004, "Lucas-Kanade 20 years on", section 3.2
and part 2; the weights are those of Geman and McClure.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image

from memdetect.copies.align import FEWEST, Asking, Grey, Prepared
from memdetect.copies.match import Affine

Map = Float64[np.ndarray, "2 3"]
STILL = 0.1  # pixels: a step below it ends the rounds
AFFINE = Image.Transform.AFFINE


def refined(affine: Affine, asking: Asking, other: Prepared, stage: int) -> Affine:
    """A placing after a stage of refining: shift, scale and turn of the image on the training image."""
    root, rounds = asking.sizes.refine[stage], asking.sizes.rounds[stage]
    image, flat = asking.prepared.at(root)[1], other.at(root)[1]
    pixels = _settled(image, flat, pixel_map(affine, image.shape, flat.shape), rounds)
    return share_map(pixels, image.shape, flat.shape)


def pixel_map(affine: Affine, image: tuple[int, ...], other: tuple[int, ...]) -> Map:
    """A map of shares as one of pixels (x, y) of the training image to pixels of the image."""
    out, into = np.array([[image[1]], [image[0]]]), np.array([1 / other[1], 1 / other[0], 1])
    return np.array(affine).reshape(2, 3) * out * into


def share_map(pixels: Map, image: tuple[int, ...], other: tuple[int, ...]) -> Affine:
    """The inverse of `pixel_map`."""
    out, into = np.array([[1 / image[1]], [1 / image[0]]]), np.array([other[1], other[0], 1])
    a, b, c, d, e, f = (pixels * out * into).ravel().tolist()
    return a, b, c, d, e, f


def laid_on(grey: Grey, pixels: Map, shape: tuple[int, ...]) -> tuple[Grey, Bool[np.ndarray, "row col"]]:
    """An image as it lies on a training image of this shape, bilinear, and where it does."""
    a, b, c, d, e, f = values = pixels.ravel().tolist()
    laid = Image.fromarray(grey).transform((shape[1], shape[0]), AFFINE, values, Image.Resampling.BILINEAR)
    across, down = np.arange(shape[1]) + 0.5, np.arange(shape[0])[:, None] + 0.5
    x, y = a * across + (b * down + c), d * across + (e * down + f)
    return np.asarray(laid), (x >= 0) & (x < grey.shape[1]) & (y >= 0) & (y < grey.shape[0])


@lru_cache(64)
def _grid(rows: int, cols: int) -> tuple[Grey, Grey]:
    """Places of pixels to the right of the centre, and below it."""
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32) + np.float32(0.5)
    return x - cols / 2, y - rows / 2


def _settled(image: Grey, flat: Grey, pixels: Map, rounds: int) -> Map:
    """The inverse compositional algorithm over shift, scale and turn, with weights of Geman and McClure."""
    rows, cols = flat.shape
    down, right = np.gradient(flat)
    (x, y), unit = _grid(rows, cols), max(rows, cols)
    slopes = np.stack([right, down, (right * x + down * y) / unit, (down * x - right * y) / unit], -1).reshape(-1, 4)
    for _ in range(rounds):
        laid, inside = laid_on(image, pixels, flat.shape)
        there, error = inside.ravel(), (laid - flat).ravel()
        apart = np.abs(error[there])
        if len(apart) < FEWEST**2:
            return pixels
        usual = 1.4826 * float(np.partition(apart, len(apart) // 2)[len(apart) // 2]) + 1e-3  # the median
        weighted = slopes * (there / np.square(1 + np.square(error / usual)))[:, None]
        step = np.linalg.solve(weighted.T @ slopes + 1e-3 * np.eye(4), weighted.T @ error)
        pixels = _composed(pixels, step, (cols / 2, rows / 2), unit)
        if np.abs(step).sum() < STILL:
            break
    return pixels


def _composed(pixels: Map, step: Float64[np.ndarray, "4"], centre: tuple[float, float], unit: int) -> Map:
    """A map after the inverse of a small shift, scaling and turn about the centre."""
    right, down, larger, turn = (float(part) for part in step)
    larger, turn = larger / unit, turn / unit
    x, y = centre
    moved = np.array(
        [
            [1 + larger, -turn, right - larger * x + turn * y],
            [turn, 1 + larger, down - larger * y - turn * x],
            [0, 0, 1],
        ]
    )
    return pixels @ np.linalg.inv(moved)
