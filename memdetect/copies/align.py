"""How does one image lie on another? Mirrored or not, larger or smaller, shifted, cropped, turned a little.

Three steps, each on fewer pairs. Normalised cross-correlation of small grey images, at several scales and both
orientations, proposes placings (Lewis 1995, "Fast normalized cross-correlation"; here of locally normalised images,
so that light and contrast do not count). Local correlation ranks the proposals: a part that was replaced costs only
itself. Inverse compositional alignment with robust weights (Baker and Matthews 2004, "Lucas-Kanade 20 years on",
section 3.2 and part 2) refines the best to a fraction of a pixel and to a small turn.

A placing maps places of the training image to places of the image: an affine map in shares of width and height, from
the upper left corner (`match.Match.affine`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, sqrt
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64
from PIL import Image
from scipy import fft, ndimage

from memdetect.copies.match import Affine

Grey = Float32[np.ndarray, "_row _col"]
Spectra = Complex64[np.ndarray, "view _row _half"]
Map = Float64[np.ndarray, "2 3"]

SCALES = tuple(exp(0.065 * k) for k in range(-11, 7))  # of the image beside the training image: 0.49 to 1.48
STRETCHED = (0.92, 1.0, 1.09)  # of an image whose proportions were changed to those of the training image
SAME = 0.05  # of the logarithm of two proportions: below it they are one
SMALL = 96  # root of the area, in pixels, up to which the sizes of small images hold
FEWEST = 8  # pixels of a side of a grey image
LONGEST = 3.0  # longer over shorter side of a grey image; what is longer is squashed
WIDE = 3.0  # pixels: deviation of the blur that takes light and contrast out
FLOOR = 3.0  # of 255: contrast below it is noise
PROPOSED = 6  # placings of a pair that are compared
WINDOW = 7  # pixels of the windows of local correlation when proposals are ranked
ROUNDS = (8, 4)  # of refining, at most, in each stage
STILL = 0.05  # pixels: a step below it ends the rounds
AFFINE = Image.Transform.AFFINE
WHOLE: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Roots of areas, in pixels: of the proposals, and of each stage of refining, the last of which is measured."""

    propose: int
    refine: tuple[int, ...]

    @property
    def small(self) -> bool:
        """Whether these are the sizes of small images."""
        return self == COARSE


FINE, COARSE = Sizes(48, (64, 128)), Sizes(32, (64,))


def sizes_of(image: Image.Image) -> Sizes:
    """The sizes at which an image is aligned: small ones near their own."""
    return COARSE if sqrt(image.width * image.height) <= SMALL else FINE


def grey_size(size: tuple[int, int], root: float) -> tuple[int, int]:
    """Width and height of the grey image with this root of its area."""
    proportion = min(max(size[0] / size[1], 1 / LONGEST), LONGEST)
    return max(FEWEST, round(root * sqrt(proportion))), max(FEWEST, round(root / sqrt(proportion)))


def flattened(grey: Grey) -> Grey:
    """Minus the local mean, over the local deviation: light, contrast and colour do not count."""
    apart = grey - ndimage.gaussian_filter(grey, WIDE, mode="nearest")
    return apart / np.sqrt(ndimage.gaussian_filter(apart * apart, WIDE, mode="nearest") + FLOOR**2)


@dataclass(slots=True)
class Prepared:
    """An image at the sizes at which it is aligned. What was made once is kept."""

    size: tuple[int, int]
    sizes: Sizes
    _luma: Image.Image
    _kept: dict[int, tuple[Grey, Grey]] = field(default_factory=dict[int, tuple[Grey, Grey]])

    @classmethod
    def of(cls, image: Image.Image, sizes: Sizes) -> "Prepared":
        """Reduce an image to what is needed of it."""
        luma = image.convert("RGB").convert("L")
        most = grey_size(image.size, sizes.refine[-1])
        larger = most[0] < luma.width and most[1] < luma.height
        return cls(image.size, sizes, luma.resize(most, Image.Resampling.HAMMING, reducing_gap=2) if larger else luma)

    def grey(self, size: tuple[int, int], blur: float) -> Grey:
        """The luma, 0 to 255, at this width and height, blurred by so many pixels."""
        values = np.asarray(self._luma.resize(size, Image.Resampling.HAMMING), np.float32)
        return ndimage.gaussian_filter(values, blur, mode="nearest")

    def at(self, root: int) -> tuple[Grey, Grey]:
        """The grey image at one of the sizes, and the same flattened."""
        if root not in self._kept:
            grey = self.grey(grey_size(self.size, root), 0.5 if root == self.sizes.propose else 0.7)
            self._kept[root] = grey, flattened(grey)
        return self._kept[root]


