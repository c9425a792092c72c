"""What an index needs of an embedder, whoever made it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from memdetect.copies.codes import Codes, similarities
from memdetect.copies.index.views import upright, views

FAINT = "too little texture for the embedder"  # of an image none of whose parts has a code
# Of images: a vector each, or the codes of each, uint8.
Held = Shaped[np.ndarray, "_image *_form"]
Queries = Shaped[np.ndarray, "_query *_form"]


@runtime_checkable
class Embeds(Protocol):
    """What an index needs of an embedder: images -> float32 [image dim] of length one, under a name and fingerprint.

    One of bits says with `codes` what an index holds, and is asked, instead.
    """

    @property
    def name(self) -> str:
        """Name of the embedder."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors could."""
        ...

    def embed(self, images: Sequence[Image.Image], /) -> Float[np.ndarray, "image dim"]:
        """A unit vector of each image."""
        ...


def codes_of(embedder: Embeds) -> Codes | None:
    """How an embedder of bits sees images; None for one of vectors."""
    return getattr(embedder, "codes", None)


def as_held(images: Sequence[Image.Image], embedder: Embeds) -> Held:
    """Images as an index holds them: float32 vectors, or codes."""
    codes = codes_of(embedder)
    return codes.gallery(images) if codes else np.asarray(embedder.embed(images), np.float32)


def as_queries(images: Sequence[Image.Image], embedder: Embeds) -> Queries:
    """Images as an index is asked for them: float32 vectors, or codes."""
    codes = codes_of(embedder)
    return codes.queries(images) if codes else np.asarray(embedder.embed(images), np.float32)


def views_for(image: Image.Image, embedder: Embeds) -> list[Image.Image]:
    """What is embedded of an image, the whole first: `views`; `upright` for codes, which hold the mirrored ones."""
    return upright(image) if codes_of(embedder) else views(image)


def alike(queries: Queries, images: Held) -> list[float]:
    """The similarity of each query and the image of its place, in [-1, 1]."""
    if queries.dtype == np.uint8:
        return similarities(queries, images).tolist()
    return np.einsum("id,id->i", queries, images).tolist()


def sound(vectors: Held) -> list[bool]:
    """Which vectors can be looked up: finite, not zero. Of codes: those of images with any, be they held or asked."""
    if vectors.dtype == np.uint8:
        return (vectors.any(axis=2) & (vectors != 255).any(axis=2)).any(axis=1).tolist()
    return [bool(np.isfinite(vector).all() and vector.any()) for vector in vectors]
