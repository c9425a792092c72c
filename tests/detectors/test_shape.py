"""The other statistics against algebra and scipy."""

import numpy as np
import pytest
import torch
from scipy import stats

from memdetect.detectors.shape import MEAN_STD, concentration, gini, kurtosis, max_to_mean, top_energy
from memdetect.detectors.spikiness import channel_std, l4_over_l2
from memdetect.probing.hooks import CHANNEL_MAX, MEAN
from memdetect.probing.trace import Trace


def vectors(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gamma(0.5, 3.0, (5, 40)).astype(np.float32))


def test_kurtosis_is_scipys():
    for seed in range(5):
        v = vectors(seed)
        np.testing.assert_allclose(kurtosis(v), stats.kurtosis(v.numpy(), axis=-1, fisher=False), rtol=1e-4)


def test_kurtosis_of_two_levels_by_hand():
    # k of n at 1, the others 0, p = k / n: (1 - 3p(1 - p)) / (p(1 - p)); p = 1/4 gives 7/3.
    v = torch.tensor([1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(kurtosis(v), torch.tensor(7 / 3))
    torch.testing.assert_close(kurtosis(5 * v - 9), torch.tensor(7 / 3))


@pytest.mark.parametrize("count", [1, 3, 16])
def test_concentration_is_one_over_the_channels_that_take_part(count):
    v = torch.zeros(16)
    v[:count] = 7.0
    torch.testing.assert_close(concentration(v), torch.tensor(1 / count))


def test_concentration_is_the_fourth_power_of_the_norm_ratio():
    for seed in range(3):
        torch.testing.assert_close(concentration(vectors(seed)), l4_over_l2(vectors(seed)) ** 4)


def test_top_energy_is_that_of_the_sorted_squares():
    for seed in range(3):
        v = vectors(seed).numpy().astype(float)
        squares = np.sort(v**2, axis=-1)
        np.testing.assert_allclose(top_energy(vectors(seed)), squares[:, -2:].sum(-1) / squares.sum(-1), rtol=1e-5)


def test_top_energy_counts_at_least_one_channel():
    torch.testing.assert_close(top_energy(torch.tensor([3.0, 4.0])), torch.tensor(16 / 25))


@pytest.mark.parametrize("statistic", [kurtosis, concentration, top_energy, gini, max_to_mean])
def test_scale_is_irrelevant_even_where_fourth_powers_leave_float32(statistic):
    v = vectors(0)
    torch.testing.assert_close(statistic(v * 1e20), statistic(v), rtol=1e-4, atol=0)


def test_mean_spread_reads_means_not_maxima():
    means, maxima = torch.rand(1, 3, 2, 8), torch.rand(1, 3, 2, 8)
    trace = Trace({(MEAN, "a"): means, (CHANNEL_MAX, "a"): maxima}, timesteps=(50.0,), sigmas=(0.1,))
    torch.testing.assert_close(MEAN_STD.score(trace), channel_std(means).mean(dim=0))


def test_gini_is_the_mean_difference_of_all_pairs():
    for seed in range(3):
        v = vectors(seed).numpy().astype(float)
        pairs = np.abs(v[:, :, None] - v[:, None, :]).mean(axis=(1, 2))
        np.testing.assert_allclose(gini(vectors(seed)), pairs / (2 * v.mean(axis=-1)), rtol=1e-4)


def test_gini_and_crest_of_flat_and_single():
    flat, one = torch.full((8,), 3.0), torch.eye(8)[2] * 5
    torch.testing.assert_close(gini(torch.stack([flat, one])), torch.tensor([0.0, 7 / 8]))
    torch.testing.assert_close(max_to_mean(torch.stack([flat, one])), torch.tensor([1.0, 8.0]))
