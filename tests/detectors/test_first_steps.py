"""Detectors of the first steps and of the finished latents, against formulas written out again."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import drawn, step_of

from memdetect.adapters.prediction import KINDS, predicted
from memdetect.detectors import DCS, NOISE_GAP, PIAN, SHARPNESS, TRAJECTORY
from memdetect.detectors.dcs import guided_power
from memdetect.detectors.noise_gap import gap_norm
from memdetect.detectors.pian import pian_distance
from memdetect.detectors.sharpness import laplacian_rms
from memdetect.detectors.trajectory import WAY, place, trajectory
from memdetect.errors import MemdetectError
from memdetect.probing.needs import AFTER, FIRST, UNTIL_EARLY, Window
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

LEVELS = {"flow": (0.3, 0.7), "edm": (0.5, 0.6), "edm_v": (0.5, 0.6)}


def some_step(kind: str = "epsilon", **changes: Any) -> Step:
    x, cond, uncond = drawn(3, 2, 2, 5, 6)
    return step_of(x, cond, uncond, kind=kind, level=LEVELS.get(kind, (0.6, 0.8)), **changes)


def l2(values: torch.Tensor) -> list[float]:
    return [math.sqrt(sum(float(v) ** 2 for v in row.flatten())) for row in values]


def test_the_laplacian_of_five_points_by_hand():
    """Inner positions of x0-hat, here the input itself: nothing predicted at full signal."""
    picture = torch.tensor([[[0.0, 1, 0, 2], [3, 5, 1, 0], [0, 2, 0, 1]]])[None]
    found = laplacian_rms(step_of(picture, torch.zeros_like(picture), level=(1.0, 0.0)))
    inner = [1 + 2 + 3 + 1 - 4 * 5, 0 + 0 + 5 + 0 - 4 * 1]
    assert found.tolist() == pytest.approx([math.sqrt(sum(v * v for v in inner) / 2)])


def test_sharpness_is_of_the_conditional_clean_estimate():
    step = some_step(scale=9.0)
    clean = ((step.x - 0.8 * step.cond) / 0.6).numpy().astype(float)
    expected = []
    for picture in clean:
        squares = [
            (c[i - 1, j] + c[i + 1, j] + c[i, j - 1] + c[i, j + 1] - 4 * c[i, j]) ** 2
            for c in picture
            for i in range(1, 4)
            for j in range(1, 5)
        ]
        expected.append(math.sqrt(sum(squares) / len(squares)))
    np.testing.assert_allclose(laplacian_rms(step), expected, rtol=1e-5)
    assert SHARPNESS.needs[0].when == FIRST


def test_a_ramp_is_not_sharp():
    ramp = torch.arange(5.0).view(1, 1, 5, 1) + 2 * torch.arange(6.0)
    assert laplacian_rms(step_of(ramp, torch.zeros_like(ramp), level=(1.0, 0.0))).tolist() == [0.0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_gap_is_that_of_the_clean_estimates(kind):
    step = some_step(kind)
    a, b = (predicted(output, step.x, step.level, step.kind).clean for output in (step.cond, step.uncond))
    np.testing.assert_allclose(gap_norm(step), l2(a - b), rtol=1e-4)


def test_the_gap_of_noise_is_that_of_wen_times_noise_over_signal():
    step = some_step()
    np.testing.assert_allclose(gap_norm(step), [0.8 / 0.6 * g for g in l2(step.cond - step.uncond)], rtol=1e-5)


@pytest.mark.parametrize("level", [(0.6, 0.8), (0.0, 1.0)])
def test_the_gap_of_velocities_is_that_of_wen_times_noise_also_where_no_signal_is_left(level):
    for kind in ("v_prediction", "flow"):
        step = replace(some_step(kind), level=level)
        expected = [level[1] * g for g in l2(step.cond - step.uncond)]
        assert min(expected) > 1
        np.testing.assert_allclose(gap_norm(step), expected, rtol=1e-5)


def test_the_gap_is_the_mean_of_the_first_steps():
    (need,) = NOISE_GAP.needs
    gaps = drawn(3, 4, 2).abs()
    found = NOISE_GAP.score(Trace({(need, ""): gaps}, (), ()))
    np.testing.assert_allclose(found, gaps.numpy().mean(axis=0), rtol=1e-6)
    assert (need.when, need.branches, NOISE_GAP.unconditional) == (UNTIL_EARLY, True, True)


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_dcs_is_the_power_of_the_guided_estimate(scale):
    step = some_step(scale=scale)
    eps = step.uncond + scale * (step.cond - step.uncond)
    clean = ((step.x - 0.8 * eps) / 0.6).numpy().astype(float)
    np.testing.assert_allclose(guided_power(step), [np.mean(c**2) for c in clean], rtol=1e-5)
    (need,) = DCS.needs
    assert (need.when, need.branches) == (Window("at", 20.0), True)


def test_trajectory_is_the_largest_deviation_of_a_way_from_those_of_clean_prompts():
    places = drawn(4, 3, 2, 2, 4, 5)
    ways = torch.tensor([[9.0, 7.0, 8.0], [0.5, 2.0, 1.0]])
    found = trajectory(ways).score(Trace({(WAY, ""): places}, (), ()))
    for item in range(3):
        for seed in range(2):
            own = places[:, item, seed].numpy().astype(float)
            lengths = [math.sqrt(((b - a) ** 2).sum()) for a, b in pairwise(own)]
            z = [abs(n - m) / s for n, m, s in zip(lengths, *ways.tolist(), strict=True)]
            assert found[item, seed].item() == pytest.approx(max(z), rel=1e-5)


def test_a_way_of_the_banks_own_length_is_nothing_unusual():
    straight = torch.stack([torch.full((1, 1, 1, 1, 1), k) for k in (0.0, 2.0, 7.0)])
    trace = Trace({(WAY, ""): straight}, (), ())
    assert trajectory(torch.tensor([[2.0, 5.0], [0.1, 0.1]])).score(trace).tolist() == [[0.0]]
    assert trajectory(torch.tensor([[2.0, 4.0], [0.1, 0.5]])).score(trace).tolist() == [[2.0]]


@pytest.mark.parametrize(("steps", "kept"), [(3, 1), (1, 0), (1, 2)])
def test_other_ways_than_the_banks_are_refused(steps, kept):
    trace = Trace({(WAY, ""): drawn(steps, 2, 2, 1, 2, 2)}, (), ())
    with pytest.raises(MemdetectError, match=f"compares {kept} ways with {steps - 1}"):
        trajectory(torch.ones(2, kept)).score(trace)


def test_places_are_the_networks_inputs():
    step = some_step()
    assert place(step) is step.x
    assert (TRAJECTORY.needs[0].when, TRAJECTORY.needs[0].fewest) == (UNTIL_EARLY, 2)


def test_pian_is_the_papers_distance_of_two_noises():
    """eps(x, t) = tanh(x) + t / 500 stands for a network."""
    levels = {0: (1.0, 0.02), 200: (0.7, math.sqrt(0.51))}
    asked: list[int | None] = []

    def ask(x: torch.Tensor, t: int | None) -> tuple[torch.Tensor, None]:
        asked.append(t)
        return x.tanh() + t / 500, None

    x = drawn(3, 2, 4, 4)
    step = step_of(x, x, level=(1.0, 0.0), ask=ask, level_at=levels.__getitem__)
    found = pian_distance(step)
    assert asked == [0, 200]
    for image, distance in zip(x.double(), found, strict=True):
        shown = image / math.sqrt(1 - 0.02**2)
        first = shown.tanh()
        first = first / first.abs().mean() * math.sqrt(2 / math.pi)
        again = (0.7 * image + math.sqrt(0.51) * first).tanh() + 0.4
        assert distance.item() == pytest.approx(((first - again) ** 4).sum().item(), rel=1e-4)
    scores = PIAN.score(Trace({(PIAN.needs[0], ""): found.view(1, 3, 1)}, (), ()))
    assert torch.equal(scores, -found[:, None])  # a small distance is a memorized image
    assert (PIAN.needs[0].when, PIAN.latents) == (AFTER, True)
