"""How much of a training image does an image repeat, once it is laid on it?

Windows of the two agree where their lumas are correlated above AGREES and both have contrast, so that a flat part, a
white ground and a border repeat nothing, and where their colours differ as they do over the whole part, up to COLOUR.
What is measured is the share of the area of the training image that agrees; the largest connected part is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image
from scipy import ndimage

from memdetect.copies.align import WHOLE, Asking, Placing, Prepared
from memdetect.copies.match import Affine, Box
from memdetect.copies.refine import AFFINE, Map, laid_on, pixel_map, refined

AGREES = 0.8  # of the local correlation
CONTRAST = 1.5  # of 255: least deviation of the luma in a window of either image
COLOUR = 24.0  # of 255: how far the colours of a window may differ from the usual difference, in any channel
NOISE = 1.0  # of 255, added to both deviations: what rounding and compression leave of a flat part
WINDOW = 1 / 32  # of the root of the area: deviation of the windows
KEPT = 3  # placings of one image, over all its candidates, that are refined
HOPELESS = (
    0.08  # of the area of the training image: where less agrees after the first stage, nothing is refined further
)
DONE = 0.9  # of what has contrast: where so much agrees, no other placing of the pair is tried
NEAR = 0.006  # of a side: placings whose corners differ by less are one

Grey = Float32[np.ndarray, "row col"]
Here = Bool[np.ndarray, "row col"]


@dataclass(frozen=True, slots=True)
class Laid:
    """An image laid on a training image.

    agreed: share of the area of the training image that agrees; where it is below HOPELESS after the first stage of
    refining, as it is then, whatever the colours. structure: the same whatever the colours. telling: share of its area
    that lies under the image and has contrast. region: the box about the largest connected part that agrees, None
    without any.
    """

    affine: Affine
    agreed: float
    structure: float
    telling: float
    region: Box | None = None


def lay(
    asking: Asking,
    others: Sequence[Prepared | None],
    always: Sequence[bool],
    pictures: Sequence[str] = (),
    *,
    through: bool = False,
) -> list[Laid | None]:
    """Lay an image on its candidates. None for one that is not there, or that the image explains less than others.

    always: candidates that are laid in any case. pictures: which of them are of one picture, and so share what is kept
    of their placings; empty = none. through: refine what is HOPELESS too, so that small shares are exact.
    """
    there = [k for k, other in enumerate(others) if other]
    placings = asking.placings([other for other in others if other])
    best = _best(dict(zip(there, placings, strict=True)), pictures)
    best += [(k, own[0]) for k, own in zip(there, placings, strict=True) if always[k]]
    laid: list[Laid | None] = [None] * len(others)
    for k, placing in dict.fromkeys(best):
        other, held = others[k], laid[k]
        if other and not _done(held) and _more(now := _measured(asking, other, placing, through), held):
            laid[k] = now
    return laid


def _best(placings: Mapping[int, Sequence[Placing]], pictures: Sequence[str]) -> list[tuple[int, Placing]]:
    """The KEPT best placings of all candidates, best first.

    The n-th best of each row of a picture count as one: rows of one picture would push the others out.
    """
    found = [(k, n, placing) for k, own in placings.items() for n, placing in enumerate(own)]
    kept: dict[tuple[str | int, int], None] = {}
    best: list[tuple[int, Placing]] = []
    for k, n, placing in sorted(found, key=lambda each: -each[2].score):
        key = (pictures[k] if pictures else k, n)
        if key in kept or len(kept) < KEPT:
            kept[key] = None
            best.append((k, placing))
    return best


def _done(held: Laid | None) -> bool:
    return held is not None and held.agreed > DONE * held.telling > 0


def _more(now: Laid, held: Laid | None) -> bool:
    return held is None or (now.agreed, now.structure) > (held.agreed, held.structure)


def _measured(asking: Asking, other: Prepared, placing: Placing, through: bool) -> Laid:
    first, last = range(len(asking.sizes.refine))
    affine = refined(placing.affine, asking, other, first)
    coarse = _structure(asking, other, affine, asking.sizes.refine[first])
    if (share := float(coarse.same.mean())) < HOPELESS and not through:
        return Laid(affine, share, share, float(coarse.telling.mean()))
    affine = refined(affine, asking, other, last)
    return agreement(asking, other, WHOLE if near(affine, WHOLE) else affine)


@dataclass(frozen=True, slots=True)
class _Structure:
    """Where of a training image an image lies on it, where there is contrast, and where the lumas are correlated."""

    pixels: Map
    inside: Here
    telling: Here
    same: Here


def _structure(asking: Asking, other: Prepared, affine: Affine, root: int) -> _Structure:
    (image, _), (grey, _) = asking.prepared.at(root), other.at(root)
    pixels = pixel_map(affine, image.shape, grey.shape)
    laid, inside = laid_on(image, pixels, grey.shape)
    local, contrast = correlation(laid, grey, inside, WINDOW * root)
    telling = inside & (contrast[1] > CONTRAST)
    return _Structure(pixels, inside, telling, telling & (contrast[0] > CONTRAST) & (local > AGREES))


def agreement(asking: Asking, other: Prepared, affine: Affine) -> Laid:
    """What of a training image an image repeats that is laid on it so."""
    root = asking.sizes.refine[-1]
    found, image, shape = _structure(asking, other, affine, root), asking.prepared.at(root)[0], other.at(root)[0].shape
    over = asking.prepared.coloured((image.shape[1], image.shape[0]))
    over = over.transform((shape[1], shape[0]), AFFINE, found.pixels.ravel().tolist(), Image.Resampling.BILINEAR)
    under = other.coloured((shape[1], shape[0]))
    apart = np.asarray(over, np.float32) - np.asarray(under, np.float32)
    agrees = found.same & coloured(apart.transpose(2, 0, 1), found.inside, found.same, WINDOW * root)
    agreed, structure, telling = (float(each.mean()) for each in (agrees, found.same, found.telling))
    return Laid(affine, agreed, structure, telling, largest(agrees))


def coloured(apart: Float32[np.ndarray, "3 row col"], inside: Here, same: Here, width: float) -> Here:
    """Where the colours of windows differ as they usually do where the structure is the same, up to COLOUR."""
    if not same.any():
        return same
    weight = inside[None].astype(np.float32)
    held = np.concatenate([apart * weight, weight])
    held = ndimage.gaussian_filter(held, width, mode="constant", axes=(1, 2), truncate=3)
    mean = held[:3] / np.maximum(held[3:], 1e-6)
    return np.abs(mean - np.median(mean[:, same], axis=1)[:, None, None]).max(0) <= COLOUR


def correlation(one: Grey, other: Grey, inside: Here, width: float) -> tuple[Grey, tuple[Grey, Grey]]:
    """Local correlation of two grey images over windows, in [-1, 1], and the deviations of both there."""
    weight = inside.astype(np.float32)
    products = np.stack([weight, one * weight, other * weight, one * one * weight, other * other * weight])
    products = np.concatenate([products, (one * other * weight)[None]])
    held, x, y, xx, yy, xy = ndimage.gaussian_filter(products, width, mode="constant", axes=(1, 2), truncate=3)
    held = np.maximum(held, 1e-6)
    x, y = x / held, y / held
    vx, vy = np.maximum(xx / held - x * x, 0), np.maximum(yy / held - y * y, 0)
    return (xy / held - x * y) / np.sqrt((vx + NOISE**2) * (vy + NOISE**2)), (np.sqrt(vx), np.sqrt(vy))


def largest(agrees: Here) -> Box | None:
    """Left, top, right, bottom of the largest connected part, in shares; None without any."""
    labelled: Any = ndimage.label(agrees)
    parts, count = labelled
    if not count:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    found: Any = ndimage.find_objects(parts)
    rows, cols = found[int(sizes.argmax())]
    height, width = agrees.shape
    return cols.start / width, rows.start / height, cols.stop / width, rows.stop / height


def near(one: Affine, other: Affine) -> bool:
    """Whether two placings bring the corners of the training image to the same places, but for a hair."""
    a, b = (np.array(each).reshape(2, 3) for each in (one, other))
    corners = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    return bool(np.abs((a - b) @ corners).max() < NEAR)
