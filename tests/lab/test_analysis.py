"""Weights against predictions that are known to be equal, moved or split; conditions that hold or do not."""

import re

import numpy as np
import pytest

from memdetect.errors import MemdetectError
from memdetect.lab.theory import analysis, forms

SIGMA = 0.2


def groups(seed: int = 0) -> list[np.ndarray]:
    """Two clusters on opposite sides, 40 and 20 samples in 6 dimensions."""
    rng = np.random.default_rng(seed)
    mean = np.array([5.0, 2.0, 0, 0, 0, 0])
    return [mean + 0.2 * rng.standard_normal((40, 6)), -mean + 0.2 * rng.standard_normal((20, 6))]


def test_predicted_weights_have_no_distance_to_themselves():
    clusters, decay = groups(), 1e-4
    weights = forms.blockwise(clusters, (3, 2), SIGMA, decay)
    shuffled = np.concatenate([weights, np.zeros((6, 2))], axis=1)[:, [4, 0, 6, 2, 1, 5, 3]]
    assert analysis.assign(shuffled, clusters).tolist() == [1, 0, -1, 0, 0, -1, 1]
    first, second = analysis.blocks(shuffled, shuffled, clusters, SIGMA, decay)
    assert (first.units, second.units) == (3, 2)
    for block in (first, second):
        assert block.filter == pytest.approx(0, abs=1e-12)
        assert (block.own, block.other, block.energy) == (1, 0, pytest.approx(1))
    moved = analysis.blocks(1.1 * shuffled, shuffled, clusters, SIGMA, decay)
    assert moved[0].filter == pytest.approx(0.1)


def test_a_cluster_without_units():
    clusters = groups()
    weights = forms.block(clusters[0], 1, SIGMA)
    weights = weights * np.sign(clusters[0].mean(axis=0) @ weights)
    blocks = analysis.blocks(weights, weights, clusters, SIGMA, 0.0)
    assert [b.units for b in blocks] == [1, 0]
    assert blocks[1].filter == pytest.approx(1)
    found = analysis.conditions(clusters, [b.units for b in blocks], 1, 0.0)
    assert found.problems == ("no unit is left for cluster 1; the theorem gives each at least one",)


def test_units_of_one_direction_are_one():
    samples = np.array([[3.0, 0, 4], [0, -5.0, 0]])
    weights = forms.memorizing(samples, SIGMA)
    split = np.stack([0.6 * weights[:, 0], weights[:, 1], 0.8 * weights[:, 0], 1e-4 * weights[:, 0]], axis=1)
    merged = analysis.merge(split)
    assert merged.shape == (3, 2)
    assert forms.gap(merged, weights).columns == pytest.approx(0, abs=1e-7)  # a root of rounding errors
    near = analysis.against_memorizing(split, split, samples, SIGMA, 0.0)
    assert near.merged == pytest.approx(0, abs=1e-7)
    assert near.filter < 1e-7
    # 0.8 of one unit is matched, 0.2 and 0.6 of it are left: sqrt(0.04 + 0.36) of a norm of sqrt(2).
    assert near.columns == pytest.approx((0.4 / 2) ** 0.5, abs=1e-3)
    assert near.units_a_sample == (2, 1)


def test_fewer_units_than_samples_are_a_distance_not_an_error():
    samples = np.array([[3.0, 0, 4], [0, -5.0, 0]])
    one = forms.memorizing(samples, SIGMA)[:, :1]
    near = analysis.against_memorizing(one, one, samples, SIGMA, 0.0)
    assert near.columns == pytest.approx(0.5**0.5, abs=1e-3)
    assert near.units_a_sample == (1, 0)
    with pytest.raises(MemdetectError, match="smallest squared norm"):
        analysis.against_memorizing(one, one, samples, SIGMA, 20.0)


def test_conditions_that_hold():
    found = analysis.conditions(groups(), (3, 2), 5, 1e-4)
    assert found.problems == ()
    assert found.beta < 0
    assert found.pull == pytest.approx(60e-4)
    values = [np.sort(np.linalg.svd(c, compute_uv=False) ** 2)[::-1] for c in groups()]
    assert found.floor == pytest.approx(min(values[0][2], values[1][1]))


@pytest.mark.parametrize(
    ("clusters", "units", "decay", "message"),
    [
        ([np.eye(3)[:1], np.eye(3)[1:2]], (1, 1), 0.0, "beta is 0.000, the theorem needs it below 0"),
        ([np.eye(3)[:1], -np.eye(3)[:1]], (1, 1), 1.0, "n .* lambda is 2, the smallest eigenvalue of a block 1;"),
    ],
)
def test_conditions_that_do_not(clusters, units, decay, message):
    (problem,) = analysis.conditions(clusters, units, 2, decay).problems
    assert re.search(message, problem)
    assert "\n" not in problem


def test_memorizing_needs_a_unit_for_each_sample():
    samples = [np.array([[2.0, 0]]), np.array([[-2.0, 0]])]
    (problem,) = analysis.conditions(samples, (1, 1), 1, 0.0, memorize=True).problems
    assert problem.startswith("1 units for 2 samples")
    assert analysis.conditions(samples, (1, 1), 1, 0.0).problems == ()


def test_directions_that_decay_leaves():
    cluster = np.diag([3.0, 2.0, 1.0])  # eigenvalues 9, 4, 1
    assert [analysis.directions(cluster, pull) for pull in (0, 1, 5, 100)] == [3, 2, 1, 1]
    assert analysis.directions(np.repeat(cluster[:1], 5, axis=0), 0) == 1
