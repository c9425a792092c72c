"""How a training image lies in an image that repeats it, in numbers and in words. No torch, no numpy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, degrees, sqrt

from memdetect.copies.match import Affine, Box

Point = tuple[float, float]

FLAT = 1e-9  # share of the image below which a training image is a line or a point in it
TURN = 1.0  # degrees below which a turn is not spoken of
RESIZED = 0.02  # change of scale below which it is not
CUT = 0.02  # share of a side below which a cut is not
_FRAME: Sequence[Point] = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a training image lies in an image: mirrored left to right first, then turned, scaled and moved.

    turned: degrees clockwise, above -180 and up to 180. scale: side of the training image in the image over its own,
    the geometric mean of both, in shares of width and height: 1 = it is as large as the image. These two are exact
    where both images are square, or are neither turned by other than half a turn nor sheared. part: left, top, right,
    bottom of what the image holds of the training image, in shares of that; place: of where this lies in the image, in
    shares of the image; None where nothing of it lies there.
    """

    mirrored: bool
    turned: float
    scale: float
    part: Box | None
    place: Box | None


def alignment(affine: Affine) -> Alignment | None:
    """The alignment that places (x, y) of a training image at (a x + b y + c, d x + e y + f); None for a flat one."""
    a, b, _, d, e, _ = affine
    area = a * e - b * d
    if not abs(area) > FLAT:
        return None
    mirrored = area < 0
    if mirrored:  # the same without the mirror: of 1 - x in place of x
        a, d = -a, -d
    seen = _within([moved(inverse(affine), *corner) for corner in _FRAME])
    return Alignment(
        mirrored=mirrored,
        turned=_turned(degrees(atan2(d - b, a + e))),
        scale=sqrt(abs(area)),
        part=_box(seen),
        place=_box([moved(affine, *point) for point in seen]),
    )


def moved(affine: Affine, x: float, y: float) -> Point:
    """Where an affine map puts a place."""
    a, b, c, d, e, f = affine
    return a * x + b * y + c, d * x + e * y + f


def inverse(affine: Affine) -> Affine:
    """The map that takes places back; its area may not be 0."""
    a, b, c, d, e, f = affine
    area = a * e - b * d
    return e / area, -b / area, (b * f - e * c) / area, -d / area, a / area, (d * c - a * f) / area


def _turned(angle: float) -> float:
    return 180.0 if angle <= -180.0 else angle


def _box(points: Sequence[Point]) -> Box | None:
    """The box about places, within the frame; None about none."""
    if not points:
        return None
    left, right = (bound(x for x, _ in points) for bound in (min, max))
    top, bottom = (bound(y for _, y in points) for bound in (min, max))
    return _clip(left), _clip(top), _clip(right), _clip(bottom)


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))


def _within(polygon: Sequence[Point]) -> Sequence[Point]:
    """The corners of what a convex polygon and the frame share: cut at one edge after the other."""
    for axis, low in ((0, True), (0, False), (1, True), (1, False)):
        polygon = list(_cut(polygon, axis, low))
    return polygon


def _cut(polygon: Sequence[Point], axis: int, low: bool) -> Iterator[Point]:
    """The corners of the polygon on the inner side of the edge at 0 (low) or 1 of an axis."""
    edge = 0.0 if low else 1.0
    for one, other in pairwise([*polygon, *polygon[:1]]):
        here, there = ((p[axis] - edge) * (1 if low else -1) for p in (one, other))
        if here >= 0:
            yield one
        if here * there < 0:
            t = here / (here - there)
            yield one[0] + t * (other[0] - one[0]), one[1] + t * (other[1] - one[1])


def aligned_words(affine: Affine | None) -> str:
    """How a training image was aligned with an image, such as `mirrored, enlarged to 150%`; "" where as it is."""
    found = None if affine is None else alignment(affine)
    return "" if found is None else ", ".join(_words(found))


def _words(found: Alignment) -> Iterator[str]:
    if found.mirrored:
        yield "mirrored"
    if abs(found.turned) >= TURN:
        yield f"turned {abs(found.turned):.0f} degrees {'clockwise' if found.turned > 0 else 'counterclockwise'}"
    if abs(found.scale - 1) >= RESIZED:
        yield f"{'enlarged' if found.scale > 1 else 'reduced'} to {found.scale:.0%}"
    if found.part is not None and (sides := _sides(found.part)):
        yield f"cut to {sides}"


def _sides(box: Box) -> str:
    """The sides of a box that are not whole."""
    left, top, right, bottom = box
    sides = {"width": (left, right), "height": (top, bottom)}
    return " and ".join(f"{_span(*span)} of its {name}" for name, span in sides.items() if _short(*span))


def _short(low: float, high: float) -> bool:
    return low > CUT or high < 1 - CUT


def _span(low: float, high: float) -> str:
    return f"{100 * low:.0f}-{100 * high:.0f}%"


def box_words(box: Box) -> str:
    """A box in words: from the left and from the top, in percent."""
    left, top, right, bottom = box
    return f"{_span(left, right)} of the width and {_span(top, bottom)} of the height"
