"""How training and look-ups see a picture that is not square: whole, and cropped to a square as trainers do.

Boxes are (left, top, right, bottom) in whole pixels of the upright picture.
"""

import re
from collections.abc import Sequence
from math import ceil
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from memdetect.errors import MemdetectError

Box = tuple[int, int, int, int]
SQUARE = 1 / 32  # by how much the longer side may exceed the shorter one of a picture that counts as square
STEP = 1 / 32  # of the shorter side between random crops: none of training is further than half of that from one
MOST = 65  # crops of a picture; those of a longer one lie further apart

Similarities = Float64[np.ndarray, "view rank"]
Rows = Int64[np.ndarray, "view rank"]


class AsTrained(BaseModel):
    """How training made squares: shorter side brought to `size` pixels, then a square from the centre or anywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=1, le=16_384)
    crop: Literal["center", "random"] = "center"

    @property
    def text(self) -> str:
        """As the command line has it."""
        return f"{self.size},{self.crop}"


def as_trained(text: str) -> AsTrained:
    """Read SIZE or SIZE,center or SIZE,random. MemdetectError (usage) for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,4})(?:,(center|random))?", text)
    if found is None or int(found[1]) > 16_384:
        raise MemdetectError(
            f"--as-trained is {text!r:.60}, expected SIZE, SIZE,center or SIZE,random with a size in pixels; "
            "give that of training, such as 512,center"
        )
    return AsTrained.model_validate({"size": int(found[1]), "crop": found[2] or "center"})


def is_square(size: tuple[int, int]) -> bool:
    """Whether a picture of this width and height counts as square."""
    return max(size) <= min(size) * (1 + SQUARE)


def boxes(size: tuple[int, int], crop: str) -> list[Box]:
    """The squares that training cut out of a picture of this width and height; none of one that is square.

    center: the one about the centre. random: crops from end to end, an odd number so that the centre is among them, at
    most STEP of the shorter side apart, MOST of them at most: what training cut lies within half a step of one.
    """
    side, length = min(size), max(size) - min(size)
    if is_square(size):
        return []
    count = 1 if crop == "center" else min(2 * ceil(length / (side * STEP) / 2) + 1, MOST)
    starts = [length / 2] if count == 1 else [length * i / (count - 1) for i in range(count)]
    wide = size[0] > size[1]
    corners = [(round(start), 0) if wide else (0, round(start)) for start in dict.fromkeys(starts)]
    return [(x, y, x + side, y + side) for x, y in dict.fromkeys(corners)]


def resized(image: Image.Image, box: Box | None, size: int) -> Image.Image:
    """The square of a picture at the size of training; `box` None = the whole picture."""
    part = image if box is None else image.crop(box)
    return part.resize((size, size), Image.Resampling.LANCZOS)


def centre_square(image: Image.Image) -> Image.Image | None:
    """The square about the centre of a picture, None where the picture is one itself."""
    return square_at(image, 0.5)


def upright(image: Image.Image) -> list[Image.Image]:
    """The picture, and the square about its centre where it is not square."""
    square = centre_square(image)
    return [image] if square is None else [image, square]


def views(image: Image.Image) -> list[Image.Image]:
    """A picture as it is looked up: whole, the square about its centre where it is not square, and both mirrored."""
    seen = upright(image)
    return [*seen, *map(ImageOps.mirror, seen)]


def square_at(image: Image.Image, place: float) -> Image.Image | None:
    """The square at a place along the longer side, 0 = left or top, 1 = right or bottom; None of a square picture."""
    if is_square(image.size):
        return None
    side, (x, y) = min(image.size), (round((length - min(image.size)) * place) for length in image.size)
    return image.crop((x, y, x + side, y + side))


def merged(near: Similarities, rows: Rows, k: int) -> tuple[list[float], list[int]]:
    """The k best rows of several views of one image, each row once, nearest first; what is absent (-1) is left out."""
    best: dict[int, float] = {}
    for similarity, row in zip(near.ravel().tolist(), rows.ravel().tolist(), strict=True):
        if row >= 0 and similarity > best.get(row, -np.inf):
            best[row] = similarity
    order = sorted(best, key=lambda row: (-best[row], row))[:k]
    return [best[row] for row in order], order


def by_owner(owners: Sequence[int], count: int) -> list[list[int]]:
    """Positions of the views of each of `count` images."""
    found: list[list[int]] = [[] for _ in range(count)]
    for position, owner in enumerate(owners):
        found[owner].append(position)
    return found
