"""Image files -> vectors, a batch at a time; what cannot be opened is left out and counted by its reason."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from memdetect.copies.index.embeds import Embeds, sound
from memdetect.copies.index.rows import Row, stored_path
from memdetect.copies.index.sources import Listed
from memdetect.copies.index.views import MOST, AsTrained, boxes, resized
from memdetect.errors import MemdetectError
from memdetect.inputs.images import MAX_PIXELS, open_image

# Words of the messages of open_image, which say what was found.
REASONS = {
    "missing": "there is no such file",
    "empty": "the file is empty",
    "too many pixels": "pixels are more than the|decompression bombs",
    "no image": "not an image of a known format|the image has no pixels",
}
WAITING = 2**26  # pixels of a batch: large images go in smaller ones


@dataclass(frozen=True, slots=True)
class Taken:
    """An image that was taken in, its row, and its vector."""

    image: Image.Image
    row: Row
    vector: Float32[np.ndarray, " dim"]


@dataclass(slots=True)
class Intake:
    """Opens and embeds images for an index in `home`. `skipped` and `noted` count, by reason, what was not as usual.

    as_trained: make of each picture the squares that training cut out of it, and a row of the whole as well where it is
    not square; None = the whole alone.
    """

    embedder: Embeds
    home: Path
    batch: int = 64
    max_pixels: int = MAX_PIXELS
    as_trained: AsTrained | None = None
    skipped: Counter[str] = field(default_factory=Counter[str])
    noted: Counter[str] = field(default_factory=Counter[str])
    seen: int = 0
    first: str = ""

    def batches(self, entries: Iterable[Listed]) -> Iterator[list[Taken]]:
        """Images in their order, those of a batch embedded together. Memory holds one batch."""
        waiting: list[tuple[Image.Image, Row]] = []
        for entry in entries:
            self.seen += 1
            opened = self._open(entry)
            if opened is None:
                continue
            waiting += self._views(*opened)
            if len(waiting) >= self.batch or sum(i.width * i.height for i, _ in waiting) >= WAITING:
                yield from self._embedded(waiting)
                waiting = []
        yield from self._embedded(waiting)

    def _open(self, entry: Listed) -> tuple[Image.Image, Row] | None:
        try:
            opened = open_image(entry.path, max_pixels=self.max_pixels)
            with entry.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            path = stored_path(entry.path, self.home)
            path.encode()
        except UnicodeEncodeError:
            return self._skip("name is not UTF-8", repr(str(entry.path)))
        except (MemdetectError, OSError) as problem:
            text = str(problem).removeprefix(f"{str(entry.path)!r}: ")
            reasons = (reason for reason, words in REASONS.items() if re.search(words, text))
            return self._skip(next(reasons, "unreadable"), str(problem))
        self.noted.update(re.sub(r"of \d+ used", "used", note) for note in opened.notes)
        width, height = opened.image.size
        row = Row(key=entry.key or path, path=path, caption=entry.caption, sha256=digest, width=width, height=height)
        return opened.image, row

    def _views(self, image: Image.Image, row: Row) -> list[tuple[Image.Image, Row]]:
        """A picture as training saw it: crops first, and the whole last; a square one at the size of training."""
        if self.as_trained is None:
            return [(image, row)]
        found, size = boxes(image.size, self.as_trained.crop), self.as_trained.size
        if not found:
            return [(resized(image, None, size), row)]
        if len(found) == MOST:
            self.noted["so long that its crops lie far apart"] += 1
        named = ((box, f"{row.key}#{','.join(map(str, box))}") for box in found)
        crops = [(resized(image, box, size), row.model_copy(update={"key": key, "crop": box})) for box, key in named]
        return [*crops, (image, row)]

    def _skip(self, reason: str, problem: str) -> None:
        self.skipped[reason] += 1
        self.first = self.first or problem

    def _embedded(self, waiting: Sequence[tuple[Image.Image, Row]]) -> Iterator[list[Taken]]:
        if not waiting:
            return
        vectors = np.asarray(self.embedder.embed([image for image, _ in waiting]), np.float32)
        pairs = zip(waiting, vectors, sound(vectors), strict=True)
        taken = [Taken(image, row, vector) for (image, row), vector, fit in pairs if fit]
        if len(taken) < len(waiting):
            self.skipped["no embedding"] += len(waiting) - len(taken)
        if taken:
            yield taken
