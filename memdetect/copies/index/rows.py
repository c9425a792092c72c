"""The rows beside the vectors: which image each one is. Read from the file as they are asked for."""

import mmap
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from memdetect.copies.index.views import Box
from memdetect.errors import MemdetectError
from memdetect.inputs.images import Way

BLOCK = 2**24
AT_ONCE = 4096  # rows that are parsed together


class Row(BaseModel):
    """One line of rows.jsonl: an image of the index.

    decoded: how the file became the picture; "white" is the usual way (`inputs.images`). crop: of the picture that the
    vector is of, if not the whole: left, top, right, bottom in pixels of the picture as decoded.
    path: with forward slashes, relative to the index folder where the image lies below the folder that holds the
    index, else absolute. key: the caller's name of it, or the path. sha256: of its file. width, height: in pixels.
    Of an embedding without a picture: the path is what it was called, sha256 that of the vector, and the sizes are 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    path: str
    caption: str | None = None
    sha256: str
    width: int
    height: int
    crop: Box | None = None
    decoded: Way = "white"

    def line(self) -> str:
        """The row as one line of JSON; one of a whole picture, decoded in the usual way, has no fields for these."""
        usual = {name for name in ("crop", "decoded") if getattr(self, name) == Row.model_fields[name].default}
        return self.model_dump_json(exclude=usual) + "\n"

    @property
    def pictured(self) -> bool:
        """Whether there is a picture of it; else the index has its embedding alone."""
        return self.width > 0

    def seen(self, image: Image.Image) -> Image.Image:
        """What training saw of the row's picture, given the picture as `decoded` has it."""
        return image if self.crop is None else image.crop(self.crop)

    @property
    def pixels(self) -> int:
        """How many pixels the image had when it was taken in."""
        return self.width * self.height

    def file(self, folder: Path) -> Path:
        """Where the image lies, seen from the working folder; `folder` is that of the index."""
        return Path(self.seen_from(str(folder)))

    def seen_from(self, folder: str) -> str:
        """The same as text, which is what a match of many rows needs."""
        above, slash, name = self.path.rpartition("/")
        if name in ("", ".", ".."):
            return _normal(folder, self.path)
        above = _normal(folder, above + slash)
        return name if above == "." else os.path.join(above, name)  # noqa: PTH118


_ROWS = TypeAdapter(list[Row])


@lru_cache(1024)  # of folders there are few, however many images lie in them
def _normal(folder: str, path: str) -> str:
    if path[:1] == "/" or path[1:3] == ":/":
        return os.path.normpath(path)
    real = os.path.realpath(folder)  # `..` of a link is beside what it points to
    seen = folder if real == os.path.normpath(Path(folder).absolute()) else real
    return os.path.normpath(f"{seen}/{path}")


@lru_cache(1024)
def _real(folder: Path) -> Path:
    return folder.resolve()


def stored_path(image: Path, folder: Path) -> str:
    """The `path` of a row: relative to the index folder for an image below that folder's parent, else absolute.

    Links are followed but for the image itself: what such a link is called may be all that stays.
    """
    whole, home = _real(image.parent.absolute()) / image.name, _real(folder.absolute())
    if whole.is_relative_to(home.parent):
        return Path(os.path.relpath(whole, home)).as_posix()
    return whole.as_posix()


class RowFile:
    """Random access to the lines of rows.jsonl: 8 bytes of memory a row, and the file mapped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.stat().st_size:
            raise self._damaged("it is empty")
        with path.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._ends: NDArray[np.int64] | None = None

    def __iter__(self) -> Iterator[Row]:
        """All rows in their order, a block in memory at a time. Raises as `many`."""
        count = len(self)
        for start in range(0, count, AT_ONCE):
            yield from self.many(range(start, min(start + AT_ONCE, count)))

    def __len__(self) -> int:
        """How many there are."""
        if self._ends is None:
            self._ends = self._line_ends()
        return len(self._ends)

    def __getitem__(self, index: int) -> Row:
        """The row of a vector; MemdetectError as `many`."""
        return self.many([index])[0]

    def many(self, indices: Sequence[int]) -> list[Row]:
        """The rows of several vectors in their order, parsed together: half the time.

        Raises MemdetectError (usage) past the last one, and for a line that is no row.
        """
        if max(indices, default=0) >= len(self) or self._ends is None:
            raise self._damaged(f"it has {len(self)} rows, and the index has more vectors")
        ends = self._ends[np.asarray(indices, np.int64)].tolist()
        starts = [int(self._ends[index - 1]) + 1 if index else 0 for index in indices]
        lines = [self._text[start:end] for start, end in zip(starts, ends, strict=True)]
        try:
            found = _ROWS.validate_json(b"[%b]" % b",".join(lines))
        except ValidationError as problem:
            first = problem.errors()[0]
            raise self._damaged(f"{'.'.join(map(str, first['loc'][1:])) or 'a row'}: {first['msg']}") from None
        if len(found) != len(lines):
            raise self._damaged("a line holds several rows")
        return found

    def _damaged(self, what: str) -> MemdetectError:
        return MemdetectError(f"{str(self._path)!r} is damaged: {what}; copy the index again, or build it anew")

    def _line_ends(self) -> NDArray[np.int64]:
        parts = ((s, np.frombuffer(self._text[s : s + BLOCK], np.uint8)) for s in range(0, len(self._text), BLOCK))
        return np.concatenate([np.flatnonzero(part == 10) + s for s, part in parts])
