"""The closed forms: stationary points of the loss (autograd as judge), special cases by hand, Bayes by quadrature."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from memdetect.errors import MemdetectError
from memdetect.lab.theory import forms

SIGMA = 0.3


def clusters(seed: int = 0) -> list[np.ndarray]:
    """Two clusters on opposite sides, of 9 and 6 samples in 5 dimensions."""
    rng = np.random.default_rng(seed)
    mean = np.array([2.0, 1.0, 0.5, 0.0, 0.0])
    return [mean + 0.3 * rng.standard_normal((9, 5)), -mean + 0.3 * rng.standard_normal((6, 5))]


def active_loss(groups, weights, sigma, decay, units) -> float:
    """The loss of eq. 6 in closed form, if each cluster activates exactly its own block of units.

    With A_k = W_k W_k^T: 1/n sum ||(A_k - I) x||^2 + sigma^2 ||A_k||^2, and the decay.
    """
    edges, loss = np.cumsum([0, *units]), 0.0
    for group, start, stop in zip(groups, edges, edges[1:], strict=False):
        linear = weights[:, start:stop] @ weights[:, start:stop].T
        loss += np.square(group @ linear.T - group).sum() + len(group) * sigma**2 * np.square(linear).sum()
    return float(loss / sum(map(len, groups)) + 2 * decay * np.square(weights).sum())


def gradient(groups, weights, units, sigma, decay) -> torch.Tensor:
    """Of the exact loss with each cluster on its own block, written once more, in torch."""
    first, second = (torch.tensor(weights, requires_grad=True) for _ in range(2))
    total, start, loss = sum(map(len, groups)), 0, torch.zeros(())
    for group, count in zip(groups, units, strict=True):
        x = torch.tensor(group)
        a = second[:, start : start + count] @ first[:, start : start + count].T
        loss = loss + ((x @ a.T - x) ** 2).sum() + len(x) * sigma**2 * (a**2).sum()
        start += count
    (loss / total + decay * ((first**2).sum() + (second**2).sum())).backward()
    return torch.cat([first.grad, second.grad])


@pytest.mark.parametrize(("units", "decay"), [((1, 1), 0.0), ((1, 1), 0.1), ((3, 2), 0.03), ((5, 5), 0.0)])
def test_the_blocks_are_a_stationary_point(units, decay):
    groups = clusters()
    weights = forms.blockwise(groups, units, SIGMA, decay)
    assert gradient(groups, weights, units, SIGMA, decay).abs().max() < 1e-10
    moved = weights + 1e-3 * np.random.default_rng(1).standard_normal(weights.shape)
    own = active_loss(groups, weights, SIGMA, decay, units)
    assert active_loss(groups, moved, SIGMA, decay, units) > own
    assert gradient(groups, moved, units, SIGMA, decay).abs().max() > 1e-5


def test_each_block_is_active_on_its_own_cluster_alone():
    groups = clusters()
    weights = forms.blockwise(groups, (3, 2), SIGMA)
    active = [g.mean(axis=0) @ weights > 0 for g in groups]
    assert active[0].tolist() == [True] * 3 + [False] * 2
    assert active[1].tolist() == [False] * 3 + [True] * 2


def test_a_cluster_of_one_sample_is_the_memorizing_solution():
    x = np.array([[3.0, 0.0, 4.0], [0.0, -5.0, 0.0]])
    for decay in (0.0, 0.5):
        spiky = forms.memorizing(x, SIGMA, decay)
        blocks = forms.blockwise([x[:1], x[1:]], (1, 1), SIGMA, decay)
        np.testing.assert_allclose(spiky, blocks, atol=1e-12)


def test_the_memorizing_scale_by_hand():
    # |x|^2 = 25: without decay r^2 = 1 / (25 + 0.09); the loss is sigma^2 |x|^2 / (sigma^2 + |x|^2).
    x = np.array([[3.0, 4.0]])
    weights = forms.memorizing(x, SIGMA)
    np.testing.assert_allclose(np.square(weights).sum(), 25 / 25.09)
    loss = active_loss([x], weights, SIGMA, 0.0, (1,))
    assert loss == pytest.approx(0.09 * 25 / 25.09)
    # n decay = 2: r^2 = 23 / (625 + 2.25)
    np.testing.assert_allclose(np.square(forms.memorizing(x, SIGMA, 2.0)).sum(), 25 * 23 / 627.25)


def test_decay_that_kills_a_sample_is_refused():
    with pytest.raises(MemdetectError, match=r"n \* decay is 26, the smallest squared norm 25"):
        forms.memorizing(np.array([[3.0, 4.0], [6.0, 8.0]]), SIGMA, 13.0)
    with pytest.raises(MemdetectError, match=r"eigenvalue 5 of the cluster .* give it fewer units or less decay"):
        forms.blockwise(clusters(), (5, 5), SIGMA, 0.1)
    with pytest.raises(MemdetectError, match="eigenvalue 2"):
        forms.block(np.array([[3.0, 4.0], [6.0, 8.0]]), 2, SIGMA)


def test_equal_samples_are_one_unit_with_the_weight_of_many():
    x = np.array([[3.0, 4.0]])
    many = forms.block(np.repeat(x, 7, axis=0), 1, SIGMA)
    np.testing.assert_allclose(np.abs(many.T), np.abs(forms.memorizing(x, SIGMA).T), atol=1e-12)


def test_the_population_filter_is_the_limit_of_the_blocks():
    rng = np.random.default_rng(0)
    covariance = np.diag([1.0, 0.5, 0.1, 0.01])
    mean = np.array([2.0, 0, 0, 0])
    x = mean + rng.standard_normal((200_000, 4)) * np.sqrt(np.diag(covariance))
    weights = forms.block(x, 2, SIGMA, 0.02)
    limit = forms.population_filter(np.outer(mean, mean) + covariance, 2, SIGMA, 0.02)
    np.testing.assert_allclose(weights @ weights.T, limit, atol=0.01)


def test_separability_by_hand():
    groups = [np.array([[3.0, 0.0], [5.0, 0.0]]), np.array([[-1.0, 1.0], [-1.0, 1.0]])]
    alpha, beta = forms.separability(groups)
    assert alpha == pytest.approx(1 / 4)
    assert beta == pytest.approx(-1 / np.sqrt(2))
    assert forms.separability(groups[:1]) == (pytest.approx(1 / 4), -1.0)


def test_the_margin_is_the_nearest_boundary():
    weights = np.array([[2.0, 0.0, 0.0], [0.0, -3.0, 0.0]])
    assert forms.margin(np.array([[4.0, 1.5], [-6.0, 2.0]]), weights) == pytest.approx(1.5)


def test_the_gap_forgets_the_order_and_counts_what_is_not_predicted():
    predicted = np.random.default_rng(0).standard_normal((6, 3))
    found = np.concatenate([predicted[:, [2, 0, 1]], np.zeros((6, 2))], axis=1)[:, [3, 0, 1, 4, 2]]
    same = forms.gap(found, predicted)
    assert (same.columns, same.filter, same.unused) == pytest.approx((0, 0, 0), abs=1e-6)
    turned = predicted @ np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    assert forms.gap(turned, predicted).filter == pytest.approx(0, abs=1e-12)
    assert forms.gap(turned, predicted).columns > 0.1
    found[:, 0] = 1.0
    assert forms.gap(found, predicted).unused == pytest.approx(6 / np.square(found).sum())
    with pytest.raises(MemdetectError, match="2 units were trained, 3 are predicted"):
        forms.gap(predicted[:, :2], predicted)


def test_the_empirical_denoiser_is_bayes_rule_over_samples():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((4, 3))
    density = np.stack([[stats.multivariate_normal(xi, SIGMA**2 * np.eye(3)).pdf(yi) for xi in x] for yi in y])
    np.testing.assert_allclose(forms.empirical_denoiser(y, x, SIGMA), density @ x / density.sum(1, keepdims=True))


def test_the_mixture_denoiser_is_bayes_rule_by_quadrature():
    mixture = forms.Mixture(np.array([0.3, 0.7]), np.array([[-1.0], [2.0]]), np.array([[[0.5]], [[0.1]]]))
    one, other = stats.norm(-1, 0.5**0.5), stats.norm(2, 0.1**0.5)
    for y in (-2.0, 0.4, 1.5):
        noise = stats.norm(y, SIGMA)

        def joint(x, power, noise=noise):
            return x**power * (0.3 * one.pdf(x) + 0.7 * other.pdf(x)) * noise.pdf(x)

        top, bottom = (integrate.quad(joint, -8, 8, args=(power,), points=[-1, y, 2])[0] for power in (1, 0))
        assert mixture.denoise(np.array([[y]]), SIGMA)[0, 0] == pytest.approx(top / bottom, abs=1e-6)


def test_samples_of_a_mixture_have_its_moments():
    mean, covariance = np.array([[2.0, 0.0], [0.0, -3.0]]), np.array([[[1.0, 0.3], [0.3, 0.5]]] * 2)
    mixture = forms.Mixture(np.array([0.25, 0.75]), mean, covariance)
    x, which = mixture.draw(40_000, np.random.default_rng(0))
    assert (which == 1).mean() == pytest.approx(0.75, abs=0.01)
    for k in range(2):
        own, expected = x[which == k], np.outer(mixture.means[k], mixture.means[k]) + mixture.covariances[k]
        np.testing.assert_allclose(own.T @ own / len(own), expected, atol=0.1)


def test_the_two_poles_are_zero_and_one():
    mixture = forms.Mixture(np.array([1.0]), np.array([[1.0, 0.0]]), np.array([np.eye(2)]))
    rng = np.random.default_rng(0)
    x, _ = mixture.draw(10, rng)
    y = x + SIGMA * rng.standard_normal(x.shape)
    truth = mixture.denoise(y, SIGMA)
    pole = forms.empirical_denoiser(y, x, SIGMA)
    assert forms.between(pole, y, x, truth, SIGMA) == pytest.approx(0)
    assert forms.between(truth, y, x, truth, SIGMA) == pytest.approx(1)
    assert forms.between((pole + truth) / 2, y, x, truth, SIGMA) == pytest.approx(0.5)
