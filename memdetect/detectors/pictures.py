"""Agreement of finished pictures: of a memorized prompt, whoever draws it gives the same picture again and again.

What can be scored where no network is at hand, only the pictures that it made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import nan

import numpy as np
from jaxtyping import Float
from PIL import Image

from memdetect.copies.index.embedder_protocol import Embeds, alike, as_held, as_queries, codes_of, sound

SIDE = 32  # pixels of the small pictures that are compared
REFERENCE = "Carlini et al., USENIX Security 2023 (arXiv 2301.13188), section 4.2"
Pictures = Sequence[Image.Image]


@dataclass(frozen=True, slots=True)
class PictureDetector:
    """score: of the pictures of one prompt, at least two, in [-1, 1]; nan where they show nothing."""

    name: str
    score: Callable[[Pictures, Embeds], float]
    seen: str
    reference: str


def small(picture: Image.Image) -> Float[np.ndarray, " dim"]:
    """SIDE x SIDE colours of a picture less each channel's mean, as a vector of length one; nan for one colour."""
    wide = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    flat = (wide - wide.mean(axis=(0, 1))).ravel()
    size = np.linalg.norm(flat)
    return flat / size if size else np.full_like(flat, np.nan)


def mean_product(vectors: Float[np.ndarray, "picture dim"]) -> float:
    """Mean over all pairs of vectors of length one of their product: (|sum|^2 - n) / (n (n - 1)). Range [-1, 1]."""
    count = len(vectors)
    return float((np.square(vectors.sum(axis=0)).sum() - count) / (count * (count - 1)))


def by_pixels(pictures: Pictures, embedder: Embeds) -> float:
    """Mean over all pairs of pictures of the correlation of their small colours."""
    return mean_product(np.stack([small(picture) for picture in pictures]))


def by_embedder(pictures: Pictures, embedder: Embeds) -> float:
    """Mean over all pairs of pictures of their similarity by an embedder, as an index has it.

    Of one of vectors the cosine; of one of codes that of the nearest two codes, either picture asked for the other, and
    nan where a picture has none.
    """
    if codes_of(embedder) is None:
        return mean_product(np.asarray(embedder.embed(pictures), np.float64))
    asked, held = as_queries(pictures, embedder), as_held(pictures, embedder)
    if not all(sound(asked)):
        return nan
    pairs = list(permutations(range(len(pictures)), 2))
    return float(np.mean(alike(asked[[i for i, _ in pairs]], held[[k for _, k in pairs]])))


BY_PIXELS = PictureDetector("agreement-thumbnails", by_pixels, "the same picture every time, by its pixels", REFERENCE)
BY_EMBEDDER = PictureDetector(
    "agreement-embedder", by_embedder, "the same picture every time, by an embedder", REFERENCE
)
OF_PICTURES = (BY_EMBEDDER, BY_PIXELS)
