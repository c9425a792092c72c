"""EDM-preconditioned samplers: sigma and timestep are one thing, and the network sees what its pipeline shows it."""

import json
import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EDMDPMSolverMultistepScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler
from tiny_adapters import tiny_adapter

from memdetect.adapters import load
from memdetect.adapters.prediction import kind_of, predicted
from memdetect.adapters.schedule import fingerprint, levels, network_time, sigma, timestep_at
from memdetect.cli import run
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import Probe, probe_images

SCHEDULERS: dict[str, Any] = {
    "karras": EDMEulerScheduler(),
    "exponential": EDMEulerScheduler(sigma_schedule="exponential", sigma_max=120.0, sigma_data=1.0),
    "v": EDMEulerScheduler(prediction_type="v_prediction"),
    "dpm": EDMDPMSolverMultistepScheduler(sigma_data=0.7, rho=5.0),
}
every_scheduler = pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS)


@pytest.fixture(scope="module", params=["edm-karras", "edm-exponential"])
def edm_pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_adapter(request.param, tmp_path_factory.mktemp("tokenizer"))


@every_scheduler
@pytest.mark.parametrize("t", [0, 1, 250, 777, 1000])
def test_levels_are_those_of_the_preconditioned_input(scheduler, t):
    """c_in and c_noise by diffusers' own functions at diffusers' own sigma."""
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(1001)
    own = fresh.sigmas[1000 - t]
    signal, noise = levels(scheduler, t)
    assert sigma(scheduler, t) == pytest.approx(float(own), rel=2e-4)
    ones = torch.ones(2)
    assert signal == pytest.approx(float(fresh.precondition_inputs(ones, own)[0]), rel=2e-4)
    assert noise == pytest.approx(float(fresh.precondition_inputs(ones * own, own)[0]), rel=2e-4)
    told = network_time(scheduler, torch.tensor([t]))
    assert float(told) == pytest.approx(float(fresh.precondition_noise(own)), abs=1e-4)


@every_scheduler
@pytest.mark.parametrize("t", [0, 300, 1000])
def test_a_prediction_is_diffusers_own(scheduler, t):
    """precondition_outputs of the raw sample, which is the network's input over c_in."""
    x, output = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(t)).double()
    level, own = levels(scheduler, t), sigma(scheduler, t)
    found = predicted(output, x, level, kind_of(scheduler))
    expected = scheduler.precondition_outputs(x / level[0], output, torch.tensor(own).double())
    torch.testing.assert_close(found.clean, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    torch.testing.assert_close(level[0] * found.clean + level[1] * found.noise, x)


def test_with_a_spread_of_one_it_is_v_prediction():
    """x_0 = signal * x - noise * v (Salimans and Ho, 2022), the level being that of any process of variance 1."""
    x, output = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    level = levels(EDMEulerScheduler(sigma_data=1.0), 400)
    assert level[0] ** 2 + level[1] ** 2 == pytest.approx(1)
    one, other = predicted(output, x, level, "edm_v"), predicted(output, x, level, "v_prediction")
    torch.testing.assert_close((one.clean, one.noise, one.score), (other.clean, other.noise, other.score))


def test_a_type_that_the_sampler_cannot_convert_is_refused():
    with pytest.raises(MemdetectError, match="prediction type 'sample' is not known; expected one of epsilon, v_pred"):
        kind_of(EDMDPMSolverMultistepScheduler(prediction_type="sample"))


@pytest.mark.parametrize("scheduler", [*SCHEDULERS.values(), DDIMScheduler(), FlowMatchEulerDiscreteScheduler()])
def test_sigma_and_timestep_are_converted_into_each_other(scheduler):
    for t in (1, 37, 500, 990):
        assert timestep_at(scheduler, sigma(scheduler, t)) == t
        between = math.sqrt(sigma(scheduler, t) * sigma(scheduler, t + 1))
        assert timestep_at(scheduler, between * 0.9999) == t
        assert timestep_at(scheduler, between * 1.0001) == t + 1
    for wrong in (1e-6, 1e6, 0.0, -1.0, math.nan, math.inf):
        with pytest.raises(MemdetectError, match="is outside the model's schedule; expected ") as caught:
            timestep_at(scheduler, wrong)
        assert caught.value.exit is Exit.USAGE


@pytest.mark.parametrize("t", [-1, 1001])
def test_a_timestep_outside_the_curve_is_refused(t):
    with pytest.raises(MemdetectError, match=f"timestep {t} is outside the model's schedule; expected 0 to 1000"):
        levels(EDMEulerScheduler(), t)


def test_fingerprints_tell_curves_apart():
    assert len({fingerprint(s) for s in SCHEDULERS.values()}) == 3  # the sign of the output is no part of the curve


def test_a_probe_shows_the_network_what_the_pipeline_shows_it(edm_pipe):
    """Input and time of the pipeline's eleven steps: one latent behind them all, the schedule's own times."""
    model, calls = load(edm_pipe), list[tuple[torch.Tensor, float]]()

    def keep(_module: Any, args: Any, _kwargs: Any) -> None:
        calls.append((args[0][:1].clone(), float(args[1])))

    start = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    handle = model.denoiser.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.inference_mode():
            edm_pipe("a cat", latents=start, num_inference_steps=11, guidance_scale=1.0, output_type="latent")
    finally:
        handle.remove()
    assert len(calls) == 11
    for i, (_, told) in enumerate(calls):
        assert told == pytest.approx(float(network_time(edm_pipe.scheduler, torch.tensor(1000 - 100 * i))), abs=1e-4)
    seen = list[tuple[torch.Tensor, torch.Tensor]]()
    probe = Probe.at(model, timesteps=[1000, 0])
    handle = model.denoiser.register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append((kwargs["sample"], kwargs["timestep"])), with_kwargs=True
    )
    try:
        probe_images(model, latents=start, probe=probe)
    finally:
        handle.remove()
    (noisy, late), (clean, early) = seen[-2:]
    assert float(late.flatten()[0]) == pytest.approx(calls[0][1], abs=1e-4)
    assert float(early.flatten()[0]) == pytest.approx(calls[-1][1], abs=1e-4)
    assert float(noisy.std()) == pytest.approx(float(calls[0][0].std()), rel=0.25)  # noise alone
    torch.testing.assert_close(clean[:1], start / edm_pipe.scheduler.config["sigma_data"], atol=0.02, rtol=0.02)


