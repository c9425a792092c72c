"""How a training image lies in an image: worked out by hand, and held against the map itself."""

from math import cos, radians, sin

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memdetect.copies.alignment_words import Point, aligned_words, alignment, box_words, inverse, moved
from memdetect.copies.match import Affine

SAME: Affine = (1, 0, 0, 0, 1, 0)
MIRRORED: Affine = (-1, 0, 1, 0, 1, 0)
shares = st.floats(0, 1)
sizes = st.floats(0.2, 5)
moves = st.floats(-2, 2)


def turned(degrees: float, scale: float = 1.0, mirrored: bool = False) -> Affine:
    """Mirrored left to right about the centre, turned clockwise about it (y points down), and scaled."""
    c, s = scale * cos(radians(degrees)), scale * sin(radians(degrees))
    a, d = (-c, -s) if mirrored else (c, s)
    return a, -s, 0.5 - (a - s) / 2, d, c, 0.5 - (d + c) / 2


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (None, ""),
        (SAME, ""),
        ((1.005, 0, 0.004, 0, 0.995, 0.004), ""),
        (MIRRORED, "mirrored"),
        (turned(90), "turned 90 degrees clockwise"),
        (turned(-30, 0.5), "turned 30 degrees counterclockwise, reduced to 50%"),
        (turned(180, mirrored=True), "mirrored, turned 180 degrees clockwise"),  # upside down
        ((1, 0, 0, 0, -1, 1), "mirrored, turned 180 degrees clockwise"),
        # The left fifth was cut off, and the rest brought to the same size.
        ((1.25, 0, -0.25, 0, 1, 0), "enlarged to 112%, cut to 20-100% of its width"),
        ((2, 0, -0.5, 0, 2, 0), "enlarged to 200%, cut to 25-75% of its width and 0-50% of its height"),
        ((0.5, 0, 0.75, 0, 0.5, 0), "reduced to 50%, cut to 0-50% of its width"),
        ((0, 0, 0, 0, 1, 0), ""),  # flat
        ((1, 0, 2, 0, 1, 0), ""),  # beside the image
    ],
)
def test_an_alignment_in_words(affine: Affine | None, words: str) -> None:
    assert aligned_words(affine) == words


@given(st.floats(-179, 180), sizes, st.booleans())
def test_a_turn_a_scale_and_a_mirror_are_told_apart(degrees: float, scale: float, mirrored: bool) -> None:
    found = alignment(turned(degrees, scale, mirrored))
    assert found is not None
    assert found.mirrored == mirrored
    assert found.scale == pytest.approx(scale)
    assert (found.turned - degrees + 180) % 360 == pytest.approx(180, abs=1e-6)


@given(sizes, sizes, moves, moves, st.booleans())
def test_what_is_cut_is_what_lies_in_both(x: float, y: float, right: float, down: float, mirrored: bool) -> None:
    """Without a turn both boxes are intervals of each side: those that the map takes onto each other."""
    a = -x if mirrored else x
    found = alignment((a, 0, right, 0, y, down))
    assert found is not None
    spans = [sorted(((0 - move) / side, (1 - move) / side)) for side, move in ((a, right), (y, down))]
    expected = [(max(0, low), min(1, high)) for low, high in spans]
    if any(low > high + 1e-9 for low, high in expected):
        assert found.part is None
        assert found.place is None
        return
    assume(all(low < high - 1e-9 for low, high in expected))
    assert found.part is not None
    assert found.place is not None
    assert found.part == pytest.approx((expected[0][0], expected[1][0], expected[0][1], expected[1][1]), abs=1e-6)
    ends = [
        sorted(side * end + move for end in span)
        for span, side, move in zip(expected, (a, y), (right, down), strict=True)
    ]
    assert found.place == pytest.approx((ends[0][0], ends[1][0], ends[0][1], ends[1][1]), abs=1e-6)


@given(st.tuples(moves, moves, moves, moves), st.tuples(shares, shares), st.tuples(shares, shares))
def test_a_place_seen_in_both_lies_in_both_boxes(turn: tuple[float, ...], here: Point, there: Point) -> None:
    a, b, d, e = turn
    assume(abs(a * e - b * d) > 0.05)
    here, there = ((0.01 + 0.98 * across, 0.01 + 0.98 * down) for across, down in (here, there))  # not on an edge
    (x, y), (right, down) = here, there
    found = alignment((a, b, right - a * x - b * y, d, e, down - d * x - e * y))
    assert found is not None
    for box, point in ((found.part, here), (found.place, there)):
        assert box is not None
        assert all(box[k] - 1e-6 <= point[k] <= box[k + 2] + 1e-6 for k in (0, 1))


@given(st.tuples(moves, moves, moves, moves, moves, moves), shares, shares)
def test_the_inverse_takes_places_back(affine: Affine, x: float, y: float) -> None:
    a, b, _, d, e, _ = affine
    assume(abs(a * e - b * d) > 1e-3)
    assert moved(inverse(affine), *moved(affine, x, y)) == pytest.approx((x, y), abs=1e-6)


def test_a_box_in_words() -> None:
    assert box_words((0.1, 0, 0.6, 0.25)) == "10-60% of the width and 0-25% of the height"
