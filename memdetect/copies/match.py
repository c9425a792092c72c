"""What a look-up found: training images near an image, and what is decided of it. No torch, no numpy."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Finding = Literal["copy", "similar", "clear", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Match(_Strict):
    """A training image near one of an item's images.

    seed: which of the item's images; rank: 1 = the nearest. row, key, path, caption: of the training image, its path
    relative to the working folder or absolute. similarity: cosine of the embeddings, in [-1, 1]. p: conformal p-value
    of that similarity among images known not to be copies, for one image. similar: whether it exceeds the index's
    threshold. tile, ssim: pixel measures (`copies.pixels`); None where not measured, with the reason in `note`.
    copy_found: whether embedder and pixels agree on a copy.
    """

    seed: int = 0
    rank: int
    row: int = 0
    key: str
    path: str = ""
    caption: str = ""
    similarity: float
    p: float | None = None
    similar: bool = False
    tile: float | None = None
    ssim: float | None = None
    copy_found: bool = False
    note: str = ""


class Looked(_Strict):
    """An image that was looked up in an index: what was decided, why, and the training images near it."""

    image: str
    outcome: Finding
    reason: str = ""
    matches: list[Match] = []
