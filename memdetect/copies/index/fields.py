"""What a manifest is made of: sums of files, the embedder, the limits, and what planted copies gave."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Most = Annotated[float, Field(ge=0)]  # a limit for a share, which may be more than any


class Strict(BaseModel):
    """A record of a file: no other fields, finite numbers, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileSum(Strict):
    """Size in bytes and sha256 (64 hex digits) of a file."""

    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EmbedderName(Strict):
    """What turned the images into vectors: name, dimension, and fingerprint of weights and preprocessing.

    tiles: how many codes of `dim` bits an image has in a binary index; 1 where it has a vector.
    """

    name: str
    fingerprint: str
    dim: int = Field(ge=1)
    tiles: int = Field(default=1, ge=1)


class Threshold(Strict):
    """Above which similarity an image counts as similar to a training image, and what that rests on.

    similarity: the limit; exceeding it is the same as a p-value of at most `level`. None when no query gave any.
    queries: how many images known not to be copies were looked up; rows: the size of the index they were looked up in;
    duplicates: queries left out of that for a copy. shown: whether that many queries can show the level; else the limit
    is the largest similarity of a non-copy, and a larger one has p = `attainable`, the smallest: 1 / (queries + 1).
    """

    similarity: Cosine | None
    level: float = Field(gt=0, lt=1)
    attainable: Annotated[float, Field(gt=0, le=1)]
    shown: bool
    queries: Count
    rows: Count
    duplicates: Count
    source: Literal["held-out", "leave-one-out"]


class Agreement(Strict):
    """Above which share of a training image that agrees a part of it counts as found, and what that rests on.

    agreed: the limit, None when no query gave any (`copies.index.part`). queries: how many images known not to be
    copies were laid on the training images nearest to them; pairs: how many pairs that were; duplicates: pairs left out
    for copies; beyond: queries whose share exceeds the limit all the same. shown: whether the queries are enough to go
    by; else the usual limits hold too. large: queries that were laid as large images are; small images need as many
    small ones.
    """

    agreed: Most | None
    shown: bool
    queries: Count
    pairs: Count
    duplicates: Count
    beyond: Count
    source: Literal["held-out", "leave-one-out"]
    large: Count = 0


class Tightened(Strict):
    """How much of the copy rule's room an index leaves, by held-out images that are surely no copies.

    share: of the room that the rule leaves a copy to differ (`CopyRule.strict`). queries: how many images were laid on
    the training images nearest to them; within: how many of them the usual rule would call copies; beyond: how many
    this one does. shown: whether so many queries can show the level; else none of them is within, where that can be.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    level: float = Field(gt=0, lt=1)
    shown: bool
    queries: Count
    within: Count
    beyond: Count


class Planted(Strict):
    """Rows' own images, damaged mildly and looked up: how many, and the share found, similar, and called a copy."""

    images: Count
    recall_at_1: Share
    similar: Share
    copies: Share
    damage: str


class Found(Strict):
    """Rows' own images, changed in a geometric way and looked up: how many, the share similar, and called a copy."""

    images: Count
    similar: Share
    copies: Share


class Recall(Strict):
    """How much of what an exact search finds an approximate one finds, in this very index.

    queries: rows drawn at random whose vectors were looked up. nearest: share of them whose nearest other row was found
    first. ten: share of their ten nearest rows that were found. planted: by cosine, the share of vectors at that cosine
    from a row, in a random direction, for which the row was among the ten found, of those for which it is among the ten
    nearest; absent where these are less than half.
    """

    queries: Count
    nearest: Share
    ten: Share
    planted: dict[str, Share]


class Part(Strict):
    """Which part of a training set an index holds, made by one of several processes: every `world`-th of a list.

    rank: from 0. listing: sha256 of the keys of the whole list, in its order, so that parts of other lists are told.
    """

    rank: Count
    world: int = Field(ge=2, le=2**31)
    listing: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
