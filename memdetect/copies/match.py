"""What a look-up found: training images near an image, and what is decided of it. No torch, no numpy."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

Finding = Literal["copy", "partial-copy", "similar", "clear", "inconclusive"]
CHANGED = "the training image has changed since it was indexed"
GONE = "the training image cannot be opened"
NO_PICTURE = "the index has the embedding of this training image alone, so that its pixels cannot be compared"
ONE_COLOUR = "one of the two has one colour, which is no copy"
Affine = tuple[float, float, float, float, float, float]
Box = tuple[float, float, float, float]
_WAY = r"#(\d+,\d+,\d+,\d+|(white|black|plain)(,unturned)?)"  # what the key of a crop, or another decoding, ends with
_WAYS = re.compile(rf"({_WAY})+$")


def picture_of(key: str) -> str:
    """The key of the training image itself, for one of its crops or decodings (`a.png#plain`, `a.png#0,0,64,64`)."""
    return _WAYS.sub("", key)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Match(_Strict):
    """A training image near one of an item's images.

    seed: which of the item's images; rank: 1 = the nearest. row, key, path, caption: of the training image, its path
    relative to the working folder or absolute. similarity: cosine of the embeddings, in [-1, 1]. p: conformal p-value
    of that similarity among images known not to be copies, for one image. similar: whether it exceeds the index's
    threshold. tile, ssim: pixel measures (`copies.pixels`); None where not measured, with the reason in `note`.
    They are of the two aligned where that could make a copy. affine: how they were aligned. The place (x, y) of the
    training image is (a x + b y + c, d x + e y + f) of the image, all in shares of width and height from the upper left
    corner; None = not aligned. agreed: share of the area of the training image that the image repeats, in [0, 1];
    p_agreed: conformal p-value of it among images known not to be copies. region: left, top, right, bottom of the
    largest connected part that agrees, in shares of the training image. copy_found: whether the pixels agree on a copy;
    partial_found: whether a part of the training image comes back, and not the whole.
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
    affine: Affine | None = None
    agreed: float | None = None
    p_agreed: float | None = None
    region: Box | None = None
    copy_found: bool = False
    partial_found: bool = False
    note: str = ""

    @property
    def unseen(self) -> bool:
        """Whether the training image was not there to be compared, or a similar one was not compared."""
        return self.note in (CHANGED, GONE, NO_PICTURE) or (self.similar and self.tile is None)


def nearest_similar(matches: Sequence[Match]) -> list[Match]:
    """The most similar training image of each image that is similar to one, with other pixels, and repeats none."""
    copies = {match.seed for match in matches if match.copy_found or match.partial_found}
    found: dict[int, Match] = {}
    for match in matches:
        if match.similar and match.tile is not None and match.seed not in copies:
            held = found.get(match.seed)
            found[match.seed] = match if held is None or match.similarity > held.similarity else held
    return [found[seed] for seed in sorted(found)]


def uncopied(matches: Sequence[Match]) -> Sequence[Match]:
    """The matches as if every training image that is repeated were only similar, with other pixels."""
    return [_uncopied(match) if match.copy_found or match.partial_found else match for match in matches]


def _uncopied(match: Match) -> Match:
    tile = 1.0 if match.tile is None else match.tile  # it was compared, else nothing would be repeated
    return match.model_copy(update={"copy_found": False, "partial_found": False, "similar": True, "tile": tile})


class Looked(_Strict):
    """An image that was looked up in an index: what was decided, why, and the training images near it."""

    image: str
    outcome: Finding
    reason: str = ""
    matches: list[Match] = []
