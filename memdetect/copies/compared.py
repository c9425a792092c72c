"""A candidate's pixels beside an image's: as the two are, and as they were aligned; and whether that is a copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from PIL import Image, ImageStat

from memdetect.copies.agreement import Laid
from memdetect.copies.measures import Measured, comparable, measure_all
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
    """Measure every pair as it was aligned, and where that does not agree as it is, in every view.

    Of these the one that agrees counts, else the nearest.
    """
    rule = rule or CopyRule()
    overs = [
        overlap(pair.views[0], pair.other, pair.laid.affine) if pair.laid and pair.views else None for pair in pairs
    ]
    aligned = iter(measure_all([(over.image, over.other) for over in overs if over], rule))
    found = [[_aligned(next(aligned), over, rule)] if over else [] for over in overs]
    left = [k for k, own in enumerate(found) if not any(agree for _, _, agree in own)]
    due = [(k, comparable(view, pairs[k].other)) for k in left for view in pairs[k].views]
    for (k, _), measured in zip(due, measure_all([look for _, look in due], rule), strict=True):
        found[k].append(measured)
    return [_best(pair.laid, own, over, rule) for pair, own, over in zip(pairs, found, overs, strict=True)]


def room(pair: Beside, rule: CopyRule) -> float:
    """The smallest share of the rule's room (`CopyRule.strict`) in which the pixels of a pair are those of a copy.

    0 = equal pixels; above 1 the rule itself does not call them a copy; inf = no rule would.
    """
    over = overlap(pair.views[0], pair.other, pair.laid.affine) if pair.laid else None
    over = over if over and covering(over, rule) else None
    both = [(over.image, over.other)] if over else []
    both += [comparable(view, pair.other) for view in pair.views]
    taken = [max(tile / rule.tile, (1 - ssim) / (1 - rule.ssim)) for tile, ssim, _ in measure_all(both, rule)]
    if over and pair.laid and pair.laid.telling >= rule.telling:
        taken.append((1 - pair.laid.structure / pair.laid.telling) / (1 - rule.repeats))
    return min(taken, default=inf)


def _aligned(measured: Measured, over: Overlap, rule: CopyRule) -> Measured:
    tile, ssim, agree = measured
    return tile, ssim, agree and covering(over, rule)


def _best(laid: Laid | None, found: Sequence[Measured], over: Overlap | None, rule: CopyRule) -> Compared:
    tile, ssim, agree = min(found, key=lambda each: (not each[2], each[0]))
    return Compared(tile, ssim, agree or (over is not None and covering(over, rule) and repeated(laid, rule)))


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
