"""What a plan takes: passes of the denoiser for each image, and the time that they take at the calibration's pace."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from synthetic_runs import calibration, plan_of

from memdetect.adapters import load
from memdetect.detectors import find
from memdetect.probing import Probe, Sampler, probe_prompts
from memdetect.scanning.costs import Effort, cost_lines, levels_in

LEVELS = [100.0, 9.0, 7.0, 3.0, 0.1]


@pytest.mark.parametrize(
    ("names", "changes", "passes"),
    [
        (["spikiness"], {}, 2 * 5 + 1),
        (["spikiness"], {"timesteps": 3}, 2 * 5 + 3),
        (["spikiness"], {"guidance_scale": 1.0}, 5 + 1),
        (["spikiness"], {"kept": False}, 2 * 5 + 1),  # a finished image is what it reads
        (["agreement"], {}, 2 * 5),
        (["agreement"], {"kept": False}, 2 * 3),
        (["agreement"], {"kept": False, "levels": ()}, 2 * 5),  # at most
        (["sharpness"], {"kept": False}, 2 * 1),
        (["sharpness"], {"kept": False, "levels": ()}, 2 * 1),
        (["noise-gap", "dcs", "sharpness"], {"kept": False}, 2 * 3),
        (["agreement-final"], {"kept": False}, 2 * 5),
        (["pian"], {"kept": False}, 2 * (5 + 2)),
        (["pian", "spikiness"], {"guidance_scale": 1.0}, 5 + 2 + 1),
        (["gap-sharpness", "gap-sharpness-jvp"], {"kept": False, "levels": ()}, 2 * (5 + 5 * (1 + 2))),  # at most
        (["loss", "clid", "flipd"], {"kept": False}, 2 * (5 + 1 + 1 + 9)),
        (["text-norm", "anisotropy"], {"kept": False}, 2 * (1 + 1)),
        (["curvature-gap"], {"kept": False}, 2 * (5 + 8)),
        (["agreement-pixels", "bright-ending"], {"kept": False}, 2 * 5),
    ],
)
def test_passes_are_those_of_the_run_of_what_captures_ask_and_of_the_probes(
    names: Sequence[str], changes: dict[str, Any], passes: int
) -> None:
    plain: dict[str, Any] = {"steps": 5, "guidance_scale": 3.0, "levels": LEVELS}
    assert Effort(find(tuple(names)), **{**plain, **changes}).passes == passes


@pytest.mark.parametrize("kept", [True, False])
def test_passes_are_as_many_as_the_network_runs(pipe: Any, kept: bool, tmp_path: Path) -> None:
    """Rows that go through the denoiser, counted."""
    model, sampler = load(pipe), Sampler(8, 3.0, 2)
    pipe.scheduler.save_pretrained(tmp_path / "scheduler")
    rows: list[int] = []
    for detector in find(
        ("agreement", "sharpness", "pian", "spikiness", "gap-sharpness", "anisotropy", "loss", "clid", "dsm")
    ):
        probe = Probe.at(model, detectors=(detector,))
        rows.clear()
        hook = model.denoiser.register_forward_pre_hook(
            lambda _module, args, more: rows.append(len(args[0] if args else more["sample"])), with_kwargs=True
        )
        try:
            probe_prompts(model, ["a cat"], sampler=sampler, probe=probe, images=kept)
        finally:
            hook.remove()
        effort = Effort((detector,), 8, 3.0, len(probe.timesteps), kept, levels_in(tmp_path, 8))
        assert sum(rows) == 2 * effort.passes, detector.name


def test_levels_are_those_of_the_schedule_beside_the_weights(tmp_path: Path) -> None:
    assert levels_in(None, 4) == levels_in(tmp_path, 4) == ()
    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.save_pretrained(tmp_path / "scheduler")
    scheduler.set_timesteps(4)
    kept = scheduler.alphas_cumprod[scheduler.timesteps]
    torch.testing.assert_close(torch.tensor(levels_in(tmp_path, 4)), ((1 - kept) / kept).sqrt(), rtol=1e-5, atol=0)


def test_time_goes_with_the_passes_that_are_planned() -> None:
    """Mutant: the pace of the calibration for each image, whatever the steps."""
    clean = calibration({"spikiness": [1.0, 2.0]})
    made = plan_of().settings
    clean = clean.model_copy(update={"provenance": {"seconds_per_image": 1.0, "device": "cpu"}})
    twice = Effort(find(("spikiness",)), 2 * made.steps, made.guidance_scale)
    branches = 2 if made.guidance_scale > 1 else 1
    seconds = 100 * (branches * 2 * made.steps + 1) / (branches * made.steps + 1)
    line, _ = cost_lines(100, 0, twice, clean, None)
    assert f"{100 * twice.passes} passes of the denoiser; about " in line
    assert f"about {seconds / 60:.0f} min " in line if seconds >= 120 else f"about {seconds:.0f} s " in line
    given, _ = cost_lines(0, 100, twice, clean, None)
    assert given.startswith("100 images, 100 passes of the denoiser; about ")
