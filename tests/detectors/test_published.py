"""Detectors of the literature against closed forms of Gaussians, mixtures by automatic differentiation, and loops."""

import math
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import LAYERS, drawn, step_of
from scipy import ndimage

from memdetect.adapters import load
from memdetect.copies.pixels import tile_distance
from memdetect.detectors import BUILT_IN
from memdetect.detectors.agreement_pictures import AGREEMENT_EDGES, AGREEMENT_PIXELS, PICTURE, edges, reduced
from memdetect.detectors.anisotropy import anisotropy
from memdetect.detectors.attention_entropy import (
    ATTENTION_ENTROPY,
    ATTENTION_ENTROPY_FIRST,
    START,
    shares_after,
)
from memdetect.detectors.attention_entropy import STEPS as ENTROPIES
from memdetect.detectors.bright_ending import BRIGHT_ENDING, GAP, MASK, gap_power
from memdetect.detectors.condition_jacobian import slope
from memdetect.detectors.curvature_gap import curvature_difference, last_gap_power
from memdetect.detectors.dsm import DSM, noise
from memdetect.detectors.flipd import FLIPD, dimension
from memdetect.detectors.gap_sharpness import by_differences, by_tangent
from memdetect.detectors.hutchinson import diagonal
from memdetect.detectors.neurons import NEED as VALUES
from memdetect.detectors.neurons import neurons, value_sizes
from memdetect.detectors.noise_agreement import NOISE_AGREEMENT, ms_ssim, noise_difference
from memdetect.detectors.own_loss import CLID, LOSS, likelihood_gap, restored
from memdetect.detectors.straightness import PLACES, STRAIGHTNESS
from memdetect.errors import MemdetectError
from memdetect.probing.attention import Attention, Text
from memdetect.probing.decoding import Decoded, Pictures
from memdetect.probing.needs import FIRST, LAST, RUN, Window
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

SHAPE = (2, 3, 4)
SIZE = 24
LEVEL = (0.6, 0.8)


class Mixture:
    """Two Gaussians of a diagonal covariance each, in data space; the score of their noisy law in closed form."""

    def __init__(self, seed: int, count: int = 2) -> None:
        self.means, self.powers = 2 * drawn(count, SIZE, seed=seed), drawn(count, SIZE, seed=seed + 1).exp()

    def log_density(self, x: torch.Tensor, level: tuple[float, float]) -> torch.Tensor:
        signal, amount = level
        means, powers = signal * self.means.to(x), signal**2 * self.powers.to(x) + amount**2
        logs = -0.5 * ((x.unsqueeze(-2) - means) ** 2 / powers + powers.log()).sum(dim=-1)
        return logs.logsumexp(dim=-1)

    def noise(self, x: torch.Tensor, level: tuple[float, float]) -> torch.Tensor:
        """-noise * score, by hand, so that it can be differentiated forwards and backwards."""
        signal, amount = level
        flat = x.flatten(1).unsqueeze(1)
        means, powers = signal * self.means.to(x), signal**2 * self.powers.to(x) + amount**2
        pulls = (flat - means) / powers
        logs = -0.5 * ((flat - means) * pulls + powers.log()).sum(dim=2)
        return (amount * (logs.softmax(dim=1).unsqueeze(2) * pulls).sum(dim=1)).view_as(x)


def exact(cond: Mixture, uncond: Mixture, x: torch.Tensor, level: tuple[float, float] = LEVEL, **changes: Any) -> Step:
    """A step of exact denoisers that predict the noise; every timestep has the same level."""

    def ask(other: torch.Tensor, _timestep: int | None) -> Any:
        return cond.noise(other, level), uncond.noise(other, level)

    given = {"level": level, "ask": ask, "level_at": lambda _t: level, "seeds": tuple(range(len(x))), **changes}
    return step_of(x, *ask(x, None), **given)


