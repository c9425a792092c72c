"""Directions worked out by hand, and features of references by a linear module of which everything is known."""

import pytest
import torch
from torch import nn

from memdetect.adapters import Point
from memdetect.errors import MemdetectError
from memdetect.probing import watch
from memdetect.probing.hooks import MEAN
from memdetect.steering.directions import direction

POSITIVE = torch.tensor([[3.0, 4.0], [5.0, 0.0]])  # mean (4, 2), lengths 5 and 5
NEGATIVE = torch.tensor([[0.0, 1.0], [0.0, 3.0]])  # mean (0, 2), lengths 1 and 3


@pytest.mark.parametrize(
    ("method", "expected"), [("mean", [4.0, 2.0]), ("difference", [4.0, 0.0]), ("orthogonal", [4.0, 0.0])]
)
def test_by_hand(method, expected):
    torch.testing.assert_close(direction(POSITIVE, NEGATIVE, method), torch.tensor(expected))


def test_orthogonal_leaves_nothing_along_the_negative_mean():
    negative = torch.tensor([[1.0, 1.0]])
    found = direction(POSITIVE, negative, "orthogonal")
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0]))  # (4, 2) less 3 (1, 1)
    # Of the difference, (3, 1) less 2 (1, 1), the same is left.
    torch.testing.assert_close(direction(POSITIVE - 1, negative, "orthogonal"), torch.tensor([1.0, -1.0]))


def test_normalised_has_the_mean_length_of_all_references():
    torch.testing.assert_close(
        direction(POSITIVE, NEGATIVE, "difference", normalised=True), torch.tensor([3.5, 0.0])
    )  # (5 + 5 + 1 + 3) / 4
    torch.testing.assert_close(direction(POSITIVE, None, "mean", normalised=True).norm(), torch.tensor(5.0))


def test_what_leaves_no_direction_is_refused():
    with pytest.raises(MemdetectError, match="leave no direction"):
        direction(POSITIVE, POSITIVE, "difference")
    with pytest.raises(MemdetectError, match="leave no direction"):
        direction(POSITIVE, 2 * POSITIVE, "orthogonal")
    for method in ("difference", "orthogonal"):
        with pytest.raises(MemdetectError, match="needs negative references"):
            direction(POSITIVE, None, method)


def test_pooled_features_of_a_linear_module():
    """h = W x at every position: the mean over positions and references is W times the mean input."""
    weights = torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]])
    layer = nn.Conv2d(2, 3, 1, bias=False)
    layer.weight.data = weights[:, :, None, None]
    network = nn.Sequential(layer)
    inputs = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]], [[[2.0, 2.0]], [[4.0, 0.0]]]])  # means (2, 1) and (2, 2)
    with watch(network, [Point("h", "0", "output", "")], (MEAN,), stop=False) as seen:
        network(inputs)
    pooled = seen.arrays[MEAN, "h"][0].detach()
    torch.testing.assert_close(pooled, torch.tensor([[4.0, -1.0, 6.0], [6.0, -2.0, 6.0]]))
    torch.testing.assert_close(direction(pooled, None, "mean"), torch.tensor([5.0, -1.5, 6.0]))
    torch.testing.assert_close(direction(pooled[:1], pooled[1:], "difference"), torch.tensor([-2.0, 1.0, 0.0]))
