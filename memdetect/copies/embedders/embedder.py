"""What an embedder is: images -> unit vectors, with a fingerprint that changes whenever the vectors could."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from memdetect.copies.codes import Codes

Images = Sequence[Image.Image]


@dataclass(frozen=True, slots=True)
class Embedder:
    """Ready to embed. Vectors of two embedders compare only when their fingerprints are equal.

    `embed`: images of any mode and size -> float32 rows of length one, one per image; the cosine of two is their dot
    product. A row depends on its image alone, up to the last bits (1e-5) for networks. codes: what an index holds and
    is asked instead, for an embedder of bits.
    """

    name: str
    dim: int
    fingerprint: str
    licence: str
    about: str
    embed: Callable[[Images], Float[np.ndarray, "image dim"]]
    codes: Codes | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights may come from: a model's folder, a file named by the user, and whether code in it may run."""

    folder: Path | None = None
    weights: Path | None = None
    trust_torchscript: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of embedders. `preprocessing` holds every parameter that the vectors depend on.

    `load` imports what it needs when it is called: the table itself loads no torch.
    """

    name: str
    dim: int
    licence: str
    about: str
    preprocessing: Mapping[str, Any]
    load: Callable[["Row", Source], Embedder]

    def ready(self, embed: Callable[[Images], np.ndarray], weights: str = "", codes: Codes | None = None) -> Embedder:
        """The embedder of this row around a function images -> vectors of length above 0. `weights`: their sha256."""

        def unit(images: Images) -> Float[np.ndarray, "image dim"]:
            if not images:
                return np.zeros((0, self.dim), np.float32)
            return unit_rows(embed(images))

        mark = fingerprint(self.name, self.dim, self.preprocessing, weights)
        return Embedder(self.name, self.dim, mark, self.licence, self.about, unit, codes)


def fingerprint(name: str, dim: int, preprocessing: Mapping[str, Any], weights: str) -> str:
    """First 16 hex digits of the sha256 over name, dimension, preprocessing and the digest of the weights."""
    text = json.dumps([name, dim, dict(preprocessing), weights], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unit_rows(vectors: Float[np.ndarray, "image dim"]) -> Float[np.ndarray, "image dim"]:
    """Each row divided by its length, float32; no row may be zero."""
    wide = vectors.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