def hessian_and_score(law: Mixture, x: torch.Tensor, level: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the log density, by automatic differentiation in double precision."""
    wide = x.double().flatten()
    hessian = torch.autograd.functional.hessian(lambda y: law.log_density(y, level), wide)
    score = torch.autograd.functional.jacobian(lambda y: law.log_density(y, level), wide)
    return hessian, score


@pytest.mark.parametrize("level", [LEVEL, (0.1, 0.995)])
def test_the_sharpness_of_the_gap_of_mixtures_exactly_and_by_differences(level):
    cond, uncond = Mixture(1), Mixture(5, 3)
    step = exact(cond, uncond, drawn(3, *SHAPE, seed=9), level)
    tangent, small, usual = by_tangent(step), by_differences(step, 1e-2), by_differences(step)
    for i, x in enumerate(step.x):
        (h, s), (other_h, other_s) = (hessian_and_score(law, x, level) for law in (cond, uncond))
        expected = ((h - other_h) @ (s - other_s)).norm().item()
        assert tangent[i].item() == pytest.approx(expected, rel=1e-3)
        assert small[i].item() == pytest.approx(expected, rel=2e-2)
        assert usual[i].item() == pytest.approx(expected, rel=0.9)
        assert expected > 1e-4


def test_the_sharpness_of_the_gap_of_gaussians_is_jeons_sum():
    """Of diagonal Gaussians H is a constant: sum of ((1 / p - 1 / q) (s_c - s_0))^2, whatever the reach."""
    cond, uncond = Mixture(1, 1), Mixture(5, 1)
    step = exact(cond, uncond, drawn(2, *SHAPE, seed=3))
    for found in (by_tangent(step), by_differences(step), by_differences(step, 0.1)):
        for x, value in zip(step.x.double().flatten(1), found, strict=True):
            scores, hessians = [], []
            for law in (cond, uncond):
                power = 0.36 * law.powers[0].double() + 0.64
                scores.append(-(x - 0.6 * law.means[0]) / power)
                hessians.append(-1 / power)
            total = sum(((hessians[0] - hessians[1]) * (scores[0] - scores[1])) ** 2)
            assert value.item() == pytest.approx(math.sqrt(total), rel=1e-3)


def test_branches_that_say_the_same_have_no_sharpness():
    law = Mixture(1)
    step = exact(law, law, drawn(2, *SHAPE))
    assert by_differences(step).tolist() == by_tangent(step).tolist() == [0.0, 0.0]


def test_a_diagonal_is_exact_where_there_is_nothing_beside_it_and_a_mean_of_signs_elsewhere():
    gaussian, law = Mixture(1, 1), Mixture(7)
    step = exact(gaussian, law, drawn(2, *SHAPE, seed=4))
    found = diagonal(step, lambda other: other.prediction.noise, 1)
    own = (0.8 / (0.36 * gaussian.powers[0] + 0.64)).view(SHAPE)
    torch.testing.assert_close(found, own.expand_as(found), rtol=1e-4, atol=1e-5)
    mixed = diagonal(step, lambda other: other.without.noise, 3)
    for i, x in enumerate(step.x):
        jacobian = -0.8 * hessian_and_score(law, x, LEVEL)[0]
        signs = [step.noise(k)[i].sign().flatten().double() for k in range(3)]
        expected = sum(v * (jacobian.T @ v) for v in signs) / 3
        torch.testing.assert_close(mixed[i].flatten().double(), expected, rtol=1e-3, atol=1e-4)
        assert (jacobian - jacobian.diag().diag()).abs().max() > 0.01


def test_curvature_differences_of_gaussians():
    """diag(J eps) = noise / (signal^2 power + noise^2): positive where the prompt's law is the narrower one."""
    cond, uncond = Mixture(1, 1), Mixture(5, 1)
    step = exact(cond, uncond, drawn(2, *SHAPE, seed=3))
    apart = [0.8 / (0.36 * law.powers[0] + 0.64) for law in (cond, uncond)]
    by_position = (apart[0] - apart[1]).view(SHAPE).sum(dim=0)
    expected = sum(max(value, 0.0) for value in by_position.flatten().tolist()) / 12
    assert 0 < expected != by_position.mean().item()
    np.testing.assert_allclose(curvature_difference(step, 2), [expected] * 2, rtol=1e-3)
    for x, value in zip(step.x.flatten(1), last_gap_power(step), strict=True):
        noises = [0.8 * (x - 0.6 * law.means[0]) / (0.36 * law.powers[0] + 0.64) for law in (cond, uncond)]
        squares = [(a - b) ** 2 for a, b in zip(*(n.tolist() for n in noises), strict=True)]
        assert value.item() == pytest.approx(sum(squares) / 12, rel=1e-4)


@pytest.mark.parametrize("level", [(0.8, 0.6), (0.9999, 0.0141)])
def test_flipd_of_a_gaussian_is_its_closed_form_and_the_rank_where_little_noise_is_left(level):
    """D - sum noise^2 / power + sum (noise (y - signal mean) / power)^2, y = signal x, power the noisy law's."""
    law = Mixture(1, 1)
    law.powers[0] = torch.cat([torch.full((7,), 2.0), torch.zeros(SIZE - 7)])
    x = (law.means[0] + law.powers[0].sqrt() * drawn(3, SIZE, seed=8)).view(3, *SHAPE)
    step = replace(exact(law, law, x, level), level=(1.0, 0.0), uncond=None)
    found = dimension(step, 1)
    power = level[0] ** 2 * law.powers[0].double() + level[1] ** 2
    for image, value in zip(x.double().flatten(1), found, strict=True):
        pull = level[1] * level[0] * (image - law.means[0]) / power
        expected = SIZE - (level[1] ** 2 / power).sum() + (pull**2).sum()
        assert value.item() == pytest.approx(expected.item(), rel=1e-3, abs=2e-3)
        if level[1] < 0.1:
            assert value.item() == pytest.approx(7, abs=0.02)
    scores = FLIPD.score(Trace({(FLIPD.needs[0], ""): found.view(1, 3, 1)}, (), ()))
    assert torch.equal(scores, -found[:, None])  # few dimensions are a memorized image


def test_loss_and_clid_are_of_one_draw_of_the_images_own_seed():
    cond, uncond = Mixture(1, 1), Mixture(5, 1)
    asked: list[int | None] = []
    step = exact(cond, uncond, drawn(2, *SHAPE, seed=2), LEVEL, level_at=lambda t: asked.append(t) or LEVEL)
    step = replace(step, level=(1.0, 0.0), uncond=None)
    losses, gaps = restored(step), likelihood_gap(step)
    assert set(asked) == {100}
    for i, x in enumerate(step.x.flatten(1).tolist()):
        own = step.noise()[i].flatten().tolist()
        errors = []
        for law in (cond, uncond):
            rows = zip(x, own, law.means[0].tolist(), law.powers[0].tolist(), strict=True)
            squares = [
                (0.8 * (0.6 * a + 0.8 * e - 0.6 * mean) / (0.36 * power + 0.64) - e) ** 2 for a, e, mean, power in rows
            ]
            errors.append(sum(squares) / SIZE)
        assert losses[i].item() == pytest.approx(errors[0], rel=1e-4)
        assert gaps[i].item() == pytest.approx(errors[1] - errors[0], rel=1e-3)
    for detector, value, sign in ((LOSS, losses, -1), (CLID, gaps, 1)):
        scores = detector.score(Trace({(detector.needs[0], ""): value.view(1, 2, 1)}, (), ()))
        assert torch.equal(scores, sign * value[:, None])


def test_a_way_is_straight_turns_at_a_right_angle_or_goes_back():
    corners = torch.tensor([[0.0, 0], [2, 0], [3, 0], [3, 4], [3, 1]]).view(5, 1, 1, 2, 1, 1)
    score = STRAIGHTNESS.score(Trace({(PLACES, ""): corners}, (), ()))
    assert score.tolist() == [[pytest.approx((1 + 0 - 1) / 3)]]
    places = drawn(4, 2, 3, *SHAPE)
    found = STRAIGHTNESS.score(Trace({(PLACES, ""): places}, (), ()))
    for item in range(2):
        for seed in range(3):
            own = [p.flatten().tolist() for p in places[:, item, seed]]
            ways = [[b - a for a, b in zip(one, two, strict=True)] for one, two in pairwise(own)]
            cosines = []
            for one, two in pairwise(ways):
                product = sum(a * b for a, b in zip(one, two, strict=True))
                cosines.append(product / math.hypot(*one) / math.hypot(*two))
            assert found[item, seed].item() == pytest.approx(sum(cosines) / 2, rel=1e-4)


def test_the_way_to_a_single_picture_turns_as_the_circle_does():
    """Of one training image x_t = signal x0 + noise e: on an arc, whose neighbouring chords turn by the mean angle."""
    x0, e = drawn(SIZE, seed=1), drawn(SIZE, seed=2)
    x0, e = x0 / x0.norm(), e - (e @ x0) / (x0 @ x0) * x0
    e = e / e.norm()
    angles = [0.1, 0.3, 0.7, 1.1]
    places = torch.stack([math.sin(a) * x0 + math.cos(a) * e for a in angles]).view(4, 1, 1, *SHAPE)
    turns = [(angles[2] - angles[0]) / 2, (angles[3] - angles[1]) / 2]
    found = STRAIGHTNESS.score(Trace({(PLACES, ""): places}, (), ()))
    assert found.item() == pytest.approx(sum(math.cos(t) for t in turns) / 2, rel=1e-5)


def test_dsm_is_the_square_of_the_way_of_the_noise():
    (need,) = DSM.needs
    noises = drawn(2, 2, 3, *SHAPE)
    found = DSM.score(Trace({(need, ""): noises}, (), ()))
    for item in range(2):
        for seed in range(3):
            one, two = (noises[k, item, seed].flatten().tolist() for k in (0, 1))
            assert found[item, seed].item() == pytest.approx(sum((a - b) ** 2 for a, b in zip(one, two, strict=True)))
    assert need.when == Window("at", 20.0, 2)
    step = step_of(drawn(1, 1, 2, 2), drawn(1, 1, 2, 2, seed=1))
    assert torch.equal(noise(step), step.cond)


def test_anisotropy_by_loops_over_positions():
    x, cond, uncond = (drawn(2, *SHAPE, seed=k) for k in range(3))
    late = [drawn(2, *SHAPE, seed=k) for k in (3, 4)]
    asked: list[tuple[Any, ...]] = []

    def ask(other: torch.Tensor, timestep: int | None) -> Any:
        asked.append((torch.equal(other, x), timestep))
        return late[0], late[1]

    step = step_of(x, cond, uncond, ask=ask)
    found = anisotropy(step)
    assert asked == [(True, 41)]
    for i in range(2):
        length = math.sqrt(sum(v * v for v in (cond - uncond)[i].flatten().tolist()))
        cosines = []
        for row in range(3):
            for col in range(4):
                base, gap = late[1][i, :, row, col].tolist(), (late[0] - late[1])[i, :, row, col].tolist()
                product = sum(a * b for a, b in zip(base, gap, strict=True))
                cosines.append(product / math.hypot(*base) / math.hypot(*gap))
        assert found[i].item() == pytest.approx(length + 2 * sum(cosines) / 12, rel=1e-4)


def test_the_slope_by_the_condition_is_the_derivative_there():
    """f(a) = a^3 (cond - uncond) on the way from none (0) to the whole (1): the slope at 1 is 3, short of it less."""
    x, cond = drawn(2, *SHAPE), drawn(2, *SHAPE, seed=1)
    step = step_of(x, cond, torch.zeros_like(cond), between=lambda _x, share: share**3 * cond)
    sizes = np.array([row.norm().item() for row in cond])
    np.testing.assert_allclose(slope(step, 1e-3), 3 * sizes, rtol=2e-3)
    np.testing.assert_allclose(slope(step), (1 - 0.95**3) / 0.05 * sizes, rtol=1e-4)


def explicit_ssim(one: np.ndarray, other: np.ndarray, size: int) -> tuple[float, float]:
    """Mean over windows of (luminance times structure, structure), by loops over windows and a kernel of two axes."""
    place = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    whole, structures = [], []
    for row in range(one.shape[0] - size + 1):
        for col in range(one.shape[1] - size + 1):
            a, b = (maps[row : row + size, col : col + size] for maps in (one, other))
            ma, mb = (kernel * a).sum(), (kernel * b).sum()
            va, vb = (kernel * (a - ma) ** 2).sum(), (kernel * (b - mb) ** 2).sum()
            shared = (kernel * (a - ma) * (b - mb)).sum()
            structures.append((2 * shared + 0.03**2) / (va + vb + 0.03**2))
            whole.append((2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2) * structures[-1])
    return float(np.mean(whole)), float(np.mean(structures))


def halved(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(maps.shape[0] // 2, 2, maps.shape[1] // 2, 2).mean(axis=(1, 3))


@pytest.mark.parametrize(("side", "scales"), [(8, 1), (16, 1), (22, 2), (44, 3)])
def test_structural_similarity_by_loops_over_windows(side, scales):
    first = torch.rand(1, 2, side, side, generator=torch.Generator().manual_seed(1))
    second = (0.7 * first + 0.3 * torch.rand(1, 2, side, side, generator=torch.Generator().manual_seed(2))).sqrt()
    expected = []
    for one, other in zip(first[0].double().numpy(), second[0].double().numpy(), strict=True):
        product = 1.0
        for scale in range(scales):
            one, other = (halved(maps) if scale else maps for maps in (one, other))
            whole, structure = explicit_ssim(one, other, min(11, side))
            product *= max(whole if scale == scales - 1 else structure, 0) ** (1 / scales)
        expected.append(product)
    assert ms_ssim(first, second).item() == pytest.approx(np.mean(expected), rel=1e-3)
    assert ms_ssim(first, first).item() == pytest.approx(1, rel=1e-5)
    assert 0.1 < np.mean(expected) < 0.99


def test_nemos_screen_is_the_nearest_pair_of_noise_differences():
    step = step_of(drawn(3, *SHAPE), drawn(3, *SHAPE, seed=1))
    maps = noise_difference(step)
    for i in range(3):
        for channel in range(2):
            own = (step.cond - step.x)[i, channel]
            expected = (own - own.min()) / (own.max() - own.min())
            torch.testing.assert_close(maps[i, channel], expected)
    found = NOISE_AGREEMENT.score(Trace({(NOISE_AGREEMENT.needs[0], ""): maps.view(1, 1, 3, *SHAPE)}, (), ()))
    pairs = [ms_ssim(maps[i : i + 1], maps[j : j + 1]).item() for i, j in combinations(range(3), 2)]
    assert found.tolist() == [[pytest.approx(max(pairs))] * 3]


def test_pixels_agree_as_far_as_their_worst_tile_is_apart():
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (32, 48, 3), dtype=np.uint8) for _ in range(3)]
    images[1][:16] = images[0][:16]
    values = torch.stack([torch.from_numpy(i).permute(2, 0, 1).float() / 255 for i in images]).view(1, 1, 3, 3, 32, 48)
    found = AGREEMENT_PIXELS.score(Trace({(PICTURE, ""): values}, (), ()))
    expected = np.mean([tile_distance(one, other) for one, other in combinations(images, 2)])
    assert found.tolist() == [[pytest.approx(-expected, rel=1e-5)] * 3]


def test_edges_are_scipys_and_shared_by_most_images():
    random = np.random.default_rng(1)
    values = ndimage.gaussian_filter(random.random((3, 3, 20, 24)), 1, axes=(2, 3)) * 1.5
    found = edges(torch.from_numpy(values).float().view(1, 3, 3, 20, 24))[0]
    maps = []
    for image in values:
        strength = sum(np.hypot(ndimage.sobel(c, axis=0), ndimage.sobel(c, axis=1)) for c in image)
        maps.append(strength > 1.5)
    np.testing.assert_array_equal(found.numpy(), np.stack(maps).astype(float))
    assert 0.05 < np.mean(maps) < 0.95
    score = AGREEMENT_EDGES.score(
        Trace({(PICTURE, ""): torch.from_numpy(values).float().view(1, 1, 3, 3, 20, 24)}, (), ())
    )
    expected = np.mean(np.sum(maps, axis=0) >= 2)
    assert score.tolist() == [[pytest.approx(expected)] * 3]


def test_small_latents_of_a_mask_and_gaps_by_loops():
    """Bright Ending: two steps, masks of 2 x 2 of two layers on the way down, one of another place left out."""
    assert BRIGHT_ENDING.needs == (GAP, MASK)
    assert (GAP.when, MASK.when, GAP.branches) == (RUN, LAST, True)
    gaps = drawn(2, 1, 1, *SHAPE[:1], 2, 2)
    step = step_of(drawn(1, 2, 2, 2), gaps[0, 0], torch.zeros(1, 2, 2, 2))
    torch.testing.assert_close(gap_power(step), gaps[0, 0].square().sum(dim=1))
    power = gaps.square().sum(dim=3)
    first, second, other = (drawn(1, 1, 1, 2, 2, seed=k).abs() for k in (1, 2, 3))
    arrays = {
        (GAP, ""): power,
        (MASK, "down_blocks.0.a"): first,
        (MASK, "down_blocks.1.a"): torch.ones(1, 1, 1, 1, 1),
        (MASK, "down_blocks.0.b"): second,
        (MASK, "up_blocks.0.a"): other,
    }
    mask = ((first + second) / 2)[0, 0, 0]
    expected = []
    for t in range(2):
        total = 0.0
        for row in range(2):
            for col in range(2):
                total += sum((gaps[t, 0, 0, c, row, col] * mask[row, col]).item() ** 2 for c in range(2))
        expected.append(math.sqrt(total) / mask.mean().item())
    found = BRIGHT_ENDING.score(Trace(arrays, (), ()))
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)
    flat = {(GAP, ""): power, (MASK, "blocks.0"): torch.full((1, 1, 1, 2, 2), 3.0)}
    plain = [gaps[t].norm().item() for t in range(2)]  # an even mask is none
    assert BRIGHT_ENDING.score(Trace(flat, (), ())).item() == pytest.approx(np.mean(plain), rel=1e-5)


