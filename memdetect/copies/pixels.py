"""Is this image a copy of that one? Pixel measures that a person can check, and the rule that combines them.

A copy is the same scene: same pictures, places, sizes and colours, whatever noise, blur or compression it went
through. The same things placed otherwise are no copy. Images are uint8 [row, col, 3]; both of a pair have one size.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

Image = UInt8[np.ndarray, "row col 3"]
Images = UInt8[np.ndarray, "image row col 3"]
Others = UInt8[np.ndarray, "other row col 3"]
Lumas = Float[np.ndarray, "image row col"]

TILES = 4
WEIGHTS = (0.0448, 0.2856, 0.3001)  # the first three of Wang et al.'s five: 64 pixels give 64, 32 and 16
SIGMA, REACH = 1.5, 5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True, slots=True)
class CopyRule:
    """A pair is a copy when its worst tile is at most `tile` apart and its MS-SSIM at least `ssim`.

    The defaults lie between damaged copies and redraws of the bundled world (docs/measured/ground-truth.md). Two images
    that were aligned are compared where they overlap, which has to be at least `larger` of the area of one of them, and
    `smaller` of that of the other. Where `telling` of the training image has contrast, and `repeats` of that agrees in
    structure, the pair is a copy in other colours. Where `least` of it has contrast, and `repeats` of that agrees in
    structure and colour, the pixels need no other evidence: few parts have contrast, and all of them came back.
    """

    tile: float = 0.2
    ssim: float = 0.7
    larger: float = 0.75
    smaller: float = 0.3
    telling: float = 0.25
    least: float = 0.1
    repeats: float = 0.9

    def strict(self, share: float) -> "CopyRule":
        """The rule with `share`, in (0, 1], of the room that it leaves a copy to differ: 1 = the rule itself."""
        ssim, repeats = 1 - share * (1 - self.ssim), 1 - share * (1 - self.repeats)
        return replace(self, tile=share * self.tile, ssim=ssim, repeats=repeats)


def tile_distance(image: Image, other: Image, tiles: int = TILES) -> float:
    """Root mean square difference in the worst of `tiles` x `tiles` tiles, in [0, 1]; 0 = equal.

    The l2 distance of Carlini et al. 2023 (arXiv 2301.13188, section 4.2), there with 16 tiles of 128 x 128, divided
    by its largest possible value: one picture that is missing or moved cannot hide behind a plain ground.
    Raises ValueError for images of two sizes, or of sides that `tiles` does not divide.
    """
    return float(pair_tiles(image[None], other[None], tiles)[0])


def pair_tiles(images: Images, others: Images, tiles: int = TILES) -> Float[np.ndarray, " image"]:
    """`tile_distance` of each image to the other of its place."""
    pairs = zip(_tiles(images, tiles), _tiles(others, tiles), strict=True)
    return np.sqrt(np.max([np.square(a - b).mean(1) for a, b in pairs], axis=0))


def tile_distances(images: Images, others: Others, tiles: int = TILES) -> Float[np.ndarray, "image other"]:
    """`tile_distance` of every image to every other, through one matrix product a tile."""
    worst = np.zeros((len(images), len(others)), np.float32)
    for a, b in zip(_tiles(images, tiles), _tiles(others, tiles), strict=True):
        square = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T)
        np.maximum(worst, np.maximum(square, 0) / a.shape[1], out=worst)
    return np.sqrt(worst)


def _tiles(images: Images, tiles: int) -> Float[np.ndarray, "tile image value"]:
    count, rows, cols, channels = images.shape
    if rows % tiles or cols % tiles:
        raise ValueError(f"images of {rows} x {cols} pixels do not divide into {tiles} x {tiles} tiles")
    parts = images.reshape(count, tiles, rows // tiles, tiles, cols // tiles, channels).transpose(1, 3, 0, 2, 4, 5)
    return parts.reshape(tiles * tiles, count, -1).astype(np.float32) / 255


def ms_ssim(image: Image, other: Image) -> float:
    """Multi-scale structural similarity of the luma, in [-1, 1]; 1 = equal.

    Wang, Simoncelli, Bovik 2003, eq. 7, with the first three scales and their weights made to sum to one, so that
    images of 44 pixels and more can be compared. A negative product of contrast and structure counts as 0.
    """
    return float(pair_ssim(image[None], other[None])[0])


def pair_ssim(images: Images, others: Images) -> Float[np.ndarray, " image"]:
    """`ms_ssim` of each image and the other of its place; many at once cost a fraction of as many calls."""
    x, y = _luma(images), _luma(others)
    product, total = np.ones(len(images)), sum(WEIGHTS)
    for scale, weight in enumerate(WEIGHTS):
        luminance, structure = _ssim(x, y)
        last = scale == len(WEIGHTS) - 1
        product *= np.maximum(structure * luminance if last else structure, 0) ** (weight / total)
        x, y = _halve(x), _halve(y)
    return product


def _ssim(x: Lumas, y: Lumas) -> tuple[Float[np.ndarray, " image"], Float[np.ndarray, " image"]]:
    """Mean over positions of the luminance term, and of contrast times structure, over windows inside the image."""
    maps = np.stack([x, y, x * x, y * y, x * y])
    blurred = ndimage.gaussian_filter(maps, SIGMA, radius=REACH, axes=(2, 3))
    mx, my, mxx, myy, mxy = blurred[..., REACH:-REACH, REACH:-REACH]
    vx, vy, vxy = mxx - mx * mx, myy - my * my, mxy - mx * my
    luminance = (2 * mx * my + C1) / (mx * mx + my * my + C1)
    structure = (2 * vxy + C2) / (vx + vy + C2)
    return luminance.mean((1, 2)), structure.mean((1, 2))


def _luma(images: Images) -> Lumas:
    return images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def _halve(x: Lumas) -> Float[np.ndarray, "image half half_col"]:
    rows, cols = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    return x[:, :rows, :cols].reshape(len(x), rows // 2, 2, cols // 2, 2).mean(axis=(2, 4))


def is_copy(image: Image, other: Image, rule: CopyRule | None = None) -> bool:
    """Whether both measures of the rule hold."""
    rule = rule or CopyRule()
    return tile_distance(image, other) <= rule.tile and ms_ssim(image, other) >= rule.ssim


def copies_of(images: Images, others: Others, rule: CopyRule | None = None) -> Bool[np.ndarray, "image other"]:
    """`is_copy` of every image against every other; MS-SSIM is computed only where the tiles allow it."""
    rule = rule or CopyRule()
    found = tile_distances(images, others) <= rule.tile
    for i, k in np.argwhere(found):
        found[i, k] = ms_ssim(images[i], others[k]) >= rule.ssim
    return found
