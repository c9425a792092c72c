"""Probing prompts: one run serves all detectors, and is ended or finished as they need it."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hand_made import random_bank
from recorded_calls import recorded
from tiny_adapters import tiny_adapter

from memdetect.adapters import Model, load
from memdetect.detectors import BUILT_IN, PIAN, find
from memdetect.detectors.agreement import EARLY_CLEAN
from memdetect.detectors.choice import with_bank
from memdetect.detectors.detector import Detector
from memdetect.probing import Probe, Sampler, probe_images, probe_prompts, quiet
from memdetect.probing.attention import cross_attentions
from memdetect.probing.hooks import CHANNEL_MAX, channel_max
from memdetect.probing.needs import AFTER, FIRST, Need
from memdetect.probing.steps import Step
from memdetect.probing.trace import Trace

PROMPTS, SAMPLER = ["a cat", "a red dog"], Sampler(4, 3.0, 2, batch_size=3)


def probed(pipe: Any, detectors: tuple[Detector, ...], images: bool = False, **changes: Any) -> Trace:
    model = load(pipe)
    return probe_prompts(
        model, PROMPTS, sampler=SAMPLER, probe=Probe.at(model, detectors=detectors, **changes), images=images
    )


def mine(*needs: Need) -> Detector:
    def score(trace: Trace) -> torch.Tensor:
        return trace.need(needs[0])[""][0]

    return Detector("mine", needs, score, "1", "nobody", "nobody2026")


def test_one_run_serves_all_detectors(pipe):
    """As many passes as the run itself has and each finished image takes, and what each gives alone."""
    wanted = tuple(d for d in BUILT_IN if not any(need.further or need.lacks for need in d.needs))
    model = load(pipe)
    probe = Probe.at(model, detectors=wanted)
    with recorded(model.denoiser) as calls:
        trace = probe_prompts(model, PROMPTS, sampler=SAMPLER, probe=probe, images=False)
    assert len(calls) == 2 * (4 + 0)  # two batches; a probe at a finished image ends inside its pass
    assert "further_passes" not in trace.notes
    bank = random_bank()
    numbers = trace.output(EARLY_CLEAN)[0, 0, 0].numel()
    pictures = torch.zeros(30, numbers).half()
    ways = torch.ones(2, sum(s > 4.5 for s in trace.run_sigmas))
    neurons = {name: torch.ones(2, module.to_v.out_features) for name, module in cross_attentions(pipe.unet).items()}
    bound = with_bank(wanted, type(bank)(bank.families, pictures, ways, neurons))
    for detector in (d for d in bound if not d.of_images or d.name == "spikiness"):
        alone = probed(pipe, (detector,))
        torch.testing.assert_close(detector.score(alone), detector.score(trace), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "images", "passes", "latents"),
    [
        (["sharpness"], False, 1, False),
        (["agreement"], False, 2, False),
        (["noise-gap", "sharpness"], False, 2, False),
        (["sharpness"], True, 4, True),
        (["agreement-final"], False, 4, True),
        (["agreement-final", "agreement"], False, 4, True),
    ],
)
def test_a_run_ends_after_the_last_step_needed_unless_its_images_are(pipe, names, images, passes, latents):
    model = load(pipe)
    probe = Probe.at(model, detectors=find(names))
    with recorded(model.denoiser) as calls:
        trace = probe_prompts(model, PROMPTS, sampler=SAMPLER, probe=probe, images=images)
    assert len(calls) == 2 * passes
    assert (trace.latents is not None) is latents
    assert (trace.shape, trace.timesteps) == ((2, 2), ())


def test_axes_are_step_item_seed_and_levels_are_written_down(pipe):
    trace = probed(pipe, (*find(["noise-gap", "agreement"]), mine(Need(channel_max, FIRST, "features"))))
    shapes = {need.name: tuple(array.shape) for (need, _), array in trace.arrays.items()}
    assert shapes == {"gap_norm": (2, 2, 2), "clean": (1, 2, 2, 4, 8, 8), "channel_max": (1, 2, 2, 16)}
    kept = pipe.scheduler.alphas_cumprod[pipe.scheduler.timesteps].double().numpy()
    np.testing.assert_allclose(trace.run_sigmas, np.sqrt((1 - kept) / kept), rtol=1e-5)
    assert {layer for need, layer in trace.arrays if need.where == "features"} == {
        "up_blocks.0.resnets.0",
        "up_blocks.0.resnets.1",
    }


def test_further_passes_are_counted_over_all_batches(pipe):
    def thrice(step: Step) -> torch.Tensor:
        """One forwards, one forwards and backwards."""
        step.gradient(lambda other: other.cond.flatten(1).sum(dim=1))
        return step.at(step.x + 1).gap.flatten(1).norm(dim=1)

    trace = probed(pipe, (mine(Need(thrice, FIRST)),))
    assert trace.notes == {"halved": [], "further_passes": 3 * 2}
    assert probed(pipe, (PIAN,)).notes["further_passes"] == 2 * 2


def test_what_comes_after_the_last_step_makes_the_run_whole(pipe):
    need = Need(lambda step: step.at(step.x, 0).cond.flatten(1).sum(dim=1), AFTER)
    trace = probed(pipe, (mine(need),))
    assert trace.latents is not None
    assert trace.output(need).shape == (1, 2, 2)


def eps(pipe: Any, x: torch.Tensor, t: int, prompt: str) -> torch.Tensor:
    """The network's noise under a prompt, by an explicit call."""
    text = pipe.encode_prompt(prompt, "cpu", 1, False)[0].expand(len(x), -1, -1)
    out = pipe.unet(x, torch.tensor(t), encoder_hidden_states=text).sample
    if pipe.scheduler.config.prediction_type == "epsilon":
        return out
    kept = pipe.scheduler.alphas_cumprod[t]
    return kept.sqrt() * out + (1 - kept).sqrt() * x


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_pian_is_its_paper_by_explicit_calls(any_pipe, guidance):
    """Kong et al. (2024): e = eps(x0, 0), |e| of mean sqrt(2 / pi), and the fourth power of ||e - eps(x_t, t)||_4."""
    model = load(any_pipe)
    sampler = Sampler(3, guidance, 2)
    trace = probe_prompts(model, PROMPTS, sampler=sampler, probe=Probe.at(model, detectors=(PIAN,)), images=False)
    assert trace.latents is not None
    kept = any_pipe.scheduler.alphas_cumprod[200]
    with torch.no_grad():
        for item, prompt in enumerate(PROMPTS):
            for seed in range(2):
                x = trace.latents[item, seed][None]
                first = eps(any_pipe, x, 0, prompt)
                noise = first / first.abs().mean() * math.sqrt(2 / math.pi)
                again = eps(any_pipe, kept.sqrt() * x + (1 - kept).sqrt() * noise, 200, prompt)
                expected = -((noise - again) ** 4).sum()
                torch.testing.assert_close(PIAN.score(trace)[item, seed], expected, rtol=1e-3, atol=1e-4)


