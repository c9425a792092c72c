"""Signal and noise at a timestep, against closed forms and against diffusers' own schedulers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from memdetect.adapters.prediction import kind_of, predicted
from memdetect.adapters.schedule import add_noise, fingerprint, level_of_step, levels, sigma
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


CURVE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPPING: dict[str, Any] = {
    "ddim": DDIMScheduler(**CURVE, clip_sample=False),
    "ddim trailing": DDIMScheduler(**CURVE, clip_sample=False, timestep_spacing="trailing"),
    "euler": EulerDiscreteScheduler(**CURVE),
    "euler leading": EulerDiscreteScheduler(**CURVE, timestep_spacing="leading", steps_offset=1),
    "euler karras": EulerDiscreteScheduler(**CURVE, use_karras_sigmas=True),
    "euler v": EulerDiscreteScheduler(**CURVE, prediction_type="v_prediction"),
    "euler ancestral": EulerAncestralDiscreteScheduler(**CURVE),
    "heun": HeunDiscreteScheduler(**CURVE),
    "dpm++": DPMSolverMultistepScheduler(**CURVE),
    "dpm++ karras": DPMSolverMultistepScheduler(**CURVE, use_karras_sigmas=True),
    "dpm++ karras v": DPMSolverMultistepScheduler(**CURVE, use_karras_sigmas=True, prediction_type="v_prediction"),
    "dpm++ flow": DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
    "unipc karras": UniPCMultistepScheduler(**CURVE, use_karras_sigmas=True),
    "flow": FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow heun": FlowMatchHeunDiscreteScheduler(shift=3.0),
    "edm": EDMEulerScheduler(),
    "edm dpm": EDMDPMSolverMultistepScheduler(sigma_data=0.7),
}


def own_clean(scheduler: Any, number: int, output: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """x0-hat that the scheduler itself works out at a step, from the run's own sample."""
    timestep, kind = scheduler.timesteps[number], type(scheduler).__name__
    if kind.startswith("FlowMatch"):
        return sample - scheduler.sigmas[number] * output
    if "MultistepScheduler" in kind:
        scheduler._step_index = number
        return scheduler.convert_model_output(output, sample=sample)
    return scheduler.step(output, timestep, sample).pred_original_sample


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("scheduler", STEPPING.values(), ids=STEPPING)
def test_a_level_of_a_step_is_what_the_scheduler_itself_predicts_with(scheduler, count):
    """Also where sigmas lie between those of two timesteps, or timesteps are rounded."""
    scheduler.set_timesteps(count)
    random = torch.Generator().manual_seed(count)
    for i, t in enumerate(scheduler.timesteps):
        sample, output = torch.randn(2, 1, 4, 8, 8, generator=random)
        scheduler._step_index = i if hasattr(scheduler, "_step_index") else None
        shown = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
        found = predicted(output, shown, level_of_step(scheduler, i), kind_of(scheduler)).clean
        scheduler._step_index = i
        expected = own_clean(scheduler, i, output, sample)
        # Heun's second pass of a step is read by its timestep alone.
        between = isinstance(scheduler, HeunDiscreteScheduler)
        torch.testing.assert_close(
            found, expected, rtol=0, atol=(1e-2 if between else 1e-5) * float(expected.abs().max())
        )


def test_rounded_timesteps_of_karras_are_not_where_the_sample_is():
    """What makes the sigmas needed: the level of the timestep that DPM++ tells the network is another one."""
    scheduler = DPMSolverMultistepScheduler(**CURVE, use_karras_sigmas=True)
    scheduler.set_timesteps(10)
    apart = [
        sigma(scheduler, int(t)) / (level_of_step(scheduler, i)[1] / level_of_step(scheduler, i)[0])
        for i, t in enumerate(scheduler.timesteps)
    ]
    assert max(abs(ratio - 1) for ratio in apart) > 0.01


def test_a_timestep_between_two_of_the_training_is_interpolated():
    """Without sigmas of its own, as of second order; ln(sigma) in between is that of the neighbours, weighed."""
    scheduler = HeunDiscreteScheduler(**CURVE)
    scheduler.set_timesteps(7)
    between = [(i, float(t)) for i, t in enumerate(scheduler.timesteps) if not float(t).is_integer()]
    assert between
    for i, t in between:
        low, high = sigma(scheduler, math.floor(t)), sigma(scheduler, math.ceil(t))
        expected = math.exp(np.interp(t, [math.floor(t), math.ceil(t)], [math.log(low), math.log(high)]))
        signal, noise = level_of_step(scheduler, i)
        assert noise / signal == pytest.approx(expected)
        assert signal**2 + noise**2 == pytest.approx(1)


def test_a_step_without_signal_has_none():
    scheduler = DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    scheduler.set_timesteps(4)
    assert level_of_step(scheduler, 0) == (0.0, 1.0)


@pytest.mark.parametrize("steps", [1, 4])
def test_levels_of_lcm_are_those_of_its_timesteps(steps):
    scheduler = LCMScheduler()
    scheduler.set_timesteps(steps)
    for i, t in enumerate(scheduler.timesteps):
        kept = float(scheduler.alphas_cumprod[int(t)])
        assert level_of_step(scheduler, i) == pytest.approx((math.sqrt(kept), math.sqrt(1 - kept)))
