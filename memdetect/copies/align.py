"""How does one image lie on another? Mirrored or not, larger or smaller, shifted, cropped, turned a little.

Normalised cross-correlation of small grey images, at several scales and both orientations, proposes placings (Lewis
1995, "Fast normalized cross-correlation"; here of locally normalised images, so that light and contrast do not count).
Local correlation ranks them: a part that was replaced costs only itself. The best are then refined (`refine`).

A placing maps places of the training image to places of the image: an affine map in shares of width and height, from
the upper left corner (`match.Match.affine`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, exp, log, sqrt
from typing import Any, cast

import numpy as np
from jaxtyping import Complex64, Float32, Shaped
from PIL import Image
from scipy import fft, ndimage

from memdetect.copies.match import Affine

Grey = Float32[np.ndarray, "_row _col"]
Spectra = Complex64[np.ndarray, "_view _row _half"]

SCALES = tuple(exp(0.085 * k) for k in range(-8, 6))  # of the image beside the training image: 0.51 to 1.53
STRETCHED = (0.92, 1.0, 1.09)  # of an image whose proportions were changed to those of the training image
SAME = 0.05  # of the logarithm of two proportions: below it they are one
SMALL = 96  # root of the area, in pixels, up to which the sizes of small images hold
FEWEST = 8  # pixels of a side of a grey image
LONGEST = 3.0  # longer over shorter side of a grey image; what is longer is squashed
ROOTS = (1.0, sqrt(1.5), sqrt(LONGEST))  # of proportions: sides of grey images for which spectra are made
WIDE = 3.0  # pixels: deviation of the blur that takes light and contrast out
FLOOR = 3.0  # of 255: contrast below it is noise
LEVELS = (0.6, 0.85, 1.2)  # scales whose windows serve those near them
BLUR = 0.7  # pixels: deviation of the blur of what is refined and measured
PROPOSED = 6  # placings of a pair that are compared
WINDOW = 7  # pixels of the windows of local correlation when proposals are ranked
WHOLE: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Roots of areas, in pixels: of the proposals, and of the two stages of refining, the last of which is measured.

    rounds: of refining in each stage, at most.
    """

    propose: int
    refine: tuple[int, int]
    rounds: tuple[int, int]

    @property
    def small(self) -> bool:
        """Whether these are the sizes of small images."""
        return self == COARSE


FINE, COARSE = Sizes(48, (64, 128), (8, 4)), Sizes(32, (32, 64), (4, 8))


def sizes_of(image: Image.Image) -> Sizes:
    """The sizes at which an image is aligned: small ones near their own."""
    return COARSE if sqrt(image.width * image.height) <= SMALL else FINE


def grey_size(size: tuple[int, int], root: float) -> tuple[int, int]:
    """Width and height of the grey image with this root of its area."""
    proportion = min(max(size[0] / size[1], 1 / LONGEST), LONGEST)
    return max(FEWEST, round(root * sqrt(proportion))), max(FEWEST, round(root / sqrt(proportion)))


def flattened(grey: Grey, wide: float = WIDE) -> Grey:
    """Minus the local mean, over the local deviation: light, contrast and colour do not count."""
    apart = grey - ndimage.gaussian_filter(grey, wide, mode="nearest", truncate=2.5)
    return apart / np.sqrt(ndimage.gaussian_filter(apart * apart, wide, mode="nearest", truncate=2.5) + FLOOR**2)


@dataclass(slots=True)
class Prepared:
    """An image at the sizes at which it is aligned. What was made once is kept."""

    size: tuple[int, int]
    sizes: Sizes
    colour: Image.Image
    _luma: Image.Image
    _kept: dict[int, tuple[Grey, Grey]] = field(default_factory=dict[int, tuple[Grey, Grey]])
    _resized: Image.Image | None = None

    @classmethod
    def of(cls, image: Image.Image, sizes: Sizes) -> "Prepared":
        """Reduce an image to what is needed of it."""
        colour, most = image.convert("RGB"), grey_size(image.size, sizes.refine[-1])
        if most[0] < colour.width and most[1] < colour.height:
            colour = colour.resize(most, Image.Resampling.HAMMING, reducing_gap=2)
        return cls(image.size, sizes, colour, colour.convert("L"))

    def grey(self, size: tuple[int, int]) -> Grey:
        """The luma, 0 to 255, at this width and height."""
        return np.asarray(self._luma.resize(size, Image.Resampling.HAMMING), np.float32)

    def coloured(self, size: tuple[int, int]) -> Image.Image:
        """The colours at this width and height; those of the last one are kept."""
        if self._resized is None or self._resized.size != size:
            self._resized = self.colour.resize(size, Image.Resampling.HAMMING)
        return self._resized

    def at(self, root: int) -> tuple[Grey, Grey]:
        """The grey image at one of the sizes, and the same flattened."""
        if root not in self._kept:
            grey = self.grey(grey_size(self.size, root))
            if root != self.sizes.propose:
                grey = ndimage.gaussian_filter(grey, BLUR, mode="nearest")
            self._kept[root] = grey, flattened(grey)
        return self._kept[root]