def entropy_of(shares: list[float]) -> float:
    return -sum(a * math.log(a) for a in shares if a > 0)


def test_attention_entropy_by_loops_over_steps_and_tokens():
    """Ten steps, two layers, six tokens of which the end is the fourth."""
    maps = [[drawn(1, 5, 6, seed=10 * t + layer).exp() for layer in range(2)] for t in range(10)]
    maps = [[own / own.sum(dim=2, keepdim=True) for own in layers] for layers in maps]
    kept = [[shares_after(Attention(own, (3,), (5, 1))) for own in layers] for layers in maps]
    arrays = {(ENTROPIES, f"layer{k}"): torch.stack([kept[t][k] for t in range(10)]).unsqueeze(1) for k in range(2)}
    mean = [[sum(own[0, :, i].mean().item() for own in layers) / 2 for i in range(6)] for layers in maps]
    drift = [entropy_of(shares[3:]) for shares in mean]
    expected = sum(entropy_of(mean[t]) + abs(drift[t] - drift[0]) for t in (8, 9)) / 2
    found = ATTENTION_ENTROPY.score(Trace(arrays, (), ()))
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_entropy_of_the_fourth_layer_or_of_the_last_of_fewer():
    shares = [torch.tensor([1.0, 0, 0, 0]), torch.full((4,), 0.25), *(torch.tensor([0.5, 0.5, 0, 0]) for _ in range(3))]
    shares[3] = torch.tensor([0.75, 0.25, 0, 0])
    layers = {(START, f"layer{k}"): own.view(1, 1, 1, 4) for k, own in enumerate(shares)}
    assert ATTENTION_ENTROPY_FIRST.score(Trace(layers, (), ())).item() == pytest.approx(entropy_of([0.75, 0.25]))
    few = dict(list(layers.items())[:2])
    assert ATTENTION_ENTROPY_FIRST.score(Trace(few, (), ())).item() == pytest.approx(math.log(4))
    assert (START.when, ENTROPIES.when) == (FIRST, RUN)


