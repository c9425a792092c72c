"""Centred pixels: a colour thumbnail without its mean brightness. Finds what stays in place; no weights."""

import numpy as np
from jaxtyping import Float
from PIL import Image

from memdetect.copies.embedders.embedder import Embedder, Images, Row, Source
from memdetect.inputs.images import to_rgb

SIDE = 32
FLOOR = 1.0  # grey levels


def thumbnail(image: Image.Image) -> Float[np.ndarray, " dim"]:
    """The image squashed to 32 x 32 RGB, grey levels, mean removed, FLOOR added: [row * col * 3], never zero.

    The mean is that over all pixels and channels, so that brightness goes and colour stays. FLOOR fills the one
    direction that centring empties: two plain grey images are equal, and contrast below a level counts for little.
    """
    small = to_rgb(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float32).ravel()
    return values - values.mean() + FLOOR


def load(row: Row, source: Source) -> Embedder:
    """Nothing to load."""
    return row.ready(_embed)


def _embed(images: Images) -> np.ndarray:
    return np.stack([thumbnail(image) for image in images])


PIXELS = Row(
    name="pixels",
    dim=SIDE * SIDE * 3,
    licence="Apache-2.0",
    about="colour thumbnail of 32 x 32 without its mean brightness",
    preprocessing={"rgb": "alpha on white", "resize": [SIDE, SIDE, "bilinear"], "centre": "all", "floor": FLOOR},
    load=load,
)