def test_the_default_is_the_papers_noise_over_the_datas_spread(edm_pipe):
    model = load(edm_pipe)
    (t,) = model.card.timesteps
    spread = edm_pipe.scheduler.config["sigma_data"]
    assert sigma(edm_pipe.scheduler, t) / spread == pytest.approx(0.176, rel=0.01)


def test_timesteps_and_sigmas_exclude_each_other(edm_pipe):
    with pytest.raises(MemdetectError, match="timesteps and sigmas name the same thing; give one"):
        Probe.at(load(edm_pipe), timesteps=[3], sigmas=[0.1])
    probe = Probe.at(load(edm_pipe), sigmas=[0.1, 0.1, 2.0])
    assert probe.sigmas == pytest.approx((0.1, 2.0), rel=0.01)


def test_the_command_takes_sigmas_and_prints_and_keeps_the_pair(edm_pipe, tmp_path, capsys):
    edm_pipe.save_pretrained(tmp_path / "model", safe_serialization=True)
    (tmp_path / "prompts.txt").write_text("a cat\n", encoding="utf-8")
    given = [str(tmp_path / "prompts.txt"), "--model", str(tmp_path / "model"), "--steps", "2", "--num-seeds", "1"]
    given += ["--device", "cpu", "--sigma", "0.5"]
    assert run(["scan", *given, "--out", str(tmp_path / "run")]) == 0
    t = timestep_at(edm_pipe.scheduler, 0.5)
    pair = f"t={t} (sigma {sigma(edm_pipe.scheduler, t):.3f})"
    assert pair in capsys.readouterr().out.replace("\n", " ")
    held = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert held["plan"]["timesteps"] == [t]
    assert held["sigmas"] == {str(t): pytest.approx(0.5, rel=0.01)}
    assert run(["calibrate", *given, "--out", str(tmp_path / "c.json")]) == 0
    assert f"probed at {pair}" in capsys.readouterr().err
    assert run(["scan", *given, "--out", str(tmp_path / "dry"), "--dry-run"]) == 0
    assert "sigma = 0.5" in capsys.readouterr().out
    assert run(["scan", *given[:-1], "900", "--out", str(tmp_path / "no")]) == 2
    assert "sigma 900 is outside the model's schedule" in capsys.readouterr().err
