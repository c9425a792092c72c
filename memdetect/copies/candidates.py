"""The training images near an image are opened, the image is laid on them, and what agrees is measured."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from memdetect.copies.agreement import Laid, lay
from memdetect.copies.align import COARSE, Asking, Prepared, Sizes
from memdetect.copies.compared import Beside, Compared, compare, entire, plain
from memdetect.copies.index import Index, Row
from memdetect.copies.match import CHANGED, GONE, NO_PICTURE, ONE_COLOUR, Affine, Box, Match
from memdetect.copies.pixels import CopyRule
from memdetect.errors import MemdetectError
from memdetect.files import open_regular
from memdetect.inputs.images import MAX_PIXELS, open_image

LARGEST = 1024  # pixels of the longer side of a training image that is compared
KEPT = {COARSE: 4096}  # small versions of training images that are kept, by their sizes
KEPT_OTHERS = 2048

Views = Sequence[Image.Image]


@dataclass(slots=True)
class Opener:
    """Opens the training images of an index that are the files that were indexed; keeps small versions of the last."""

    index: Index

    def image(self, match: Match) -> Image.Image | str:
        """What training saw of a picture, at most LARGEST pixels long; or why it cannot be had."""
        path, row = Path(match.path), self.index.row(match.row)
        if not row.pictured:
            return NO_PICTURE
        try:
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != row.sha256:
                return CHANGED
            image = row.seen(open_image(path, max_pixels=max(MAX_PIXELS, row.pixels), way=row.decoded).image)
        except (MemdetectError, OSError):
            return GONE
        if max(image.size) > LARGEST:
            image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS, reducing_gap=None)
        return image

    def small(self, match: Match, sizes: Sizes) -> Prepared | str:
        """The same, made small to be aligned."""
        kept = self.index.small.setdefault(sizes, OrderedDict())
        if match.row in kept:
            kept.move_to_end(match.row)
            return kept[match.row]
        opened = self.image(match)
        if isinstance(opened, str):
            return opened
        kept[match.row] = Prepared.of(opened, sizes)
        if len(kept) > KEPT.get(sizes, KEPT_OTHERS):
            kept.popitem(last=False)
        return kept[match.row]


def compared(
    views: Views, near: Sequence[Match], opener: Opener, rule: CopyRule | None = None, shown: int = 1
) -> list[Match]:
    """The candidates of one image, nearest first, with what its pixels say of each.

    views: of the image; the first that has more than one colour is aligned. Every candidate is laid under it, and
    measured are those that agree in part, the similar ones, and the nearest: as many as are `shown`, which decides
    nothing. What cannot be a copy is measured as it is, in one view.
    """
    rule = rule or opener.index.rule
    view = next((each for each in views if not plain(each)), None)
    if view is None:
        return [match.model_copy(update={"similar": False, "note": ONE_COLOUR}) for match in near]
    asking, index = Asking(view), opener.index
    small = [opener.small(match, asking.sizes) for match in near]
    always = [match.similar or match.rank == 1 for match in near]
    pictures = [row.sha256 for row in index.rows.many([match.row for match in near])]
    laid = lay(asking, [None if isinstance(one, str) else one for one in small], always, pictures)
    parts = [part is not None and index.repeats(part.agreed, asking.sizes.small) for part in laid]
    speak = [match.similar or part or entire(own, rule) for match, part, own in zip(near, parts, laid, strict=True)]
    due = [now or match.rank <= shown for now, match in zip(speak, near, strict=True)]
    opened = [opener.image(match) if now else one for match, one, now in zip(near, small, due, strict=True)]
    there = [image if isinstance(image, Image.Image) and not plain(image) else None for image in opened]
    pairs = zip(there, laid, speak, strict=True)
    beside = [
        Beside([view, *views], image, part) if now else Beside([view], image) for image, part, now in pairs if image
    ]
    measures = iter(compare(beside, rule))
    done: list[Match] = []
    for k, match in enumerate(near):
        if there[k] is not None:
            match = _judged(match, next(measures), parts[k], speak[k])
        elif isinstance(image := opened[k], Image.Image | str):
            note = image if isinstance(image, str) else ONE_COLOUR
            match = match.model_copy(update={"note": note, "similar": match.similar and note != ONE_COLOUR})
        done.append(_aligned(match, laid[k], index))
    return done


def _judged(match: Match, own: Compared, part: bool, speaks: bool) -> Match:
    copy = own.whole and speaks
    found = {"tile": own.tile, "ssim": own.ssim, "copy_found": copy, "partial_found": part and not copy}
    return match.model_copy(update=found)


def _aligned(match: Match, laid: Laid | None, index: Index) -> Match:
    if laid is None or match.note:
        return match
    told = {"agreed": laid.agreed, "p_agreed": index.p_agreed(laid.agreed)}
    affine, region = of_picture(laid, index.row(match.row))
    return match.model_copy(update={**told, "affine": affine, "region": region})


def of_picture(laid: Laid, row: Row) -> tuple[Affine, Box | None]:
    """Map and region of a row that is a crop, in shares of the whole picture."""
    if row.crop is None:
        return laid.affine, laid.region
    left, top, right, bottom = row.crop
    across, down = (right - left) / row.width, (bottom - top) / row.height
    x, y = left / row.width, top / row.height
    a, b, c, d, e, f = laid.affine
    a, b, d, e = a / across, b / down, d / across, e / down
    region = laid.region and (
        x + laid.region[0] * across,
        y + laid.region[1] * down,
        x + laid.region[2] * across,
        y + laid.region[3] * down,
    )
    return (a, b, c - a * x - b * y, d, e, f - d * x - e * y), region
