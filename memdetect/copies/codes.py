"""Codes of bits in place of vectors: several of a training image, several of a query; the best pair counts.

The similarity of two images is that of their nearest two codes: 1 - 2 * differing bits / all bits, the cosine of the
bits as +-1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

Held = UInt8[np.ndarray, "image tile byte"]
Asked = UInt8[np.ndarray, "query code byte"]


@dataclass(frozen=True, slots=True)
class Codes:
    """How an embedder of bits sees images. tiles: codes of a training image.

    gallery: codes of training images; queries: of images that are looked up, mirrored ones among them. A part of a
    picture that has no bits worth the name is all 0 in the gallery and all 1 in a query, so that two are unlike.
    """

    tiles: int
    gallery: Callable[[Sequence[Image.Image]], Held]
    queries: Callable[[Sequence[Image.Image]], Asked]


def distances(queries: Asked, held: Held) -> Int64[np.ndarray, "query"]:
    """How many bits differ between the nearest two codes of each query and of the image of its place."""
    apart = np.bitwise_count(wide(queries)[:, :, None] ^ wide(held)[:, None]).sum(-1, dtype=np.int64)
    return apart.min(axis=(1, 2))


def similarities(queries: Asked, held: Held) -> Float64[np.ndarray, "query"]:
    """The similarity, in [-1, 1], of each query and the image of its place."""
    return 1 - 2 * distances(queries, held) / (8 * held.shape[-1])


def as_asked(codes: UInt8[np.ndarray, "image code byte"]) -> Asked:
    """Codes of the gallery as those of a query: what has no bits is all 1, which nothing of the gallery is near."""
    return np.where(codes.any(axis=-1, keepdims=True), codes, np.uint8(255))


def wide(codes: UInt8[np.ndarray, "image code byte"]) -> np.ndarray:
    """The same bits in as few numbers as they allow."""
    whole = np.ascontiguousarray(codes)
    return whole.view(np.uint64) if whole.shape[-1] % 8 == 0 else whole
