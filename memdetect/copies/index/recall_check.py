"""Would this index find a copy? Its own pictures, damaged, mirrored or moved, are looked up when it is built."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from memdetect.copies.agreement import lay
from memdetect.copies.align import Asking
from memdetect.copies.compared import Beside, compare, entire, plain
from memdetect.copies.index.calibrate import OPENED, Trial, looked_up
from memdetect.copies.index.embedder_protocol import as_queries, sound
from memdetect.copies.index.manifest import Agreement, Found, Planted
from memdetect.copies.index.nearby import Candidate
from memdetect.copies.index.part import Parts, limit_of
from memdetect.copies.index.pictures import try_open
from memdetect.copies.index.rows import Row
from memdetect.copies.index.views import centre_square, square_at
from memdetect.copies.measures import agree

DAMAGE = "scaled to 3/4 and back, blurred by 0.7 pixels, JPEG of quality 50"
EACH = 100  # copies of each kind of GEOMETRY, which inform and decide nothing
Change = Callable[[Image.Image], Image.Image | None]
LARGEST = 1024  # pixels of the longer side of a copy: no model makes larger images by much
JPEG_SIDE = 65_500  # pixels, the longest that the format has
KEPT = 7 / 8  # of each side of what is cropped
MOVED = 1 / 16  # of each side
CORNER = 3 / 4  # of what is cropped away lies left, and above
SQUARED = "cropped square"


def damaged(image: Image.Image) -> Image.Image:
    """An RGB image after DAMAGE, of the same size; its longer side is at most JPEG_SIDE."""
    small = image.resize([max(1, side * 3 // 4) for side in image.size], Image.Resampling.BICUBIC)
    blurred = small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.7))
    file = io.BytesIO()
    blurred.save(file, "JPEG", quality=50)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    """KEPT of each side, off the centre, brought back to the size of the image."""
    x, y = image.width * (1 - KEPT) * CORNER, image.height * (1 - KEPT) * CORNER
    box = (x, y, x + image.width * KEPT, y + image.height * KEPT)
    return image.resize(image.size, Image.Resampling.LANCZOS, box=box)


def shifted(image: Image.Image) -> Image.Image:
    """Moved right and down by MOVED of each side; the edge that was there before is drawn out to fill the gap."""
    x, y = (round(side * MOVED) for side in image.size)
    values = np.pad(np.asarray(image), ((y, 0), (x, 0), (0, 0)), mode="edge")
    return Image.fromarray(values[: image.height, : image.width])


GEOMETRY: Mapping[str, Change] = {
    "mirrored": ImageOps.mirror,
    "cropped": cropped,
    "shifted": shifted,
    SQUARED: centre_square,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an index calls similar, None where it has no threshold, and a part that is found."""

    similarity: float | None
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class _Made:
    """A changed copy, the row that it was made of, and that row's whole picture."""

    row: Row
    whole: Image.Image
    copy: Image.Image


@dataclass(slots=True)
class _Count:
    """How many copies of a kind were looked up; found at rank 1, similar, called a copy."""

    images: int = 0
    found: list[int] = field(default_factory=lambda: [0, 0, 0])

    def shares(self) -> tuple[float, float, float]:
        first, similar, copies = (number / max(self.images, 1) for number in self.found)
        return first, similar, copies


def planted(
    trial: Trial, limit: Limits, images: int, parts: Parts, crop: str = "center"
) -> tuple[Planted, dict[str, Found]]:
    """Look up changed copies of pictures drawn at random: mildly damaged ones, and one of each kind of GEOMETRY.

    Of the latter EACH at most. They are made of what training saw of a picture, but `cropped square` of the whole,
    where that is not square: from its centre, or anywhere along it where `crop` is "random". Shares are of the pictures
    that could still be opened and fit into a JPEG, where one is made; all 0 when none could. parts: opens the training
    images on which a copy is laid.
    """
    chosen = trial.chosen(images, draw=1)
    places = np.random.default_rng(trial.seed + 2)
    square = centre_square if crop == "center" else lambda image: square_at(image, places.random())
    kinds = {DAMAGE: _mild, **GEOMETRY, SQUARED: square}
    counts, judge = {kind: _Count() for kind in kinds}, Judge(trial, limit, parts)
    for start in range(0, len(chosen), OPENED):
        rows = trial.copies.rows.many(chosen[start : start + OPENED].tolist())
        opened = [(row, try_open(row.file(trial.copies.folder), row.pixels, row.decoded)) for row in rows]
        there = [(row, image) for row, image in opened if image is not None]
        for kind, change in kinds.items():
            if kind != DAMAGE and start >= EACH:
                continue
            made = [(row, image, change(_small(image if kind == SQUARED else row.seen(image)))) for row, image in there]
            due = [_Made(row, image, copy) for row, image, copy in made if copy]
            _look_up(trial, due if kind == DAMAGE else due[: EACH - counts[kind].images], judge, counts[kind])
    first, similar, copies = counts[DAMAGE].shares()
    mild = Planted(images=counts[DAMAGE].images, recall_at_1=first, similar=similar, copies=copies, damage=DAMAGE)
    return mild, {kind: _found(counts[kind]) for kind in GEOMETRY}


