"""Image files -> vectors, a batch at a time; what cannot be opened is left out and counted by its reason."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from memdetect.copies.compared import plain
from memdetect.copies.index.embedder_protocol import FAINT, Embeds, as_held, codes_of, sound
from memdetect.copies.index.rows import Row, stored_path
from memdetect.copies.index.sources import Listed
from memdetect.copies.index.views import MOST, AsTrained, boxes, resized
from memdetect.errors import MemdetectError
from memdetect.files import open_regular
from memdetect.inputs.images import MAX_PIXELS, Opened, open_ways

# Changes of pixels that trainers do not all make. An index of an older memdetect has these notes without EACH: it holds
# such pictures decoded in one way alone.
DIFFER = ("exif orientation applied", "alpha composited on white", "16-bit reduced to 8")
EACH = ", each decoding taken"
# Words of the messages of open_image, which say what was found.
REASONS = {
    "missing": "there is no such file",
    "empty": "the file is empty",
    "too many pixels": "pixels are more than the|decompression bombs",
    "no image": "not an image of a known format|the image has no pixels",
}
OF_OTHERS = "crops or decodings left out: "
WAITING = 2**26  # pixels of a batch: large images go in smaller ones


@dataclass(frozen=True, slots=True)
class Taken:
    """An image that was taken in, its row, and what an index holds of it: its vector, or its codes.

    entry: which of the images that were given it is, from 0.
    """

    image: Image.Image
    row: Row
    vector: Shaped[np.ndarray, "*_form"]
    entry: int = 0


@dataclass(slots=True)
class Intake:
    """Opens and embeds images for an index in `home`. `skipped` and `noted` count, by reason, what was not as usual.

    as_trained: make of each picture the squares that training cut out of it, and a row of the whole as well where it is
    not square; None = the whole alone. every: take each way of decoding that gives other pixels, a row for each. seen:
    how many images were given; first: what was wrong with the first that could not be used; unseen: rows of embeddings
    without a picture.
    """

    embedder: Embeds
    home: Path
    batch: int = 64
    max_pixels: int = MAX_PIXELS
    as_trained: AsTrained | None = None
    every: bool = True
    skipped: Counter[str] = field(default_factory=Counter[str])
    noted: Counter[str] = field(default_factory=Counter[str])
    seen: int = 0
    first: str = ""
    unseen: int = 0

    def batches(self, entries: Iterable[Listed]) -> Iterator[list[Taken]]:
        """Images in their order, those of a batch embedded together. Memory holds one batch."""
        waiting: list[tuple[Image.Image, Row, int]] = []
        for number, entry in enumerate(entries, self.seen):
            self.seen += 1
            opened = self._open(entry)
            waiting += [(*view, number) for image, row in opened for view in self._views(image, row)]
            if len(waiting) >= self.batch or sum(i.width * i.height for i, _, _ in waiting) >= WAITING:
                yield from self._embedded(waiting)
                waiting = []
        yield from self._embedded(waiting)

    def _open(self, entry: Listed) -> list[tuple[Image.Image, Row]]:
        """The picture in each way of decoding, the usual one first, with its row; none where it cannot be taken."""
        try:
            ways = open_ways(entry.path, max_pixels=self.max_pixels)
            with open_regular(entry.path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            path = stored_path(entry.path, self.home)
            path.encode()
        except UnicodeEncodeError:
            return self._skip("name is not UTF-8", repr(str(entry.path)))
        except (MemdetectError, OSError) as problem:
            text = str(problem).removeprefix(f"{str(entry.path)!r}: ")
            reasons = (reason for reason, words in REASONS.items() if re.search(words, text))
            return self._skip(next(reasons, "unreadable"), str(problem))
        notes = (re.sub(r"of \d+ used", "used", note) for note in ways[0].notes)
        self.noted.update(f"{note}{EACH}" if note in DIFFER and self.every else note for note in notes)
        row = Row(key=entry.key or path, path=path, caption=entry.caption, sha256=digest, width=0, height=0)
        return [(opened.image, _decoded(row, opened)) for opened in (ways if self.every else ways[:1])]

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

    def _skip(self, reason: str, problem: str) -> list[tuple[Image.Image, Row]]:
        self.skipped[reason] += 1
        self.first = self.first or problem
        return []

    def _embedded(self, waiting: Sequence[tuple[Image.Image, Row, int]]) -> Iterator[list[Taken]]:
        if not waiting:
            return
        vectors = as_held([image for image, _, _ in waiting], self.embedder)
        binary = codes_of(self.embedder) is not None
        pairs = zip(waiting, vectors, sound(vectors), strict=True)
        # What has one colour is a copy of nothing: an embedder of codes holds it, near nothing, and it counts.
        fits = [(one, vector) for one, vector, fit in pairs if fit or (binary and plain(one[0]))]
        taken = [Taken(image, row, vector, number) for (image, row, number), vector in fits]
        if len(taken) < len(waiting):
            self._lost(waiting, taken, FAINT if binary else "no embedding")
        if taken:
            yield taken

    def _lost(self, waiting: Sequence[tuple[Image.Image, Row, int]], taken: Sequence[Taken], reason: str) -> None:
        """Count pictures of which nothing could be taken, each once, and what is missing of the others."""
        kept = {one.entry for one in taken}
        gone = {number: row.path for _, row, number in waiting if number not in kept}
        for path in gone.values():
            self._skip(reason, f"{path!r}: {reason}")
        if missing := sum(number in kept for _, _, number in waiting) - len(taken):
            self.noted[f"{OF_OTHERS}{reason}"] += missing


def _decoded(row: Row, opened: Opened) -> Row:
    """The row of one way of decoding its file; the key of another than the usual one names it."""
    key = row.key if opened.way == "white" else f"{row.key}#{opened.way}"
    width, height = opened.image.size
    return row.model_copy(update={"key": key, "decoded": opened.way, "width": width, "height": height})
