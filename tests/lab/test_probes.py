"""Jacobians against automatic differentiation, the power method against eigenvectors, shapes against the detectors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from memdetect.lab.theory import forms, probes
from memdetect.lab.theory.network import ReluDae


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(2, 5))
def test_the_spectrum_is_that_of_the_jacobian(seed, units, dim):
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, dim, units))
    point = rng.standard_normal(dim)
    network = ReluDae(torch.from_numpy(first), torch.from_numpy(second))
    jacobian = torch.autograd.functional.jacobian(network, torch.from_numpy(point)).numpy()
    turned, values, _ = np.linalg.svd(jacobian)
    found = probes.spectrum(first, second, point)
    size = min(dim, len(found.values))
    np.testing.assert_allclose(found.values[:size], values[:size], atol=1e-9)
    if values[0] > 1e-9 and (dim < 2 or values[0] > values[1] + 1e-6):
        assert found.top == pytest.approx(abs(turned[:, 0] @ point) / np.linalg.norm(point), abs=1e-6)
        unit = point / np.linalg.norm(point)
        expected = np.square(jacobian @ unit).sum() / np.square(jacobian).sum()
        assert found.along == pytest.approx(expected, abs=1e-9)


def test_the_rank_of_known_spectra():
    eye = np.eye(4)
    found = probes.spectrum(eye[:, :3], eye[:, :3], np.array([1.0, 1.0, 1.0, -1.0]))
    assert found.rank == pytest.approx(3)
    assert found.along == pytest.approx(3 / 4 / 3)  # three quarters of the point pass, of a squared norm of 3
    spike = probes.spectrum(eye[:, :1], eye[:, :1], np.array([2.0, 0, 0, 0]))
    assert (spike.rank, spike.top, spike.along) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    assert probes.spectrum(eye, eye, -np.ones(4)).rank == 0


def test_a_memorized_sample_has_one_direction_its_own():
    samples = np.array([[3.0, 0, 0, 4], [-2.0, 3, 0, 0], [0, -3.0, 2, -1]])
    weights = forms.memorizing(samples, 0.2)
    for sample in samples:
        seen = probes.spectrum(weights, weights, sample)
        square = np.square(sample).sum()
        assert seen.values[0] == pytest.approx(square / (square + 0.04))
        assert (seen.rank, seen.top, seen.along) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))


def test_repeated_denoising_finds_the_sample_and_keeps_the_norm():
    samples = np.array([[3.0, 0, 0, 1], [-2.0, 3, 0, 0], [0, -3.0, 2, -1]])
    weights = torch.from_numpy(forms.memorizing(samples, 0.2))
    starts = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = probes.iterate(ReluDae(weights), starts, torch.from_numpy(samples), steps=60)
    assert moved.cosines.shape == (61, 20)
    alive = moved.last.norm(dim=1) > 0
    assert alive.float().mean() > 0.7
    assert moved.cosines[-1][alive].min() > 0.999
    assert moved.cosines[0].mean() < 0.9
    torch.testing.assert_close(moved.last[alive].norm(dim=1), starts[alive].norm(dim=1))


def test_nearest_cosine_by_hand():
    points = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    found = probes.nearest_cosine(points, torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    assert found.tolist() == [pytest.approx(2**-0.5), 0]


def test_shapes_are_those_of_the_detectors():
    found = probes.shapes(torch.tensor([[4.0, 0, 0, 0], [1.0, 1, 1, 1]]))
    assert found["spikiness"].tolist() == [pytest.approx(3**0.5), 0]
    assert found["spikiness-l4"].tolist() == [1, pytest.approx(4**-0.25)]
    assert found["concentration"].tolist() == [1, 0.25]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_the_area_is_that_of_a_second_library(high, low):
    labels = [1] * len(high) + [0] * len(low)
    assert probes.auroc(high, low) == pytest.approx(roc_auc_score(labels, high + low))
    assert np.isnan(probes.auroc([], low))
