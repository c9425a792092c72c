"""The time-conditioned network and its sampler, against denoisers whose samples are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from memdetect.errors import MemdetectError
from memdetect.lab.theory.network import Recipe
from memdetect.lab.theory.probes import nearest_cosine
from memdetect.lab.theory.timed import LEVELS, TimedDae, noise_levels, sample, train_timed

SAMPLES = np.array([[0.9, -0.8, 0.7, 0.0], [-0.9, 0.1, 0.2, 0.8]])
RECIPE = Recipe(16, decay=0.001, rate=1e-2, steps=800, copies=32)


def test_the_levels_are_geometric_and_end_at_zero():
    levels = noise_levels(60)
    assert (levels[0], levels[59], levels[60], len(levels)) == (pytest.approx(2.0), pytest.approx(0.02), 0.0, 61)
    ratios = np.divide(levels[1:60], levels[:59])
    np.testing.assert_allclose(ratios, ratios[0])


def test_untrained_it_is_the_network_without_time():
    network = TimedDae(4, 6, seed=0)
    noisy = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    for sigma in LEVELS:
        expected = torch.relu(noisy @ network.first) @ network.first.T
        torch.testing.assert_close(network(noisy, torch.full((5,), sigma)), expected)
    with torch.no_grad():
        network.skip += 2.0
        network.level += np.log(3.0)
    torch.testing.assert_close(network(noisy, torch.ones(5)), 2 * noisy + 3 * expected)


def test_one_known_image_is_always_drawn():
    target = torch.tensor([0.5, -0.25, 0.75])
    start = 2 * torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    path = sample(lambda x, _: target.expand_as(x), start, noise_levels(), keep=(0, 30))
    assert path.states.shape == (3, 16, 3)
    assert path.sigmas == (pytest.approx(2.0), pytest.approx(noise_levels()[30]), 0.0)
    torch.testing.assert_close(path.states[0], start)
    torch.testing.assert_close(path.states[-1], target.expand(16, 3))


def test_a_gaussian_is_drawn_from_its_own_denoiser():
    """E[x | y] of N(0, 0.7^2): the samples have its spread, up to the steps' discretisation."""
    variance = 0.49
    start = 2 * torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    start = start * (4 + variance) ** 0.5 / 2
    path = sample(lambda x, s: x * variance / (variance + s[:, None] ** 2), start, noise_levels(400), clamp=None)
    assert path.states[-1].std().item() == pytest.approx(0.7, rel=0.03)
    assert path.states[-1].mean().item() == pytest.approx(0, abs=0.02)


def test_states_are_cut_where_asked_and_draws_depend_on_the_seed():
    start = 2 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    ends = [
        sample(lambda x, _: 3 * x, start, noise_levels(20), seed=seed, clamp=clamp).states[-1]
        for seed, clamp in ((0, 1.0), (0, 1.0), (1, None))
    ]
    assert ends[0].abs().max() <= 1
    assert ends[2].abs().max() > 1
    torch.testing.assert_close(ends[0], ends[1])
    calm = [sample(lambda x, _: 0 * x, start, noise_levels(20)[:-1], seed=seed).states[-1] for seed in (0, 1)]
    assert (calm[0] - calm[1]).abs().max() > 1e-3


def test_a_network_of_two_samples_draws_them_again():
    network = train_timed(SAMPLES, RECIPE, seed=0)
    start = 2 * torch.randn(32, 4, generator=torch.Generator().manual_seed(5))
    ends = sample(network, start, noise_levels()).states[-1]
    assert nearest_cosine(ends, torch.from_numpy(SAMPLES).float()).mean() > 0.95
    untrained = sample(TimedDae(4, 16, 0), start, noise_levels()).states[-1].detach()
    assert nearest_cosine(untrained, torch.from_numpy(SAMPLES).float()).mean() < 0.9


def test_a_seed_fixes_it_and_bad_recipes_are_refused():
    short = replace(RECIPE, steps=5)
    first, second = (train_timed(SAMPLES, short, seed=1) for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(MemdetectError, match="units is 0"):
        train_timed(SAMPLES, replace(RECIPE, units=0))
    with pytest.raises(MemdetectError, match="lower the rate"):
        train_timed(SAMPLES, replace(RECIPE, optimizer="sgd", rate=1e6))
