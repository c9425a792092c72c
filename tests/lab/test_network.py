"""Training: the loss by hand, the decay of the paper's optimizers, and trained weights against the closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from memdetect.errors import Exit, MemdetectError
from memdetect.lab.theory import analysis, forms
from memdetect.lab.theory.data import from_mixture, known_mixture
from memdetect.lab.theory.network import Recipe, ReluDae, equation_six, fresh_network, lambda_of, train

SIGMA = 0.2
SAMPLES = np.array([[3.0, 0, 0, 0, 0, 0], [-1.0, 3.0, 0, 0, 0, 0], [-1.0, -1.0, 0, 2.5, 0, 0]])
MEMORIZE = Recipe(8, SIGMA, decay=0.1, rate=2e-2, steps=800, copies=32)


def test_the_network_and_its_loss_by_hand():
    first, second = torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    network = ReluDae(first, second)
    noisy = torch.tensor([[2.0, 5.0], [-1.0, -2.0]])
    assert network.represent(noisy).tolist() == [[2, 0], [0, 2]]
    assert network(noisy).tolist() == [[4, 0], [0, 6]]
    # (|(4, 0) - (1, 1)|^2 + |(0, 6) - (0, 0)|^2) / 2 + 0.5 * (2 + 13)
    clean = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert equation_six(network, clean, noisy, 0.5).item() == pytest.approx((10 + 36) / 2 + 7.5)
    tied = ReluDae(first)
    assert equation_six(tied, clean, noisy, 0.5).item() == pytest.approx((1 + 1 + 4) / 2 + 0.5 * 4)
    assert len(list(tied.parameters())) == 1


def test_the_gradient_of_the_loss_is_right():
    network = fresh_network(5, 4, 0, tied=False, dtype=torch.float64)
    clean = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(first, second):
        return equation_six(ReluDae(first, second), clean, clean + 0.1, 0.3)

    network.zero_grad()
    equation_six(network, clean, clean + 0.1, 0.3).backward()
    step = 1e-6
    for weights, place in ((network.first, 0), (network.second, 1)):
        for i, j in ((0, 0), (3, 2), (4, 3)):
            moved = [network.first.detach().clone(), network.second.detach().clone()]
            moved[place][i, j] += step
            above = loss(*moved)
            moved[place][i, j] -= 2 * step
            assert weights.grad[i, j].item() == pytest.approx((above - loss(*moved)).item() / (2 * step), rel=1e-5)


@pytest.mark.parametrize("sigma", [0.0, SIGMA])
def test_the_closed_form_is_a_stationary_point_of_the_training_loss(sigma):
    """Noise of both signs at once, so that its mean is exactly 0; its second moment is that of many draws."""
    weights = forms.memorizing(SAMPLES, sigma, 0.05)
    network = ReluDae(torch.from_numpy(weights), torch.from_numpy(weights))
    noise = np.random.default_rng(0).standard_normal((200_000, 3, 6)) * sigma
    clean = torch.from_numpy(np.broadcast_to(SAMPLES, noise.shape).reshape(-1, 6).copy())
    noise = torch.from_numpy(noise.reshape(-1, 6))
    loss = equation_six(network, clean.repeat(2, 1), torch.cat([clean + noise, clean - noise]), 0.05)
    loss.backward()
    assert network.first.grad.abs().max() < 2e-3
    assert network.second.grad.abs().max() < 2e-3
    with torch.no_grad():
        network.first.mul_(1.05)
    network.zero_grad()
    equation_six(network, clean, clean + noise, 0.05).backward()
    assert network.first.grad.abs().max() > 5e-2


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_lambda_stands_for_the_weight_decay_of_the_optimizers(kind):
    """One step with PyTorch's mean squared error and weight_decay, one with eq. 6 divided by dim: equal weights."""
    dim, decay = 5, 0.03
    clean = torch.randn(9, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = []
    for explicit in (False, True):
        network = fresh_network(dim, 4, 2, tied=False, dtype=torch.float64)
        optimizer = kind(network.parameters(), lr=1e-2, weight_decay=0.0 if explicit else decay)
        loss = (
            equation_six(network, clean, clean + 0.1, lambda_of(decay, dim)) / dim
            if explicit
            else torch.nn.functional.mse_loss(network(clean + 0.1), clean)
        )
        loss.backward()
        optimizer.step()
        weights.append(torch.cat([network.first, network.second]))
    torch.testing.assert_close(*weights)


def test_the_decay_of_two_parameters_on_the_same_memory():
    """As in the paper's code: both slots are decayed and stepped, so lambda is that of the untied network."""
    dim, decay, rate = 5, 0.03, 1e-2
    clean = torch.randn(9, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = fresh_network(dim, 4, 2, dtype=torch.float64).first.detach()
    common = start.clone()
    slots = [torch.nn.Parameter(common), torch.nn.Parameter(common.view_as(common))]
    optimizer = torch.optim.SGD(slots, lr=rate, weight_decay=decay)
    torch.nn.functional.mse_loss(torch.relu((clean + 0.1) @ slots[0]) @ slots[1].T, clean).backward()
    optimizer.step()
    network = ReluDae(start)
    (equation_six(network, clean, clean + 0.1, lambda_of(decay, dim)) / dim).backward()
    # The second slot decays what the first has stepped already: equal to first order in the rate.
    torch.testing.assert_close(common, start - rate * network.first.grad, atol=2 * rate**2 * decay, rtol=0)


@pytest.mark.parametrize(
    "recipe",
    [
        MEMORIZE,
        replace(MEMORIZE, tied=False),
        replace(MEMORIZE, optimizer="rmsprop", rate=5e-3),
        replace(MEMORIZE, optimizer="sgd", rate=0.2),
    ],
    ids=lambda r: f"{r.optimizer}-{'tied' if r.tied else 'untied'}",
)
def test_few_samples_are_memorized_as_the_corollary_says(recipe):
    network = train(SAMPLES, recipe, seed=3)
    first, second = network.weights()
    near = analysis.against_memorizing(first, second, SAMPLES, recipe.sigma, recipe.decay)
    assert near.filter < 0.02
    assert near.merged < 0.02
    assert min(near.units_a_sample) >= 1
    # The untrained network is nowhere near.
    before = fresh_network(6, 8, 3, tied=recipe.tied).weights()
    assert analysis.against_memorizing(*before, SAMPLES, recipe.sigma, recipe.decay).filter > 0.5


def test_decay_of_adamw_is_not_that_of_the_loss():
    """Decoupled decay removes rate * w * W whatever the gradient's size, and ends elsewhere than the closed form."""
    recipe = replace(MEMORIZE, decay=1.0, steps=600)
    distance = {}
    for optimizer in ("adam", "adamw"):
        first, second = train(SAMPLES, replace(recipe, optimizer=optimizer), seed=3).weights()
        distance[optimizer] = analysis.against_memorizing(first, second, SAMPLES, SIGMA, 1.0).filter
    assert distance["adam"] < 0.02
    assert distance["adamw"] > 0.1


def test_many_samples_are_generalized_as_the_corollary_says():
    mixture = known_mixture(clusters=2, dim=8, norm=5.0, spread=(1.2, 0.8))
    data = from_mixture(6000, 0, mixture=mixture)
    recipe = Recipe(16, SIGMA, decay=0.01, rate=1e-2, steps=1500, draws=128)
    network = train(data.train, recipe, seed=0)
    found = analysis.blocks(*network.weights(), data.clusters(), SIGMA, 0.01)
    for cluster, block in enumerate(found):
        assert block.units >= 3
        assert block.filter < 0.05
        assert (block.own, block.energy) == (pytest.approx(1, abs=0.02), pytest.approx(1, abs=0.02))
        # Against the law itself, not the samples: Corollary 3.3.
        mine = analysis.assign(network.weights()[0], data.clusters()) == cluster
        own = network.weights()[0][:, mine]
        mean, covariance = mixture.means[cluster], mixture.covariances[cluster]
        limit = forms.population_filter(np.outer(mean, mean) + covariance, block.units, SIGMA, 0.01, 0.5)
        assert np.linalg.norm(own @ own.T - limit) < 0.08 * np.linalg.norm(limit)
    noisy = data.fresh + SIGMA * np.random.default_rng(5).standard_normal(data.fresh.shape)
    out = network(torch.from_numpy(noisy).float()).double().numpy()
    truth = mixture.denoise(noisy, SIGMA)
    memorized = forms.empirical_denoiser(noisy, data.train[:40], SIGMA)
    assert np.square(out - truth).mean() < 0.25 * np.square(memorized - truth).mean()


@pytest.mark.parametrize("tied", [True, False])
def test_a_seed_fixes_the_weights(tied):
    recipe = Recipe(6, SIGMA, steps=20, draws=4, tied=tied)
    same = [train(SAMPLES, recipe, seed=7).weights() for _ in range(2)]
    np.testing.assert_array_equal(same[0][0], same[1][0])
    np.testing.assert_array_equal(same[0][1], same[1][1])
    other = train(SAMPLES, recipe, seed=8).weights()
    assert np.abs(same[0][0] - other[0]).max() > 1e-3
    assert (same[0][0] is same[0][1] or np.array_equal(*same[0])) is tied


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adagrad"}, "no optimizer named 'adagrad'; choose one of adam, adamw, rmsprop, sgd"),
        ({"units": 0}, "units is 0, expected at least 1"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"draws": -1}, "draws is -1, expected at least 0"),
        ({"sigma": float("nan")}, "sigma is nan, expected a finite number of at least 0"),
        ({"decay": -1.0}, "decay is -1.0, expected a finite number"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(change, message):
    with pytest.raises(MemdetectError, match=message):
        train(SAMPLES, replace(MEMORIZE, **change))


def test_a_loss_that_explodes_is_an_error():
    with pytest.raises(MemdetectError, match=r"the loss is \w+ at step \d+; lower the rate 100") as caught:
        train(SAMPLES, Recipe(8, SIGMA, optimizer="sgd", rate=100.0, steps=300))
    assert caught.value.exit == Exit.ERROR
