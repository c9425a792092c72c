"""The pixel measures of two images of any size: both are brought to one size first."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from memdetect.copies import TILES, CopyRule, is_copy, ms_ssim, tile_distance
from memdetect.errors import MemdetectError
from memdetect.images import open_image, to_array

SMALLEST, LARGEST = 64, 256  # pixels of the longer side
LEAST = 44  # of the shorter one: what three scales of MS-SSIM need


def measure(image: Image.Image, other: Image.Image, rule: CopyRule | None = None) -> tuple[float, float, bool]:
    """Tile distance in [0, 1], MS-SSIM in [-1, 1], and whether both allow the pair to be a copy.

    Both images are cropped about their centres to the proportions of the first and brought to one size: longer side
    that of the larger image, within 64 and 256 pixels, sides multiples of 4. Images of that size are left as they are.
    """
    rule = rule or CopyRule()
    size = common_size(image, other)
    a, b = _pixels(image, size), _pixels(other, size)
    tile, ssim = tile_distance(a, b), ms_ssim(a, b)
    return tile, ssim, tile <= rule.tile and ssim >= rule.ssim


def agree(image: Image.Image, other: Image.Image, rule: CopyRule) -> bool:
    """The last of what `measure` says; MS-SSIM is computed only where the tiles allow it."""
    size = common_size(image, other)
    return is_copy(_pixels(image, size), _pixels(other, size), rule)


def common_size(image: Image.Image, other: Image.Image) -> tuple[int, int]:
    """Height and width at which two images are compared, in the proportions of the first."""
    longer = min(max(*image.size, *other.size, SMALLEST), LARGEST)
    sides = (max(side * longer / max(image.size), LEAST) for side in (image.height, image.width))
    height, width = (round(side / TILES) * TILES for side in sides)
    return height, width


def _pixels(image: Image.Image, size: tuple[int, int]) -> UInt8[np.ndarray, "row col 3"]:
    values = to_array(image.convert("RGB"), size).transpose(1, 2, 0)
    return ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def try_open(path: Path) -> Image.Image | None:
    """The image in a file, None when it is gone or cannot be opened any more."""
    try:
        return open_image(path).image
    except MemdetectError:
        return None
