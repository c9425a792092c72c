"""What an edit did to an image: its background, its subject, its place among embedded images."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from memdetect.copies.embedders import Embedder
from memdetect.errors import MemdetectError

Pixels = UInt8[np.ndarray, "row col 3"]
Edit = Callable[[Pixels, Pixels], float | None]
CONTRAST = 40.0  # distance in RGB above which a pixel is no longer the ground
FEWEST = 20  # pixels of a subject
WHITE = math.sqrt(3) * 255  # from black to white


def border(image: Pixels) -> Float[np.ndarray, "3"]:
    """Median colour of the outermost two rows and columns, by channel, 0 to 255: the ground, if of one colour."""
    inner = np.zeros(image.shape[:2], bool)
    inner[2:-2, 2:-2] = True
    return np.median(image[~inner].astype(float), axis=0)


def subject(image: Pixels) -> Bool[np.ndarray, "row col"]:
    """Pixels that differ from the ground, as do their four neighbours; edges, where both mix, are left out."""
    apart = np.linalg.norm(image.astype(float) - border(image), axis=2) > CONTRAST
    padded = np.pad(apart, 1, mode="edge")
    return apart & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def to_ground(target: Sequence[float]) -> Edit:
    """Edit success where the target colour of the ground is known: the share of the way that the border went.

    1 - d(steered) / d(unsteered), d the RGB distance of the border's median colour to the target: 0 unmoved, 1 there,
    negative for the other way. None for an image that is there already (d <= 40).
    """
    goal = np.asarray(target, float)

    def success(before: Pixels, after: Pixels) -> float | None:
        start = float(np.linalg.norm(border(before) - goal))
        return None if start <= CONTRAST else 1 - float(np.linalg.norm(border(after) - goal)) / start

    return success


def along(embedder: Embedder, direction: Float[Tensor, " dim"]) -> Edit:
    """Edit success elsewhere: how far an image went along the references' direction among embedded images.

    Difference of two cosines, in [-2, 2]; 0 unmoved. It knows the edit only as well as the embedder does.
    """
    if len(direction) != embedder.dim:
        raise MemdetectError(f"the vector's edit has {len(direction)} dimensions, {embedder.name} has {embedder.dim}")
    axis = direction.numpy()

    def success(before: Pixels, after: Pixels) -> float | None:
        first, second = embedder.embed([Image.fromarray(before), Image.fromarray(after)])
        return float((second - first) @ axis)

    return success


def kept(before: Pixels, after: Pixels) -> float | None:
    """Identity: 1 less the mean RGB distance of the subject's pixels, in units of black to white; 1 = untouched.

    The subject is that of the unsteered image. None where it has fewer than 20 pixels.
    """
    where = subject(before)
    if where.sum() < FEWEST:
        return None
    apart = np.linalg.norm(after.astype(float) - before.astype(float), axis=2)
    return 1 - float(apart[where].mean()) / WHITE


def resemblance(embedder: Embedder | None, before: Pixels, after: Pixels) -> float | None:
    """Cosine of two images in an embedder, in [-1, 1]; None without one."""
    if embedder is None:
        return None
    first, second = embedder.embed([Image.fromarray(before), Image.fromarray(after)])
    return float(first @ second)


def moved(before: Float[Tensor, "..."], after: Float[Tensor, "..."]) -> float:
    """Root mean square of the difference of two latents, in their unit."""
    return float((after - before).square().mean().sqrt())
