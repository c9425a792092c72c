"""Spikiness against algebra (flat, spikes, two levels), against numpy, and its invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from memdetect.detectors.spikiness import SPIKINESS, SPIKINESS_L4, channel_std, l4_over_l2
from memdetect.probing.hooks import CHANNEL_MAX
from memdetect.probing.trace import Trace

examples = settings(max_examples=40)
heights = st.floats(1e-3, 1e3)
vectors = arrays(
    np.float32, array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=9), elements=st.floats(-8, 8, width=32)
)
shapely = vectors.filter(lambda v: bool((np.abs(v).max(axis=-1) > 1e-3).all()))


def spikes(channels: int, count: int, height: float, floor: float = 0.0) -> torch.Tensor:
    """`count` channels at `height`, all others at `floor`."""
    channel_max = torch.full((channels,), floor)
    channel_max[:count] = height
    return channel_max


def close(found: torch.Tensor, expected: float, scale: float = 1.0) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-6 * scale)


def test_values_worked_out_by_hand():
    channel_max = torch.tensor([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])  # mean 5, squared deviations sum to 32
    close(channel_std(channel_max), 2.0)
    close(l4_over_l2(torch.tensor([1.0, 2.0, 2.0, 4.0])), 289**0.25 / 25**0.5)


@examples
@given(st.integers(2, 64), heights)
def test_spread_of_equal_channels_is_zero(channels, height):
    close(channel_std(spikes(channels, channels, height)), 0.0, scale=height)


@examples
@given(st.integers(2, 64), heights)
def test_spread_of_a_single_spike(channels, height):
    close(channel_std(spikes(channels, 1, height)), height * (channels - 1) ** 0.5 / channels)


@examples
@given(st.integers(2, 64), st.data(), heights, heights)
def test_spread_of_two_levels(channels, data, height, floor):
    count = data.draw(st.integers(1, channels - 1))
    expected = abs(height - floor) * (count * (channels - count)) ** 0.5 / channels
    close(channel_std(spikes(channels, count, height, floor)), expected, scale=max(height, floor))


@examples
@given(st.integers(1, 64), st.data(), heights)
def test_norm_ratio_of_equal_spikes_depends_on_their_number_alone(channels, data, height):
    count = data.draw(st.integers(1, channels))  # 1: a single spike, ratio 1; all: a flat vector, channels**-0.25
    close(l4_over_l2(spikes(channels, count, height)), count**-0.25)


@examples
@given(vectors)
def test_spread_is_numpys_population_standard_deviation(v):
    np.testing.assert_allclose(channel_std(torch.from_numpy(v)), v.astype(float).std(axis=-1), rtol=1e-5, atol=1e-5)


@examples
@given(shapely)
def test_norm_ratio_is_numpys(v):
    wide = v.astype(float)
    expected = (wide**4).sum(axis=-1) ** 0.25 / np.linalg.norm(wide, axis=-1)
    np.testing.assert_allclose(l4_over_l2(torch.from_numpy(v)), expected, rtol=1e-5)


@examples
@given(shapely)
def test_norm_ratio_stays_in_its_range(v):
    ratio = l4_over_l2(torch.from_numpy(v))
    assert (ratio >= v.shape[-1] ** -0.25 - 1e-6).all()
    assert (ratio <= 1 + 1e-6).all()


@pytest.mark.parametrize("statistic", [channel_std, l4_over_l2])
@examples
@given(v=shapely, randomness=st.randoms(use_true_random=False))
def test_the_order_of_channels_is_irrelevant(statistic, v, randomness):
    order = randomness.sample(range(v.shape[-1]), v.shape[-1])
    channel_max = torch.from_numpy(v)
    torch.testing.assert_close(statistic(channel_max[..., order]), statistic(channel_max), rtol=1e-5, atol=1e-5)


@examples
@given(shapely, st.floats(0.01, 100), st.floats(-50, 50))
def test_spread_follows_the_scale_and_ignores_a_common_offset(v, scale, offset):
    channel_max = torch.from_numpy(v)
    moved = channel_std(channel_max * scale + offset)
    torch.testing.assert_close(moved, channel_std(channel_max) * scale, rtol=1e-4, atol=1e-5 * (scale + abs(offset)))


@examples
@given(shapely, st.sampled_from([-1e30, -2.0, 1e-30, 1e-3, 7.0, 1e30]))
def test_norm_ratio_ignores_scale_and_sign_even_where_fourth_powers_leave_float32(v, scale):
    channel_max = torch.from_numpy(v)
    torch.testing.assert_close(l4_over_l2(channel_max * scale), l4_over_l2(channel_max), rtol=1e-4, atol=0)


def test_a_vector_of_zeros_has_no_shape():
    assert l4_over_l2(torch.zeros(2, 5)).isnan().all()
    assert torch.equal(channel_std(torch.zeros(2, 5)), torch.zeros(2))


@pytest.mark.parametrize(("score", "statistic"), [(SPIKINESS.score, channel_std), (SPIKINESS_L4.score, l4_over_l2)])
def test_a_score_weighs_layers_alike_however_many_channels_they_have(score, statistic):
    narrow, wide = torch.rand(2, 3, 2, 4), torch.rand(2, 3, 2, 32)
    trace = Trace(
        {(CHANNEL_MAX, "narrow"): narrow, (CHANNEL_MAX, "wide"): wide}, timesteps=(50.0, 90.0), sigmas=(0.1, 0.2)
    )
    expected = (statistic(narrow).mean(dim=0) + statistic(wide).mean(dim=0)) / 2
    torch.testing.assert_close(score(trace), expected)


@pytest.mark.parametrize("score", [SPIKINESS.score, SPIKINESS_L4.score])
def test_features_of_half_precision_are_scored_in_float32(score):
    half = torch.rand(1, 4, 2, 64).bfloat16()
    low, full = (
        Trace({(CHANNEL_MAX, "up"): array}, timesteps=(50.0,), sigmas=(0.1,)) for array in (half, half.float())
    )
    assert torch.equal(score(low), score(full))
