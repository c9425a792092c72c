"""What the closed forms of the ReLU autoencoder say a detector must see, it sees.

The hidden layer of Corollary 3.2 (memorizing), 3.3 (generalizing) and 3.4 (both in one network) is the capture; it has
one position, so that maximum and mean over positions are the same.
"""

import numpy as np
import pytest
import torch

from memdetect.detectors import BUILT_IN, find
from memdetect.lab.theory import forms
from memdetect.probing.hooks import CAPTURES, CHANNEL_MAX, MEAN
from memdetect.probing.trace import Trace

DIM, UNITS, BLOCK, SIGMA = 24, 32, 16, 0.2
SCALE_FREE = ("spikiness-l4", "kurtosis", "concentration", "top-energy", "gini", "max-to-mean")
ALL = ("spikiness", "spikiness-mean", *SCALE_FREE)


def wide(weights: np.ndarray) -> np.ndarray:
    """Padded to the common width by units that are zero, as the corollaries have them."""
    return np.pad(weights, ((0, 0), (0, UNITS - weights.shape[1])))


def simplex(count: int, norm: float) -> np.ndarray:
    """Points whose pairwise cosine is -1 / (count - 1)."""
    corners = np.zeros((count, DIM))
    corners[:, :count] = np.eye(count) - 1 / count
    return norm * corners / np.linalg.norm(corners[0])


def cluster(mean: np.ndarray, seed: int) -> np.ndarray:
    """Samples around the mean that fill all dimensions, with directions of falling strength."""
    noise = np.random.default_rng(seed).standard_normal((400, DIM))
    return mean + noise * np.linspace(0.6, 0.05, DIM)


def hidden(weights: np.ndarray, samples: np.ndarray, draws: int = 8) -> np.ndarray:
    """[W^T (x + sigma e)]_+ for several draws of each sample."""
    clean = np.repeat(samples, draws, axis=0)
    noisy = clean + SIGMA * np.random.default_rng(9).standard_normal(clean.shape)
    return np.maximum(noisy @ weights, 0)


def scores(name: str, values: np.ndarray) -> np.ndarray:
    array = torch.tensor(values, dtype=torch.float32)[None, :, None]
    trace = Trace({(CHANNEL_MAX, "h"): array, (MEAN, "h"): array}, (0.0,), (SIGMA,))
    return find([name])[0].score(trace)[:, 0].numpy()


def memorizing(norm: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    samples = simplex(6, norm)
    return samples, wide(forms.memorizing(samples, SIGMA, 0.01))


def generalizing(norm: float = 6.0) -> tuple[list[np.ndarray], np.ndarray]:
    means = simplex(2, norm)
    groups = [norm / 6 * cluster(6 / norm * mean, k) for k, mean in enumerate(means)]
    return groups, wide(forms.blockwise(groups, (BLOCK, BLOCK), SIGMA, 1e-5))


def hybrid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two duplicated samples, one well sampled cluster, their weights."""
    means = simplex(3, 6.0)
    sampled = cluster(means[2], 3)
    groups = [np.repeat(mean[None], 50, axis=0) for mean in means[:2]] + [sampled]
    return means[:2], sampled, wide(forms.blockwise(groups, (1, 1, BLOCK), SIGMA, 1e-5))


def ordered(name: str, high: np.ndarray, low: np.ndarray) -> bool:
    """Every one above every other for what is free of scale; the spreads follow the sample's norm too: nine in ten."""
    share = (scores(name, high)[:, None] > scores(name, low)).mean()
    return share == 1 if name in SCALE_FREE else share > 0.9


def test_every_detector_of_a_hidden_layer_is_asked():
    assert {d.name for d in BUILT_IN if d.of_images and {*d.needs} <= {*CAPTURES}} == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_memorized_above_generalized(name):
    samples, spiky = memorizing()
    groups, balanced = generalizing()
    assert ordered(name, hidden(spiky, samples), np.concatenate([hidden(balanced, group[:40]) for group in groups]))


@pytest.mark.parametrize("name", ALL)
def test_duplicates_above_the_rest_in_one_network(name):
    duplicated, sampled, weights = hybrid()
    assert ordered(name, hidden(weights, duplicated), hidden(weights, sampled[:40]))


@pytest.mark.parametrize(
    ("name", "spike", "even"),
    [
        # One of UNITS channels against BLOCK equal ones of UNITS; top-energy counts the strongest 2 of 32.
        ("spikiness-l4", 1.0, BLOCK**-0.25),
        ("concentration", 1.0, 1 / BLOCK),
        ("kurtosis", (UNITS**2 - 3 * UNITS + 3) / (UNITS - 1), 1.0),
        ("top-energy", 1.0, 2 / BLOCK),
    ],
)
def test_the_values_that_the_closed_form_predicts(name, spike, even):
    """Without noise a memorized sample is one-hot, and a cluster's mean is flat over its block."""
    samples, spiky = memorizing()
    np.testing.assert_allclose(scores(name, np.maximum(samples @ spiky, 0)), spike, rtol=1e-5)
    groups, balanced = generalizing()
    means = np.stack([group.mean(axis=0) for group in groups])
    np.testing.assert_allclose(scores(name, np.maximum(means @ balanced, 0)), even, rtol=1e-4)


def test_the_spread_that_the_closed_form_predicts():
    """A spike a = r |x|^2 deviates by a sqrt(p - 1) / p, an even block of norm b one of b sqrt(p - p_k) / p."""
    samples, spiky = memorizing()
    height = np.linalg.norm(spiky, axis=0)[:6] * 6.0
    np.testing.assert_allclose(
        scores("spikiness", np.maximum(samples @ spiky, 0)), height * (UNITS - 1) ** 0.5 / UNITS, rtol=1e-5
    )
    groups, balanced = generalizing()
    means = np.maximum(np.stack([group.mean(axis=0) for group in groups]) @ balanced, 0)
    expected = np.linalg.norm(means, axis=1) * (UNITS - BLOCK) ** 0.5 / UNITS
    np.testing.assert_allclose(scores("spikiness", means), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_where_the_spread_fails_to_compare(name):
    """Data of twice the norm: a generalized sample deviates more than a memorized one; what is free of scale holds."""
    samples, spiky = memorizing()
    groups, balanced = generalizing(norm=12.0)
    high = scores(name, hidden(spiky, samples))
    low = scores(name, np.concatenate([hidden(balanced, group[:40]) for group in groups]))
    if name in SCALE_FREE:
        assert high.min() > low.max()
    else:
        assert high.max() < low.min()


@pytest.mark.parametrize("name", ALL)
def test_where_all_fail(name):
    """The rotation that the theorem leaves free: a sample's unit split evenly over a block is the same function."""
    samples, spiky = memorizing()
    split = np.repeat(spiky[:, :2] / BLOCK**0.5, BLOCK, axis=1)
    noisy = samples[:2] + SIGMA * np.random.default_rng(1).standard_normal((2, DIM))
    same = [np.maximum(noisy @ w, 0) @ w.T for w in (spiky[:, :2], split)]
    np.testing.assert_allclose(*same, atol=1e-12)
    groups, balanced = generalizing()
    low = scores(name, np.concatenate([hidden(balanced, group[:40]) for group in groups]))
    assert scores(name, hidden(split, samples[:2])).max() < np.quantile(low, 0.95)