def test_pian_shows_an_edm_network_the_image_in_its_own_unit(tmp_path):
    """Over sigma_data, the limit of c_in * x0 without noise."""
    pipe = tiny_adapter("edm-karras", tmp_path)
    model, kept = load(pipe), list[torch.Tensor]()
    probe = Probe.at(model, detectors=(PIAN,))
    with recorded(model.denoiser) as calls:
        trace = probe_prompts(model, PROMPTS[:1], sampler=Sampler(2, 3.0, 1), probe=probe, images=False)
    kept = [call.x for call in calls]
    assert len(kept) == 4
    torch.testing.assert_close(kept[2][:1], trace.latents[0] / 0.5)


def output_mean(step: Step) -> torch.Tensor:
    return step.clean.flatten(1).mean(dim=1)


def unconditional(model: Model, x: torch.Tensor, t: int) -> torch.Tensor:
    text = model.pipe.encode_prompt("", "cpu", 1, False)[0].expand(len(x), -1, -1)
    return model.pipe.unet(x, torch.tensor(t), encoder_hidden_states=text).sample


def test_finished_images_are_read_at_the_output_as_well(pipe):
    """The only branch is the one without a prompt; with and without features beside it."""
    model, latents = load(pipe), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    steps, need = list[Step](), Need(output_mean)

    def keep(step: Step) -> torch.Tensor:
        steps.append(step)
        return step.x.flatten(1)

    seen = Need(keep)
    probe = Probe.at(model, detectors=(mine(need, seen),), timesteps=[50, 300])
    assert probe.points == ()
    sampler = Sampler(2, 3.0, 1)
    trace = probe_images(model, latents=latents, sampler=sampler, probe=probe)
    kept = pipe.scheduler.alphas_cumprod[[50, 300]]
    with torch.no_grad():
        for i, t in enumerate((50, 300)):
            x = trace.output(seen)[i, :, 0].view(2, 4, 8, 8)
            clean = (x - (1 - kept[i]).sqrt() * unconditional(model, x, t)) / kept[i].sqrt()
            torch.testing.assert_close(trace.output(need)[i, :, 0], clean.flatten(1).mean(dim=1), rtol=1e-4, atol=1e-5)
    assert [step.uncond for step in steps] == [None, None]
    beside = Probe.at(model, detectors=(mine(need, CHANNEL_MAX),), timesteps=[50, 300])
    again = probe_images(model, latents=latents, sampler=sampler, probe=beside)
    torch.testing.assert_close(again.output(need), trace.output(need))
    assert again.layers == ("up_blocks.0.resnets.0", "up_blocks.0.resnets.1")