def _mild(image: Image.Image) -> Image.Image | None:
    return damaged(image) if max(image.size) <= JPEG_SIDE else None


def _small(image: Image.Image) -> Image.Image:
    """What copies are made of: at most LARGEST pixels long, but what does not fit into a JPEG stays, to be left out."""
    longer = max(image.size)
    if not LARGEST < longer <= JPEG_SIDE:
        return image
    return image.resize([max(1, side * LARGEST // longer) for side in image.size], Image.Resampling.LANCZOS)


def _found(count: _Count) -> Found:
    _, similar, copies = count.shares()
    return Found(images=count.images, similar=similar, copies=copies)


def _look_up(trial: Trial, made: Sequence[_Made], judge: "Judge", count: _Count) -> None:
    """Add what is found of copies to the count of their kind."""
    count.images += len(made)
    if not made:
        return
    vectors = as_queries([one.copy for one in made], trial.embedder)
    seen = np.flatnonzero(sound(vectors)).tolist()
    asked = looked_up(trial, [made[k].copy for k in seen], vectors[seen]) if seen else []
    for k, (views, found) in zip(seen, asked, strict=True):
        own = judge.found(made[k], trial.pictures(views, found))
        count.found = [a + b for a, b in zip(count.found, own, strict=True)]


@dataclass(frozen=True, slots=True)
class Judge:
    """Says of changed copies what a look-up says (`candidates.compared`), of the rows of their own pictures alone."""

    trial: Trial
    limit: Limits
    parts: Parts

    def found(self, made: _Made, near: Sequence[Candidate]) -> tuple[bool, bool, bool]:
        """Found at rank 1, similar, called a copy: rows of the same file count, and the nearest where it is equal."""
        own = [one.picture == made.row.sha256 for one in near]
        if near and not own[0]:
            own[0] = self.trial.copies.same(made.row.seen(made.whole), made.row.sha256, near[0].index)
        similar = [self.limit.similarity is not None and one.similarity > self.limit.similarity for one in near]
        right = [k for k, mine in enumerate(own) if mine]
        return bool(near) and own[0], any(similar[k] for k in right), self._called(made, near, similar, right)

    def _called(self, made: _Made, near: Sequence[Candidate], similar: Sequence[bool], right: Sequence[int]) -> bool:
        """Whether a look-up calls a changed copy a copy of one of the right rows."""
        opened = {k: image for k in right if (image := self._opened(made, near[k])) and not plain(image)}
        rule, square = self.trial.copies.rule, centre_square(made.copy)
        if not opened or plain(made.copy):
            return False
        if any(similar[k] and agree(made.copy, image, rule) for k, image in opened.items()):
            return True
        asking = Asking(made.copy)
        small = [self.parts.small(one.index, asking.sizes) for one in near]
        laid = lay(asking, small, [now or k == 0 for k, now in enumerate(similar)], [one.picture for one in near])
        least = limit_of(self.limit.agreement, asking.sizes.small)
        speak = {
            k: similar[k] or entire(own, rule) or (own is not None and own.agreed > least) for k, own in enumerate(laid)
        }
        views = [made.copy, square] if square else [made.copy]
        beside = [Beside(views, image, laid[k]) for k, image in opened.items() if speak[k]]
        return any(own.whole for own in compare(beside, rule))

    def _opened(self, made: _Made, one: Candidate) -> Image.Image | None:
        same = (one.picture, one.row.decoded) == (made.row.sha256, made.row.decoded)
        return one.row.seen(made.whole) if same else self.trial.copies.image(one.index)
