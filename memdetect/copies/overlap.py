"""The part of an image that lies on a training image, and the part under it, as pixels of one size."""

from dataclasses import dataclass
from math import atan2, degrees

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from memdetect.copies.match import Affine, Box
from memdetect.copies.pixels import TILES

SMALLEST, LARGEST = 64, 256  # pixels of the longer side
LEAST = 44  # of the shorter one: what three scales of MS-SSIM need
TURNED = 0.4  # degrees: below it nothing is turned
SHRINK = 0.98  # of a box whose corners lie outside
OUTSIDE = 0.004  # of a side, by which a corner may lie outside

Pixels = UInt8[np.ndarray, "row col 3"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """image, other: [row, col, 3] of one size. of_image, of_other: shares of the areas of the two that they are."""

    image: Pixels
    other: Pixels
    of_image: float
    of_other: float


def turn(affine: Affine, image: tuple[int, int], other: tuple[int, int]) -> float:
    """Degrees by which an image is turned against a training image; sizes are widths and heights in pixels."""
    _, b, _, _, e, _ = affine
    return degrees(atan2(b * image[0] / other[1], e * image[1] / other[1]))


def under(affine: Affine) -> Box | None:
    """The box of the training image, in shares, that lies under an image; None where there is none."""
    a, _, c, _, e, f = affine
    if not (a and e):
        return None
    x, y = sorted((-c / a, (1 - c) / a)), sorted((-f / e, (1 - f) / e))
    left, right, top, bottom = max(x[0], 0), min(x[1], 1), max(y[0], 0), min(y[1], 1)
    for _ in range(40):
        if left >= right or top >= bottom:
            return None
        places = [placed(affine, x, y) for x in (left, right) for y in (top, bottom)]
        if all(-OUTSIDE <= place <= 1 + OUTSIDE for pair in places for place in pair):
            return left, top, right, bottom
        x, y, wide, high = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        left, right = x - wide * SHRINK / 2, x + wide * SHRINK / 2
        top, bottom = y - high * SHRINK / 2, y + high * SHRINK / 2
    return None


def placed(affine: Affine, x: float, y: float) -> tuple[float, float]:
    """Where a place of the training image lies in the image."""
    a, b, c, d, e, f = affine
    return a * x + b * y + c, d * x + e * y + f


def overlap(image: Image.Image, other: Image.Image, affine: Affine) -> Overlap | None:
    """What of two RGB images lies on each other, brought to one size; None where nothing does.

    Longer side that of the larger of the two parts, within SMALLEST and LARGEST pixels, sides multiples of TILES.
    """
    box = under(affine)
    if box is None:
        return None
    left, top, right, bottom = box
    wide, high = (right - left) * other.width, (bottom - top) * other.height
    a, b, _, d, e, _ = affine
    area = (right - left) * (bottom - top)
    share = abs(a * e - b * d) * area
    own = (share * image.width * image.height / max(wide * high, 1e-9)) ** 0.5
    longer = min(max(max(wide, high) * max(own, 1), SMALLEST), LARGEST)
    sides = (max(side * longer / max(wide, high), LEAST) for side in (high, wide))
    height, width = (round(side / TILES) * TILES for side in sides)
    scaled = left * other.width, top * other.height, right * other.width, bottom * other.height
    under_it = other.resize((width, height), Image.Resampling.LANCZOS, box=scaled)
    return Overlap(np.asarray(_laid(image, affine, box, (width, height))), np.asarray(under_it), min(share, 1.0), area)


def _laid(image: Image.Image, affine: Affine, box: Box, size: tuple[int, int]) -> Image.Image:
    """The part of an image over a box of the training image, of this width and height, unmirrored and turned back."""
    left, top, right, bottom = box
    if abs(turn(affine, image.size, size)) < TURNED:
        (x, y), (z, w) = placed(affine, left, top), placed(affine, right, bottom)
        across, down = (sorted(min(max(v, 0), 1) for v in pair) for pair in ((x, z), (y, w)))
        part = across[0] * image.width, down[0] * image.height, across[1] * image.width, down[1] * image.height
        laid = image.resize(size, Image.Resampling.LANCZOS, box=part)
        return ImageOps.mirror(laid) if x > z else laid
    a, b, _, d, e, _ = affine
    wide = np.hypot(a * (right - left) * image.width, d * (right - left) * image.height)
    high = np.hypot(b * (bottom - top) * image.width, e * (bottom - top) * image.height)
    fit = max(1, round(image.width * size[0] / wide)), max(1, round(image.height * size[1] / high))
    if fit[0] < image.width:
        image = image.resize(fit, Image.Resampling.LANCZOS)
    x, y = placed(affine, left, top)
    across, down = (right - left) / size[0], (bottom - top) / size[1]
    rows = (a * across, b * down, x, d * across, e * down, y)
    values = [row * side for row, side in zip(rows, [image.width] * 3 + [image.height] * 3, strict=True)]
    return image.transform(size, Image.Transform.AFFINE, values, Image.Resampling.BICUBIC)
