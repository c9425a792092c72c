"""Where things stand: mirrored, zoomed, shifted, cropped, rotated. PIL image, generator -> PIL image.

Each amount is drawn from a range around its name, so that no crop is one that an embedder takes.
"""

from math import cos, pi, radians, sin

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from memdetect.lab.evidence.damages.make import Alone, Make

BICUBIC = Image.Resampling.BICUBIC
LEAST, MOST = 0.03, 0.10  # a shift, as a share of the sides
NEAR = 0.5  # degrees around a rotation's name


def mirrored(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
    """Left is right."""
    return ImageOps.mirror(image)


def zoomed(share: float, middle: bool) -> Alone:
    """A box of about `share` of each side, about the middle or anywhere, resized to the whole."""

    def make(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        kept = rng.uniform(share - 0.02, share + 0.02)
        across, down = (0.5, 0.5) if middle else rng.uniform(0, 1, 2)
        wide, high = kept * image.width, kept * image.height
        left, top = across * (image.width - wide), down * (image.height - high)
        return image.resize(image.size, BICUBIC, box=(left, top, left + wide, top + high))

    return make


def squared(middle: bool) -> Alone:
    """The largest square about the middle, or anywhere along the longer side."""

    def make(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        side, place = min(image.size), 0.5 if middle else rng.uniform(0, 1)
        left, top = (round(place * (length - side)) for length in image.size)
        return image.crop((left, top, left + side, top + side))

    return make


def rotated(degrees: float) -> Alone:
    """Turned by about so many degrees, either way; cropped to what stays inside, resized to the whole."""

    def make(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        angle = rng.uniform(degrees - NEAR, degrees + NEAR)
        ratio = max(image.width / image.height, image.height / image.width)
        kept = 1 / (cos(radians(angle)) + ratio * sin(radians(angle)))
        turned = image.rotate(angle * rng.choice([-1, 1]), BICUBIC)
        wide, high = kept * image.width, kept * image.height
        left, top = (image.width - wide) / 2, (image.height - high) / 2
        return turned.resize(image.size, BICUBIC, box=(left, top, left + wide, top + high))

    return make


def shifted(fill: str) -> Make:
    """Moved by up to a tenth of the sides in any direction. fill: of what is then bare: edge, reflect or other."""

    def make(image: Image.Image, rng: np.random.Generator, other: Image.Image) -> Image.Image:
        angle, far = rng.uniform(0, 2 * pi), rng.uniform(LEAST, MOST)
        right, down = round(far * cos(angle) * image.width), round(far * sin(angle) * image.height)
        return Image.fromarray(moved(image, (right, down), None if fill == "other" else fill, other))

    return make


def moved(
    image: Image.Image, by: tuple[int, int], fill: str | None, other: Image.Image
) -> UInt8[np.ndarray, "row col 3"]:
    """The pixels moved right and down; what is then bare shows the edge, a reflection, or the other picture."""
    (right, down), pixels = by, np.asarray(image)
    if fill is None:
        ground = ImageOps.fit(other, image.size, BICUBIC)
        ground.paste(image, (right, down))
        return np.asarray(ground)
    wide, high = abs(right), abs(down)
    padded = np.pad(pixels, ((high, high), (wide, wide), (0, 0)), mode="edge" if fill == "edge" else "reflect")
    top, left = high - down, wide - right
    return np.ascontiguousarray(padded[top : top + image.height, left : left + image.width])