def test_pictures_are_reduced_by_area_means_to_64_pixels_and_broken_ones_are_not_numbers(pipe):
    model, image = load(pipe), np.random.default_rng(2).integers(0, 256, (128, 256, 3), dtype=np.uint8)

    def small(array: np.ndarray, finite: bool = True) -> torch.Tensor:
        return reduced(Pictures(model, (Decoded(array, finite),)))

    expected = image.reshape(32, 4, 64, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(small(image)[0], expected, atol=1e-5)
    assert small(image[:64, :48]).shape == (1, 3, 64, 48)
    assert small(image[:30, :30]).shape == (1, 3, 32, 32)
    assert small(image, finite=False).isnan().all()


def test_the_neuron_furthest_from_clean_prompts_by_loops_over_layers():
    """Of the way down and the middle; one that clean prompts never move says nothing."""
    sizes = {layer: drawn(1, 2, 2, 7, seed=k) for k, layer in enumerate(LAYERS)}
    moments = {layer: drawn(2, 7, seed=9 + k).abs() for k, layer in enumerate(LAYERS)}
    moments[LAYERS[0]][1, 3] = 0
    sizes[LAYERS[2]] += 1e6  # a layer on the way up
    trace = Trace({(VALUES, layer): own for layer, own in sizes.items()}, (), ())
    found = neurons(moments).score(trace)
    for item in range(2):
        for seed in range(2):
            scores = []
            for layer in LAYERS[:2]:
                mean, deviation = moments[layer].tolist()
                rows = zip(sizes[layer][0, item, seed].tolist(), mean, deviation, strict=True)
                scores += [abs(a - m) / d for a, m, d in rows if d > 0]
            assert found[item, seed].item() == pytest.approx(max(scores), rel=1e-5)
    with pytest.raises(MemdetectError, match=r"the bank keeps no neurons of layer 'mid_block\.attn2'"):
        neurons({LAYERS[0]: moments[LAYERS[0]]}).score(trace)
    text = Text(torch.tensor([[[1.0, -2], [3, -4]]]), (1,))
    assert value_sizes(text).tolist() == [[2.0, 3.0]]


def test_what_asks_further_says_so():
    asking = {d.name: sum(n.further for n in d.needs) for d in BUILT_IN if any(n.further for n in d.needs)}
    assert asking == {
        **{"gap-sharpness": 1, "gap-sharpness-jvp": 2, "anisotropy": 1, "condition-jacobian": 1, "curvature-gap": 8},
        **{"pian": 2, "loss": 1, "clid": 1, "flipd": 9},
    }
