"""What an index needs of an embedder, whoever made it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image


@runtime_checkable
class Embeds(Protocol):
    """What an index needs of an embedder: images -> float32 [image dim] of length one, under a name and fingerprint."""

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


def sound(vectors: Float[np.ndarray, "image dim"]) -> list[bool]:
    """Which vectors can be looked up: finite, and not zero."""
    return [bool(np.isfinite(vector).all() and vector.any()) for vector in vectors]
