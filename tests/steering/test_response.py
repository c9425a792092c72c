"""Shapes of responses worked out by hand."""

import pytest

from memdetect.steering.response import midpoint, sharpness, steadiness


def test_a_straight_line_has_no_threshold_whatever_the_spacing():
    assert sharpness([0, 1, 2, 4], [0, 0.25, 0.5, 1]) == pytest.approx(0)
    assert midpoint([0, 1, 2, 4], [0, 0.25, 0.5, 1]) == pytest.approx(2)
    assert steadiness([0, 1, 2, 4], [0, 0.25, 0.5, 1]) == 1


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_jump_is_as_sharp_wherever_it_is(at):
    values = [float(k >= at) for k in range(5)]
    assert sharpness(range(5), values) == pytest.approx(3 / 4)
    assert midpoint(range(5), values) == pytest.approx(at - 0.5)


def test_turning_back():
    assert steadiness([0, 1, 2], [0, 1, 0]) == 0
    assert steadiness([0, 1, 2], [0, 3, 2]) == pytest.approx(2 / 4)
    assert steadiness([0, 1, 2], [0, -1, -2]) == 1


@pytest.mark.parametrize("shape", [sharpness, steadiness, midpoint])
def test_what_does_not_change_has_no_shape(shape):
    assert shape([0, 1, 2], [0.3, 0.3, 0.3]) is None
