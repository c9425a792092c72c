"""A candidate's pixels beside an image's: as the two are, and as they were aligned; and whether that is a copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageStat

from memdetect.copies.agreement import Laid
from memdetect.copies.measures import Measured, Pair, comparable, measure_all
from memdetect.copies.overlap import Overlap, overlap
from memdetect.copies.pixels import CopyRule

PLAIN = 2.0  # of 255: deviation of each channel up to which an image may have one colour


@dataclass(frozen=True, slots=True)
class Beside:
    """An image, in each view that is compared as it is, and a candidate; `laid` if they were aligned."""

    views: Sequence[Image.Image]
    other: Image.Image
    laid: Laid | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """The measures of the view that tells most, and whether the pixels are those of a copy."""

    tile: float
    ssim: float
    whole: bool


def compare(pairs: Sequence[Beside], rule: CopyRule | None = None) -> list[Compared]:
    """Measure every view of every pair; of the views of a pair that counts that agrees, else the nearest one."""
    rule = rule or CopyRule()
    seen = [_shown(pair) for pair in pairs]
    measures = iter(measure_all([look for shown, _ in seen for look in shown], rule))
    return [
        _best(pair, [next(measures) for _ in shown], over, rule)
        for pair, (shown, over) in zip(pairs, seen, strict=True)
    ]


def _shown(pair: Beside) -> tuple[list[Pair], Overlap | None]:
    over = overlap(pair.views[0], pair.other, pair.laid.affine) if pair.laid and pair.views else None
    aligned = [(over.image, over.other)] if over else []
    return [*(comparable(view, pair.other) for view in pair.views), *aligned], over


def _best(pair: Beside, found: list[Measured], over: Overlap | None, rule: CopyRule) -> Compared:
    covers = over is not None and covering(over, rule)
    if over is not None and not covers:
        tile, ssim, _ = found.pop()
        found.append((tile, ssim, False))
    tile, ssim, agree = min(found, key=lambda each: (not each[2], each[0]))
    return Compared(tile, ssim, agree or (covers and repeated(pair.laid, rule)))


def covering(over: Overlap, rule: CopyRule) -> bool:
    """Whether enough of both images lies on each other to call one a copy."""
    larger, smaller = max(over.of_image, over.of_other), min(over.of_image, over.of_other)
    return larger >= rule.larger and smaller >= rule.smaller


def repeated(laid: Laid | None, rule: CopyRule) -> bool:
    """Whether nearly all that has contrast agrees in structure, whatever the colours."""
    return laid is not None and laid.telling >= rule.telling and laid.structure >= rule.repeats * laid.telling


def entire(laid: Laid | None, rule: CopyRule) -> bool:
    """Whether nearly all of a training image that has contrast agrees, in structure and colour."""
    return laid is not None and laid.telling >= rule.least and laid.agreed >= rule.repeats * laid.telling


def plain(image: Image.Image) -> bool:
    """Whether an image has one colour, but for noise: neither fine detail nor anything small on it."""
    rgb = image.convert("RGB")
    if max(ImageStat.Stat(rgb).stddev) > PLAIN:
        return False
    parts: Any = rgb.resize((32, 32), Image.Resampling.BOX).getextrema()
    return max(high - low for low, high in parts) <= 2 * PLAIN
