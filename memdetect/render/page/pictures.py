"""Pictures of findings as thumbnails within a page, read with Pillow from the run's folder and the training images."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from memdetect.copies.alignment_words import aligned_words, alignment
from memdetect.copies.match import Match
from memdetect.copies.overlay import aligned
from memdetect.errors import MemdetectError
from memdetect.inputs.images import open_image
from memdetect.render.page.beside import Pair, Picture, Seen
from memdetect.runs.records import Result
from memdetect.runs.review import strength

SIDE = 256  # of a thumbnail, in pixels
QUALITY = 82  # of WebP; small pictures are kept without loss
SMALL = 96  # side below which a picture loses more by compression than it saves
PAIRS = 4  # of an item; more of its images are shown alone
BUDGET = 12_000_000  # bytes of data addresses, which leaves room for the words


@dataclass(slots=True)
class Album:
    """Thumbnails of a run in `folder`, until they take `budget` bytes."""

    folder: Path
    budget: int = BUDGET
    taken: int = 0
    full: bool = False
    _kept: dict[str, Picture | None] = field(default_factory=dict[str, Picture | None])

    def seen(self, row: Result) -> Seen:
        """The pictures of an item, and the sha256 of its images; without pictures once the album is full."""
        paths = self._paths(row)
        digests = tuple(_sha256(path) for path in paths.values())
        if self.full:
            return Seen(digests=digests)
        pairs = tuple(self._pair(match, row, paths) for match in _shown(row))
        shown = {pair.match.seed for pair in pairs}
        rest = [(k, picture) for k, path in paths.items() if k not in shown and (picture := self._file(path))]
        cost = sum(len(picture.data) for picture in _pictures(pairs, rest))
        if self.taken + cost > self.budget:
            self.full = True
            return Seen(digests=digests)
        self.taken += cost
        return Seen(pairs, tuple(rest), digests)

    def _paths(self, row: Result) -> dict[int, Path]:
        """The files of an item's images that are there, by their number; none outside the run's folder."""
        if row.image is not None:
            given = Path(row.image)
            return {0: given} if given.is_file() and _sha256(given) == row.sha256 else {}
        inside = self.folder.resolve()
        found = {k: (inside / name).resolve() for k, name in enumerate(row.files)}
        return {k: path for k, path in found.items() if path.is_relative_to(inside) and path.is_file()}

    def _pair(self, match: Match, row: Result, paths: dict[int, Path]) -> Pair:
        path, trained = paths.get(match.seed), Path(match.path) if match.path else None
        others = sorted((m for m in row.matches if m.seed == match.seed and m.key != match.key), key=lambda m: m.rank)
        second = others[0] if others else None
        training = self._file(trained)
        return Pair(
            match,
            output=self._file(path),
            aligned=_laid(path, training, match),
            training=training,
            second_match=second,
            second=self._file(Path(second.path)) if second and second.path else None,
        )

    def _file(self, path: Path | None) -> Picture | None:
        if path is None:
            return None
        if str(path) not in self._kept:
            image = _opened(path)
            self._kept[str(path)] = None if image is None else _picture(image, _sha256(path))
        return self._kept[str(path)]


def _laid(path: Path | None, training: Picture | None, match: Match) -> Picture | None:
    """The output as it lies on the training image, as large as its thumbnail, where that is another picture."""
    if path is None or training is None or match.affine is None or alignment(match.affine) is None:
        return None
    if not aligned_words(match.affine) or (output := _opened(path)) is None:
        return None
    return _picture(aligned(output, (training.width, training.height), match.affine))


def _shown(row: Result) -> list[Match]:
    """For each image that repeats a training image what it repeats, else the nearest of all; the strongest first."""
    best: dict[int, Match] = {}
    for match in sorted(row.matches, key=strength):
        best[match.seed] = match
    found = sorted(best.values(), key=strength, reverse=True)
    repeats = [match for match in found if match.copy_found or match.partial_found]
    return (repeats or found[:1])[:PAIRS]


def _pictures(pairs: Iterable[Pair], rest: Iterable[tuple[int, Picture]]) -> Iterable[Picture]:
    for pair in pairs:
        yield from filter(None, (pair.output, pair.aligned, pair.training, pair.second))
    yield from (picture for _, picture in rest)


def _opened(path: Path) -> Image.Image | None:
    try:
        return open_image(path).image
    except MemdetectError:
        return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _picture(image: Image.Image, sha256: str = "") -> Picture:
    """A thumbnail as WebP: never enlarged, without any metadata of the file."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = BytesIO()
    small.save(out, "WEBP", lossless=max(small.size) <= SMALL, quality=QUALITY, method=4)
    address = f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
    return Picture(address, small.width, small.height, sha256)
