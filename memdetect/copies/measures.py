"""The pixel measures of two images of any size: both are brought to one size first."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from memdetect.copies.pixels import TILES, CopyRule, is_copy, pair_ssim, pair_tiles
from memdetect.inputs.images import centred_box, to_array

SMALLEST, LARGEST = 64, 256  # pixels of the longer side
LEAST = 44  # of the shorter one: what three scales of MS-SSIM need
AT_ONCE = 2**20  # pixels of one side of all pairs measured together

Pixels = UInt8[np.ndarray, "_row _col 3"]  # of any size, each its own
Pair = tuple[Pixels, Pixels]
Measured = tuple[float, float, bool]


def measure(image: Image.Image, other: Image.Image, rule: CopyRule | None = None) -> Measured:
    """Tile distance in [0, 1], MS-SSIM in [-1, 1], and whether both allow the pair to be a copy.

    Both images are cropped about their centres to the proportions of the first and brought to one size: longer side
    that of the larger image, within 64 and 256 pixels, sides multiples of 4. Images of that size are left as they are.
    A shorter side below 44 is stretched to that.
    """
    return measure_all([comparable(image, other)], rule)[0]


def measure_all(pairs: Sequence[Pair], rule: CopyRule | None = None) -> list[Measured]:
    """`measure` of pairs made `comparable`; those of one size are measured together, up to AT_ONCE pixels."""
    rule, places = rule or CopyRule(), defaultdict[tuple[int, ...], list[int]](list)
    for k, (image, _) in enumerate(pairs):
        places[image.shape].append(k)
    measured: dict[int, Measured] = {}
    for (height, width, _), group in places.items():
        step = max(1, AT_ONCE // (height * width))
        for some in (group[i : i + step] for i in range(0, len(group), step)):
            a, b = (np.stack([pairs[k][side] for k in some]) for side in (0, 1))
            both = zip(some, pair_tiles(a, b).tolist(), pair_ssim(a, b).tolist(), strict=True)
            measured |= {k: (tile, ssim, tile <= rule.tile and ssim >= rule.ssim) for k, tile, ssim in both}
    return [measured[k] for k in range(len(pairs))]


def comparable(image: Image.Image, other: Image.Image) -> Pair:
    """The pixels of both at the size at which they are compared."""
    size = common_size(image, other)
    if min(image.size) * max(size) >= LEAST * max(image.size):
        return _pixels(image, size), _pixels(other, size)
    return _squashed(image, image.size, size), _squashed(other, image.size, size)


def agree(image: Image.Image, other: Image.Image, rule: CopyRule) -> bool:
    """The last of what `measure` says; MS-SSIM is computed only where the tiles allow it."""
    return is_copy(*comparable(image, other), rule)


def common_size(image: Image.Image, other: Image.Image) -> tuple[int, int]:
    """Height and width at which two images are compared, in the proportions of the first."""
    longer = min(max(*image.size, *other.size, SMALLEST), LARGEST)
    sides = (max(side * longer / max(image.size), LEAST) for side in (image.height, image.width))
    height, width = (round(side / TILES) * TILES for side in sides)
    return height, width


def _pixels(image: Image.Image, size: tuple[int, int]) -> Pixels:
    values = to_array(image.convert("RGB"), size).transpose(1, 2, 0)
    return ((values + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def _squashed(image: Image.Image, shape: tuple[int, int], size: tuple[int, int]) -> Pixels:
    """Cropped about its centre to the proportions of `shape` = (width, height), whatever those of `size` are."""
    box = centred_box(image.size, shape)
    return np.asarray(image.convert("RGB").resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box))