def test_features_of_the_run_do_not_concern_finished_images(pipe):
    """One detector reads layers in the run, another the output of the finished image."""
    of_run, of_image = Need(channel_max, FIRST, "features"), Need(output_mean)
    trace = probed(pipe, (mine(of_image), mine(of_run)), timesteps=[50])
    assert trace.layers == ()
    assert trace.output(of_image).shape == (1, 2, 2)
    assert set(trace.need(of_run)) == {"up_blocks.0.resnets.0", "up_blocks.0.resnets.1"}


def test_a_finished_image_is_asked_about_and_differentiated(tmp_path):
    """A single image, so that the recorded conditions are used as they are, not repeated."""
    pipe, found = tiny_adapter("sdxl", tmp_path), list[tuple[torch.Tensor, torch.Tensor]]()

    def ask(step: Step) -> torch.Tensor:
        def value(other: Step) -> torch.Tensor:
            return other.cond.square().flatten(1).mean(dim=1)

        direction = torch.ones_like(step.x) / step.x[0].numel() ** 0.5
        h = 0.02
        slope = (value(step.at(step.x + h * direction)) - value(step.at(step.x - h * direction))) / (2 * h)
        found.append((slope, (step.gradient(value) * direction).flatten(1).sum(dim=1)))
        assert torch.equal(step.at(step.x).cond, step.cond)
        kept = float(pipe.scheduler.alphas_cumprod[900])
        assert step.at(step.x, 900).level == pytest.approx((math.sqrt(kept), math.sqrt(1 - kept)))
        return slope

    model, latents = load(pipe), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    probe = Probe.at(model, detectors=(mine(Need(ask)),), timesteps=[300])
    with quiet():
        probe_images(model, latents=latents, sampler=Sampler(2, 3.0, 1), probe=probe)
    slope, gradient = found[-1]
    torch.testing.assert_close(gradient, slope, rtol=0.05, atol=1e-4)
    assert slope.abs().min() > 1e-4
