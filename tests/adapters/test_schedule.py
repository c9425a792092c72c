"""Signal and noise at a timestep, against closed forms and against diffusers' own schedulers."""

import math

import numpy as np
import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.adapters.schedule import add_noise, fingerprint, levels, sigma
from memdetect.errors import Exit, MemdetectError

SCHEDULERS = {
    "ddim": DDIMScheduler(),
    "ddpm": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    "pndm": PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
}
every_scheduler = pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS)
any_timestep = st.integers(0, 999)
examples = settings(max_examples=40)


@examples
@given(any_timestep)
def test_levels_of_a_linear_schedule_are_the_product_of_one_minus_beta(t):
    kept = np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[: t + 1])
    assert levels(SCHEDULERS["ddim"], t) == pytest.approx((math.sqrt(kept), math.sqrt(1 - kept)), rel=1e-4)
    assert sigma(SCHEDULERS["ddim"], t) == pytest.approx(math.sqrt(1 / kept - 1), rel=1e-4)


@every_scheduler
@examples
@given(t=any_timestep)
def test_the_process_preserves_variance(scheduler, t):
    signal, noise = levels(scheduler, t)
    assert signal**2 + noise**2 == pytest.approx(1)
    assert sigma(scheduler, t) == pytest.approx(noise / signal)


@every_scheduler
def test_noise_over_signal_grows_with_the_timestep(scheduler):
    assert (np.diff([sigma(scheduler, t) for t in range(1000)]) > 0).all()


@every_scheduler
@pytest.mark.parametrize("t", [0, 50, 500, 999])
def test_add_noise_is_diffusers_own(scheduler, t):
    random = torch.Generator().manual_seed(t)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=random)
    expected = scheduler.add_noise(clean, noise, torch.full((3,), t))
    torch.testing.assert_close(add_noise(clean, noise, levels(scheduler, t)), expected, rtol=1e-5, atol=1e-6)


def test_a_schedule_that_ends_without_signal_has_an_infinite_sigma():
    scheduler = DDIMScheduler(rescale_betas_zero_snr=True)
    assert sigma(scheduler, 999) == math.inf
    assert levels(scheduler, 999) == (0.0, 1.0)
    assert math.isfinite(sigma(scheduler, 998))


@pytest.mark.parametrize("t", [-1, 1000, 10**9])
def test_a_timestep_outside_the_schedule_is_refused(t):
    with pytest.raises(MemdetectError, match=f"timestep {t} is outside .*expected 0 to 999") as caught:
        levels(DDIMScheduler(), t)
    assert caught.value.exit is Exit.USAGE


@pytest.mark.parametrize("t", [0, 1, 150, 999, 1000])
def test_a_flow_mixes_image_and_noise(t):
    """As diffusers' own scale_noise does at the same timestep."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    signal, noise = levels(scheduler, t)
    assert (signal, noise) == (1 - t / 1000, t / 1000)
    assert sigma(scheduler, t) == (math.inf if t == 1000 else noise / signal)
    if t not in (0,):
        clean, eps = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(t))
        expected = scheduler.scale_noise(clean, torch.full((3,), float(t)), eps)
        torch.testing.assert_close(add_noise(clean, eps, (signal, noise)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("t", [-1, 1001])
def test_a_timestep_outside_a_flow_is_refused(t):
    with pytest.raises(MemdetectError, match=f"timestep {t} is outside the model's schedule; expected 0 to 1000"):
        levels(FlowMatchEulerDiscreteScheduler(), t)


def test_a_schedule_of_an_unknown_kind_is_refused_by_name():
    with pytest.raises(MemdetectError, match="the noise of CMStochasticIterativeScheduler at a timestep is not known"):
        levels(CMStochasticIterativeScheduler(), 50)


def test_a_fingerprint_tells_schedules_apart():
    found = {fingerprint(s) for s in (*SCHEDULERS.values(), FlowMatchEulerDiscreteScheduler())}
    assert len(found) == 4
    assert fingerprint(DDIMScheduler()) == fingerprint(DDIMScheduler(clip_sample=False))
    betas = [fingerprint(DDIMScheduler(trained_betas=[b] * 1000)) for b in (0.001, 0.002)]
    assert len({*betas, fingerprint(DDIMScheduler(rescale_betas_zero_snr=True)), fingerprint(DDIMScheduler())}) == 4


def test_a_fingerprint_is_that_of_every_processor():
    """The table's last bits are not: a calibration made on one machine would be refused on the next."""
    here, elsewhere = DDIMScheduler(), DDIMScheduler()
    elsewhere.alphas_cumprod = elsewhere.alphas_cumprod * (1 + 1e-7)
    assert not torch.equal(here.alphas_cumprod, elsewhere.alphas_cumprod)
    assert fingerprint(here) == fingerprint(elsewhere)
