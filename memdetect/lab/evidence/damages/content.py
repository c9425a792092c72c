"""What is there beside or instead of the picture: frames, text, other content; and what a network makes of it."""

from functools import cache
from math import sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy import ndimage

from memdetect.errors import MemdetectError
from memdetect.lab.evidence.damages.make import Make

Box: TypeAlias = tuple[int, int, int, int]
BICUBIC = Image.Resampling.BICUBIC
TRIP = 256  # longer side of what goes through the autoencoder
EIGHTH = 16  # sides of what goes through it are multiples of this
SMOOTH = 64  # longer side at which a smooth filling is made
WORDS = ("memory", "for sale", "preview", "sample", "copyright", "draft", "hello", "2026", "no. 7", "look at this")


def framed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A plain frame of 3 to 10 % of the sides around it, of any colour; the size stays."""
    colour = tuple(int(level) for level in rng.integers(0, 256, 3))
    wide, high = (round(rng.uniform(0.03, 0.10) * side) for side in image.size)
    return _within(image, (wide, high, image.width - wide, image.height - high), colour)


def letterboxed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Black or white bars at two opposite sides, 10 to 25 % of the whole together; nothing is squashed."""
    share, level = rng.uniform(0.10, 0.25), 255 * int(rng.integers(2))
    upright = rng.random() < 0.5
    wide, high = image.size
    size = (wide, round(high / (1 - share))) if upright else (round(wide / (1 - share)), high)
    ground = Image.new("RGB", size, (level, level, level))
    ground.paste(image, ((size[0] - wide) // 2, (size[1] - high) // 2))
    return ground


def captioned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Two to four words of text written across it."""
    done = image.copy()
    draw = ImageDraw.Draw(done)
    for _ in range(int(rng.integers(2, 5))):
        font = ImageFont.load_default(size=float(rng.uniform(0.06, 0.14) * max(image.size)))
        word, colour = WORDS[int(rng.integers(len(WORDS)))], tuple(int(level) for level in rng.integers(0, 256, 3))
        x, y = rng.uniform(0, 0.6) * image.width, rng.uniform(0, 0.85) * image.height
        draw.text((x, y), word, fill=colour, font=font)
    return done


def beside(image: Image.Image, rng: np.random.Generator, other: Image.Image) -> Image.Image:
    """Another picture of the same height at its left or right."""
    second = other.resize((max(1, round(other.width * image.height / other.height)), image.height), BICUBIC)
    pair = (image, second) if rng.random() < 0.5 else (second, image)
    ground = Image.new("RGB", (pair[0].width + pair[1].width, image.height))
    ground.paste(pair[0], (0, 0))
    ground.paste(pair[1], (pair[0].width, 0))
    return ground


def replaced(share: float, middle: bool, fill: Literal["other", "smooth"]) -> Make:
    """About `share` of the area, in the middle or anywhere, shows another picture or a smooth extension of the rest."""

    def make(image: Image.Image, rng: np.random.Generator, other: Image.Image) -> Image.Image:
        box = _part(image.size, share * rng.uniform(0.95, 1.05), rng, middle)
        size = (box[2] - box[0], box[3] - box[1])
        filling = ImageOps.fit(other, size, BICUBIC) if fill == "other" else _extended(image, box).crop(box)
        done = image.copy()
        done.paste(filling, box[:2])
        return done

    return make


def regenerated(image: Image.Image, _rng: np.random.Generator) -> Image.Image:
    """Through the autoencoder of the bundled model, at a longer side of 256 px."""
    from memdetect.lab.training.damage import round_trip

    scale = TRIP / max(image.size) / EIGHTH
    wide, high = (EIGHTH * max(1, round(scale * side)) for side in image.size)
    small = image.resize((wide, high), Image.Resampling.LANCZOS)
    back = round_trip(_autoencoder(), np.asarray(small)[None], 0, 0.0)[0]
    return Image.fromarray(back).resize(image.size, BICUBIC)


def resampled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Down by about 4, up again by Lanczos and sharpened: what a simple super-resolution leaves, no network."""
    scale = rng.uniform(3.6, 4.4)
    wide, high = (max(1, round(side / scale)) for side in image.size)
    small = image.resize((wide, high), Image.Resampling.LANCZOS)
    large = small.resize(image.size, Image.Resampling.LANCZOS)
    return large.filter(ImageFilter.UnsharpMask(radius=2, percent=int(rng.integers(100, 200)), threshold=0))


@cache
def _autoencoder() -> Any:
    from memdetect.inputs.bundled import model_folder
    from memdetect.lab.training.embedding import open_vae

    folder = model_folder("emoji-scenes")
    if folder is None:
        raise MemdetectError("the bundled model emoji-scenes is not there, whose autoencoder draws pictures again")
    return open_vae(folder / "vae")


def _within(image: Image.Image, box: Box, colour: tuple[int, ...]) -> Image.Image:
    ground = Image.new("RGB", image.size, colour)
    ground.paste(image.resize((box[2] - box[0], box[3] - box[1]), BICUBIC), box[:2])
    return ground


def _part(size: tuple[int, int], share: float, rng: np.random.Generator, middle: bool) -> Box:
    """A box of a share of the area with the proportions of the whole, in its middle or anywhere."""
    across, down = (0.5, 0.5) if middle else rng.uniform(0, 1, 2)
    wide, high = (round(sqrt(share) * side) for side in size)
    left, top = round(across * (size[0] - wide)), round(down * (size[1] - high))
    return left, top, left + wide, top + high


def _extended(image: Image.Image, box: Box) -> Image.Image:
    """The picture from what is outside the box alone, blurred wide: a mean of the outside weighted by nearness."""
    small = image.copy()
    small.thumbnail((SMOOTH, SMOOTH), Image.Resampling.BOX)
    scale = small.width / image.width
    left, top, right, bottom = (round(scale * edge) for edge in box)
    known = np.ones((small.height, small.width, 1), np.float32)
    known[top:bottom, left:right] = 0
    far = max(right - left, bottom - top) / 4
    values = _wide(np.asarray(small, np.float32) * known, far) / np.maximum(_wide(known, far), 1e-6)
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).resize(image.size, BICUBIC)


def _wide(values: Float32[np.ndarray, "row col chan"], far: float) -> Float32[np.ndarray, "row col chan"]:
    return ndimage.gaussian_filter(values, (far, far, 0), mode="nearest")