@dataclass(frozen=True, slots=True)
class Placing:
    """An image laid on a training image, and how much of the training image that explains, in [0, 1]."""

    affine: Affine
    score: float


@dataclass(slots=True)
class _Views:
    """An image at several scales, each as it is and mirrored: flattened, and the conjugate spectra of length one.

    parts: views up to the size of a training image, and larger ones. propose: root of the area of a training image.
    """

    flat: list[Grey]
    parts: list[list[Grey]]
    propose: int
    _spectra: dict[tuple[int, int, int], Spectra] = field(default_factory=dict[tuple[int, int, int], Spectra])

    def spectra(self, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], Spectra]]:
        """Of each part, beside a training image of so many rows and columns: size of the rectangles, and the spectra.

        They leave room for a shift by half a training image. Those of longer ones serve all that are not much longer.
        """
        for number, part in enumerate(self.parts):
            most = max(max(view.shape) for view in part)
            rows, cols = (self._side(most, length) for length in shape)
            if (number, rows, cols) not in self._spectra:
                padded = np.zeros((len(part), rows, cols), np.float32)
                for k, view in enumerate(part):
                    padded[k, : view.shape[0], : view.shape[1]] = view / np.sqrt(np.square(view).sum() + FLOOR)
                self._spectra[number, rows, cols] = np.conj(_spectra(padded, (rows, cols)))
            yield (rows, cols), self._spectra[number, rows, cols]

    def _side(self, most: int, length: int) -> int:
        reach = next(side for root in ROOTS if (side := ceil(self.propose * root)) >= length)
        return cast("int", fft.next_fast_len(max(most, reach) + self.propose // 2, real=True))


@dataclass(frozen=True, slots=True)
class _Shift:
    """A view of an image, shifted on a training image by rows and columns."""

    view: Grey
    mirrored: bool
    down: int
    right: int


class Asking:
    """An image that is to be laid on several training images."""

    def __init__(self, image: Image.Image, sizes: Sizes | None = None) -> None:
        self.sizes = sizes or sizes_of(image)
        self.prepared = Prepared.of(image, self.sizes)
        self._views: dict[float, _Views] = {}
        self._wholes: dict[tuple[int, ...], Grey] = {}
        self._levels: dict[float, Image.Image] = {}

    def placings(self, others: Sequence[Prepared]) -> list[list[Placing]]:
        """Ways to lay the image on each training image, the best first; the wholes on each other among them."""
        flats = [other.at(self.sizes.propose)[1] for other in others]
        found: list[list[_Shift]] = [[_Shift(self._as(flat.shape), False, 0, 0)] for flat in flats]
        groups: dict[tuple[float, tuple[int, ...]], list[int]] = {}
        for k, (other, flat) in enumerate(zip(others, flats, strict=True)):
            groups.setdefault((0.0, flat.shape), []).append(k)
            wanted = other.size[0] / other.size[1]
            if abs(log(wanted * self.prepared.size[1] / self.prepared.size[0])) > SAME:
                groups.setdefault((round(wanted, 2), flat.shape), []).append(k)
        for (proportion, _), group in groups.items():
            shifts = _shifts(np.stack([flats[k] for k in group]), self._seen(proportion), 2 if proportion else PROPOSED)
            for k, own in zip(group, shifts, strict=True):
                found[k] += own
        shapes: dict[tuple[int, ...], list[int]] = {}
        for k, flat in enumerate(flats):
            shapes.setdefault(flat.shape, []).append(k)
        ranked = {}
        for group in shapes.values():
            ranked |= dict(zip(group, _ranked([flats[k] for k in group], [found[k] for k in group]), strict=True))
        return [ranked[k] for k in range(len(others))]

    def _as(self, shape: tuple[int, ...]) -> Grey:
        """The whole image in this shape, flattened."""
        if shape not in self._wholes:
            self._wholes[shape] = flattened(self.prepared.grey((shape[1], shape[0])))
        return self._wholes[shape]

    def _seen(self, proportion: float) -> _Views:
        """The views of the image in its own proportions (0), or in others."""
        if proportion not in self._views:
            size = (round(1000 * proportion), 1000) if proportion else self.prepared.size
            flat: list[Grey] = []
            for scale in STRETCHED if proportion else SCALES:
                one = self._flat(grey_size(size, self.sizes.propose * scale), scale)
                flat += [one, np.ascontiguousarray(one[:, ::-1])]
            least = max(grey_size(size, self.sizes.propose))
            few = sum(max(view.shape) <= least for view in flat)
            parts = [part for part in (flat[:few], flat[few:]) if part]
            self._views[proportion] = _Views(flat, parts, self.sizes.propose)
        return self._views[proportion]

    def _flat(self, size: tuple[int, int], scale: float) -> Grey:
        """The image flattened over windows of about WIDE pixels at this scale, at this width and height."""
        level = min(LEVELS, key=lambda each: abs(log(each / scale)))
        if level not in self._levels:
            grey = self.prepared.grey(grey_size(self.prepared.size, self.sizes.propose * LEVELS[-1]))
            self._levels[level] = Image.fromarray(flattened(grey, WIDE * LEVELS[-1] / level))
        return np.asarray(self._levels[level].resize(size, Image.Resampling.HAMMING), np.float32)


def _shifts(flats: Float32[np.ndarray, "other _row _col"], views: _Views, most: int) -> list[list[_Shift]]:
    """The views and shifts, rows and columns, where correlation with each training image is highest.

    The best of each view, alike ones once.
    """
    parts = [_highest(flats, spectra, size) for size, spectra in views.spectra(flats.shape[1:])]
    values, down, right = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    orders = np.argsort(-values, axis=1)
    return [_different(*each, views, most) for each in zip(orders.tolist(), down.tolist(), right.tolist(), strict=True)]


def _highest(
    flats: Float32[np.ndarray, "other _row _col"], views: Spectra, size: tuple[int, int]
) -> tuple[Shaped[np.ndarray, "other _view"], ...]:
    """The highest correlation of each view with each training image, and the rows and columns of its shift."""
    _, rows, cols = flats.shape
    surfaces = np.asarray(cast("Any", fft.irfft2(views * _spectra(flats, size)[:, None], size)))
    surfaces = surfaces.reshape(len(flats), len(views), -1)
    highest = surfaces.argmax(2)
    down, right = np.divmod(highest, size[1])
    values = np.take_along_axis(surfaces, highest[..., None], 2)[..., 0]
    return values, down - size[0] * (down >= rows), right - size[1] * (right >= cols)


def _different(order: list[int], down: list[int], right: list[int], views: _Views, most: int) -> list[_Shift]:
    found: list[int] = []
    for k in order:
        if any((k - i) % 2 == 0 and not _apart(k - i, down[k] - down[i], right[k] - right[i]) for i in found):
            continue
        if -down[k] < views.flat[k].shape[0] and -right[k] < views.flat[k].shape[1]:
            found.append(k)
        if len(found) == most:
            break
    return [_Shift(views.flat[k], k % 2 == 1, down[k], right[k]) for k in found]


def _spectra(images: Float32[np.ndarray, "view _row _col"], size: tuple[int, ...]) -> Spectra:
    return np.asarray(cast("Any", fft.rfft2(images, size)))


def _apart(scales: int, down: int, right: int) -> bool:
    return abs(scales) > 2 or abs(down) > 2 or abs(right) > 2


def _ranked(flats: Sequence[Grey], found: Sequence[Sequence[_Shift]]) -> list[list[Placing]]:
    """The placings on each training image, best first; flats: of one shape.

    Each with the mean over the training image of the cube of local correlation.
    """
    rows, cols = flats[0].shape
    every = [(flat, shift) for flat, own in zip(flats, found, strict=True) for shift in own]
    products, inside = np.zeros((3, len(every), rows, cols), np.float32), np.zeros((len(every), rows, cols), np.float32)
    for k, (flat, shift) in enumerate(every):
        (high, wide), down, right = shift.view.shape, shift.down, shift.right
        top, left, low, far = max(down, 0), max(right, 0), min(down + high, rows), min(right + wide, cols)
        laid, under = shift.view[top - down : low - down, left - right : far - right], flat[top:low, left:far]
        products[:, k, top:low, left:far] = laid * under, laid * laid, under * under
        inside[k, top:low, left:far] = 1
    one, two, three = ndimage.uniform_filter(products, WINDOW, axes=(2, 3))
    local = np.clip(one / np.sqrt(np.maximum(two * three, 1e-6)), 0, 1)
    scores = iter((local * local * local * inside).mean((1, 2)).tolist())
    ranked = [[Placing(_affine(shift, (rows, cols)), next(scores)) for shift in own] for own in found]
    return [sorted(own, key=lambda placing: -placing.score) for own in ranked]


def _affine(shift: _Shift, other: tuple[int, int]) -> Affine:
    """Places of a training image of so many rows and columns in a view that is shifted on it, in shares."""
    high, wide = shift.view.shape
    across, along = other[1] / wide, -shift.right / wide
    if shift.mirrored:
        across, along = -across, 1 - along
    return (across, 0.0, along, 0.0, other[0] / high, -shift.down / high)