@dataclass(frozen=True, slots=True)
class Placing:
    """An image laid on a training image, and how much of the training image that explains, in [0, 1]."""

    affine: Affine
    score: float


@dataclass(frozen=True, slots=True)
class _Views:
    """An image at several scales, mirrored and not: flattened, and the conjugate spectra of the same, of length one."""

    flat: list[Grey]
    mirrored: list[bool]
    spectra: Spectra
    side: int


class Asking:
    """An image that is to be laid on several training images."""

    def __init__(self, image: Image.Image, sizes: Sizes | None = None) -> None:
        self.sizes = sizes or sizes_of(image)
        self.prepared = Prepared.of(image, self.sizes)
        self._views: dict[float, _Views] = {}

    def placings(self, other: Prepared) -> list[Placing]:
        """Ways to lay the image on a training image, the best first; the two as wholes, not mirrored, among them."""
        flat = other.at(self.sizes.propose)[1]
        found = self._shifts(flat, self._seen(0.0), PROPOSED)
        own, wanted = self.prepared.size, other.size
        stretch = wanted[0] / wanted[1] / (own[0] / own[1])
        if abs(np.log(stretch)) > SAME:
            found += self._shifts(flat, self._seen(round(wanted[0] / wanted[1], 2)), 2)
        same = self.prepared.grey((flat.shape[1], flat.shape[0]), 0.5)
        ranked = _ranked(flat, [*found, (flattened(same), False, 0, 0)])
        return sorted(ranked, key=lambda placing: -placing.score)

    def _seen(self, proportion: float) -> _Views:
        """The views of the image in its own proportions (0), or in others."""
        if proportion not in self._views:
            size = (round(1000 * proportion), 1000) if proportion else self.prepared.size
            flat: list[Grey] = []
            for scale in STRETCHED if proportion else SCALES:
                one = flattened(self.prepared.grey(grey_size(size, self.sizes.propose * scale), 0.5))
                flat += [one, np.ascontiguousarray(one[:, ::-1])]
            most = max(max(view.shape) for view in flat)
            side = fft.next_fast_len(max(most, self.sizes.propose) + self.sizes.propose // 2, real=True)
            padded = np.zeros((len(flat), side, side), np.float32)
            for k, view in enumerate(flat):
                padded[k, : view.shape[0], : view.shape[1]] = view / np.sqrt(np.square(view).sum() + FLOOR)
            self._views[proportion] = _Views(
                flat, [False, True] * (len(flat) // 2), np.conj(_spectra(padded, padded.shape[1:])), side
            )
        return self._views[proportion]

    def _shifts(self, flat: Grey, views: _Views, most: int) -> list[tuple[Grey, bool, int, int]]:
        """The views and shifts, rows and columns, where correlation peaks: the best of each view, alike ones once."""
        square = side, _ = (views.side, views.side)
        rows, cols = (min(length, side) for length in flat.shape)
        spectrum = _spectra(flat[None, :rows, :cols], square)
        surfaces = np.asarray(cast("Any", fft.irfft2(views.spectra * spectrum, square))).reshape(len(views.flat), -1)
        peaks = surfaces.argmax(1)
        found: list[tuple[int, int, int]] = []
        for k in np.argsort(-surfaces[np.arange(len(peaks)), peaks]).tolist():
            down, right = divmod(int(peaks[k]), side)
            down, right = down - side * (down >= rows), right - side * (right >= cols)
            apart = all(
                views.mirrored[k] != views.mirrored[i] or _apart(k, i, down - y, right - x) for i, y, x in found
            )
            if apart and -down < views.flat[k].shape[0] and -right < views.flat[k].shape[1]:
                found.append((k, down, right))
            if len(found) == most:
                break
        return [(views.flat[k], views.mirrored[k], down, right) for k, down, right in found]


def _spectra(images: Float32[np.ndarray, "view _row _col"], size: tuple[int, ...]) -> Spectra:
    return np.asarray(cast("Any", fft.rfft2(images, size)))


def _apart(one: int, other: int, down: int, right: int) -> bool:
    return abs(one - other) > 2 or abs(down) > 2 or abs(right) > 2


def _ranked(flat: Grey, found: Sequence[tuple[Grey, bool, int, int]]) -> list[Placing]:
    """The placings of shifted views, each with the mean over the training image of the cube of local correlation."""
    rows, cols = flat.shape
    laid, inside = np.zeros((2, len(found), rows, cols), np.float32)
    for k, (view, _, down, right) in enumerate(found):
        top, left = max(down, 0), max(right, 0)
        low, far = min(down + view.shape[0], rows), min(right + view.shape[1], cols)
        laid[k, top:low, left:far] = view[top - down : low - down, left - right : far - right]
        inside[k, top:low, left:far] = 1
    mean = [ndimage.uniform_filter(x, WINDOW, axes=(1, 2)) for x in (laid * flat, laid * laid, inside * flat * flat)]
    local = mean[0] / np.sqrt(np.maximum(mean[1] * mean[2], 1e-6))
    scores = (np.clip(local, 0, 1) ** 3 * inside).mean((1, 2)).tolist()
    return [
        Placing(_affine(view.shape, mirrored, (down, right), (rows, cols)), score)
        for (view, mirrored, down, right), score in zip(found, scores, strict=True)
    ]


def _affine(view: tuple[int, ...], mirrored: bool, shift: tuple[int, int], other: tuple[int, int]) -> Affine:
    """Places of a training image in a view of another image that is shifted on it, all in pixels -> shares."""
    across, along = other[1] / view[1], -shift[1] / view[1]
    if mirrored:
        across, along = -across, 1 - along
    return (across, 0.0, along, 0.0, other[0] / view[0], -shift[0] / view[0])


def refined(placing: Placing, asking: Asking, other: Prepared) -> Affine:
    """A placing after refining: shift, scale and turn of the image on the training image."""
    affine = placing.affine
    for root, rounds in zip(asking.sizes.refine, ROUNDS, strict=False):
        image, flat = asking.prepared.at(root)[1], other.at(root)[1]
        affine = share_map(
            _settled(image, flat, pixel_map(affine, image.shape, flat.shape), rounds), image.shape, flat.shape
        )
    return affine


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
    size, whole = (shape[1], shape[0]), Image.new("1", (grey.shape[1], grey.shape[0]), 1)
    laid = Image.fromarray(grey).transform(size, AFFINE, pixels.ravel().tolist(), Image.Resampling.BILINEAR)
    inside = whole.transform(size, AFFINE, pixels.ravel().tolist(), Image.Resampling.NEAREST)
    return np.asarray(laid), np.asarray(inside)


def _settled(image: Grey, flat: Grey, pixels: Map, rounds: int) -> Map:
    """The inverse compositional algorithm over shift, scale and turn, with weights of Geman and McClure."""
    rows, cols = flat.shape
    down, right = np.gradient(flat)
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32) + np.float32(0.5)
    x, y, unit = x - cols / 2, y - rows / 2, max(rows, cols)
    slopes = np.stack([right, down, (right * x + down * y) / unit, (down * x - right * y) / unit], -1).reshape(-1, 4)
    for _ in range(rounds):
        laid, inside = laid_on(image, pixels, flat.shape)
        there = inside.ravel()
        if there.sum() < FEWEST**2:
            return pixels
        error = (laid - flat).ravel()
        usual = 1.4826 * float(np.median(np.abs(error[there]))) + 1e-3
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
