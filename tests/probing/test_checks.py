"""What a run cannot give a detector is said in one line, before the network runs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from recorded_calls import recorded
from tiny_adapters import tiny_adapter
from tiny_stable import tiny_stable_diffusion

from memdetect.adapters import load
from memdetect.detectors import BUILT_IN, agreement_pictures, find
from memdetect.detectors.choice import chosen
from memdetect.detectors.detector import Detector
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import Sampler, checks
from memdetect.probing.checks import check_run
from memdetect.probing.needs import FIRST, Need, Window

SAMPLER = Sampler(4, 3.0, 2)


def pipe_of(name: str, folder: Any, **schedule: Any) -> Any:
    if name not in ("sd-epsilon", "sd-v"):
        return tiny_adapter(name, folder)
    prediction = "epsilon" if name == "sd-epsilon" else "v_prediction"
    pipe = tiny_stable_diffusion(folder, prediction)
    if schedule:
        pipe.scheduler = DDIMScheduler(prediction_type=prediction, clip_sample=False, **schedule)
    return pipe


def reading(need: Need) -> Detector:
    return replace(find(["noise-gap"])[0], name="mine", needs=(need,))


ATTENTION = reading(Need(lambda maps: maps, FIRST, "attention"))
ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
REFUSED: dict[str, tuple[str, dict[str, Any], Detector | str, dict[str, Any], str]] = {
    "one seed": ("sd-epsilon", {}, "agreement", {"num_seeds": 1}, "compares the images of a prompt with each other"),
    "one seed, finished": ("sd-epsilon", {}, "agreement-final", {"num_seeds": 1}, "give --num-seeds 2 or more"),
    "no such level": (
        "sd-epsilon",
        {},
        reading(Need(lambda step: step.x, Window("at", 1e-4))),
        {},
        "at a noise level (noise over signal) of at most 0.0001 is needed, the 4 steps of this run end at 0.01",
    ),
    "one step is no way": (
        "sd-epsilon",
        {},
        "trajectory",
        {"steps": 2},
        "compares 2 steps or more, and this run has 1",
    ),
    "no signal": ("sd-epsilon", ZERO, "sharpness", {}, "reads a step without signal (abar = 0)"),
    "no signal on the way": ("sd-epsilon", ZERO, "noise-gap", {}, "reads a step without signal (abar = 0)"),
    "no guidance": (
        "sd-v",
        {},
        "noise-gap",
        {"guidance_scale": 1.0},
        "guidance 1 runs none; give --guidance-scale above",
    ),
    "flux without a scale": ("flux-true-cfg", {}, "noise-gap", {}, "give true_cfg_scale above 1 and a negative_prompt"),
    "distilled": ("lcm", {}, "dcs", {}, "needs the unconditional branch, but guidance is distilled into the network"),
    "distilled flux": ("flux-distilled", {}, "noise-gap", {}, "but guidance is distilled into the network"),
    "no condition": ("ddim", {}, "noise-gap", {}, "but the model takes no condition"),
    "joint attention": ("sd3", {}, ATTENTION, {}, "no layer of its own for it (joint attention, or no text)"),
    "no text": ("ddim", {}, ATTENTION, {}, "no layer of its own for it (joint attention, or no text)"),
}


@pytest.mark.parametrize(("name", "schedule", "asked", "changes", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_measured_is_refused_in_one_line_before_the_network_runs(
    name, schedule, asked, changes, said, tmp_path
):
    model = load(pipe_of(name, tmp_path, **schedule))
    (detector,) = find([asked]) if isinstance(asked, str) else (asked,)
    with recorded(model.denoiser) as calls, pytest.raises(MemdetectError) as caught:
        check_run(model, replace(SAMPLER, **changes), (find(["spikiness"])[0], detector))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"detector {detector.name!r} ")
    assert "\n" not in str(caught.value)
    assert (calls, caught.value.exit) == ([], Exit.USAGE)
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.denoiser.modules())


BRANCHLESS = {"lcm", "flux-distilled", "flux-true-cfg", "ddpm", "ddim"}
TEXTLESS = {"dit", "ddpm", "ddim"}
JOINT = {"sd3", "flux-distilled", "flux-true-cfg", *TEXTLESS}  # or no text to attend to


def refused(name: str, detector: Detector) -> str:
    """What a family's usual run says to a detector that it cannot serve; "" to one that it can."""
    if detector.unconditional and name in BRANCHLESS:
        return "needs the unconditional branch"
    if any(need.where in ("attention", "values") for need in detector.needs) and name in JOINT:
        return "no layer of its own for it"
    if any(need.where == "text" or need.embedding for need in detector.needs) and name in TEXTLESS:
        return "reads the numbers that stand for a prompt"
    return "compares embeddings of the images: no weights" if detector.name == "agreement-embedder" else ""


def test_what_can_be_measured_passes_without_a_run_of_the_network(adapter_pipe, request, monkeypatch, tmp_path):
    for variable in ("MEMDETECT_SSCD", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(agreement_pictures, "installed", lambda: False)
    model, name = load(adapter_pipe), request.node.callspec.params["adapter_pipe"]
    sampler = replace(SAMPLER, steps=8)
    with recorded(model.denoiser) as calls:
        check_run(model, sampler, [d for d in BUILT_IN if not refused(name, d)])
        for detector in BUILT_IN:
            if said := refused(name, detector):
                with pytest.raises(MemdetectError, match=said) as caught:
                    check_run(model, sampler, (detector,))
                assert str(caught.value).startswith(f"detector {detector.name!r} ")
                assert "\n" not in str(caught.value)
    assert calls == []


def test_a_network_that_predicts_velocities_is_read_where_no_signal_is_left(tmp_path):
    model = load(pipe_of("sd-v", tmp_path, **ZERO))
    check_run(model, SAMPLER, find(["sharpness", "noise-gap", "dcs"]))


def test_a_pipeline_that_refuses_its_arguments_is_a_usage_error_of_one_line(pipe):
    sampler = replace(SAMPLER, call={"negative_prompt": ["x", "y"]})
    with pytest.raises(
        MemdetectError, match=r"fails with the arguments negative_prompt of --call \(ValueError: "
    ) as caught:
        check_run(load(pipe), sampler, find(["agreement"]))
    assert (caught.value.exit, "\n" in str(caught.value)) == (Exit.USAGE, False)


def test_a_dit_of_other_classes_has_no_branch_to_compare_with(tmp_path):
    model = load(tiny_adapter("dit", tmp_path))
    check_run(model, SAMPLER, find(["noise-gap"]))
    model.denoiser.register_to_config(num_embeds_ada_norm=10)
    with pytest.raises(MemdetectError, match="but the model has other classes than its pipeline's null class"):
        check_run(model, SAMPLER, find(["noise-gap"]))


@pytest.mark.parametrize(
    ("steps", "seeds", "banked", "expected"),
    [
        (4, 2, True, ["specificity", "agreement", "spikiness"]),
        (4, 2, False, ["agreement", "spikiness"]),
        (1, 2, True, ["agreement-final", "spikiness"]),
        (4, 1, True, ["spikiness"]),
    ],
)
def test_the_usual_detectors_are_those_that_pass(pipe, steps, seeds, banked, expected, monkeypatch):
    """A single step of this schedule is at t = 1 of leading spacing, or at the very start of trailing."""
    monkeypatch.setattr(pipe, "scheduler", DDIMScheduler(clip_sample=False, timestep_spacing="trailing"))
    found = chosen(load(pipe), Sampler(steps, 3.0, seeds), banked=banked)
    assert [detector.name for detector in found] == expected


def test_a_fault_of_the_call_is_no_reason_for_other_detectors(pipe):
    """Mutant: whatever the pipeline raises is taken for a run without an early step."""
    sampler = replace(SAMPLER, call={"negative_prompt": ["x", "y"]})
    with pytest.raises(MemdetectError, match=r"fails with the arguments negative_prompt of --call \(ValueError: "):
        chosen(load(pipe), sampler, banked=False)


@pytest.mark.parametrize(
    ("steps", "seeds", "asked", "images", "started"),
    [
        (4, 2, [], False, 1),
        (1, 2, [], False, 1),
        (4, 1, [], False, 1),
        (4, 2, [], True, 0),
        (4, 2, ["spikiness"], False, 1),
        (4, 2, ["dcs", "agreement"], False, 1),
    ],
)
def test_to_choose_and_check_detectors_a_pipeline_is_started_once_at_most(
    pipe, steps, seeds, asked, images, started, monkeypatch
):
    monkeypatch.setattr(pipe, "scheduler", DDIMScheduler(clip_sample=False, timestep_spacing="trailing"))
    begun: list[int] = []
    own = checks.run_sigmas
    monkeypatch.setattr(checks, "run_sigmas", lambda *given: begun.append(1) or own(*given))
    chosen(load(pipe), Sampler(steps, 3.0, seeds), find(asked), banked=False, images=images)
    assert len(begun) == started


@pytest.mark.parametrize(
    ("sigmas", "said"),
    [
        ([torch.inf], "the only step of this run is at noise without any signal; give --steps 2 or more"),
        ([9.0], "the only step of this run is at 9; give --steps 2 or more"),
        ([torch.inf, 100.0], "the 2 steps of this run end at 100; give --steps 3 or more"),
    ],
)
def test_a_level_that_is_not_reached_is_said_in_plain_words(sigmas, said):
    with pytest.raises(MemdetectError) as caught:
        Window("at", 8.0).steps(sigmas)
    assert str(caught.value).endswith(f"of at most 8 is needed, {said}")


def test_windows_by_hand():
    sigmas = (100.0, 9.0, 8.0, 3.0, 0.1)
    windows = {
        Window("first"): [0],
        Window("last"): [4],
        Window("run"): [0, 1, 2, 3, 4],
        Window("after"): [],
        Window("at", 8.0): [2],
        Window("at", 7.9): [3],
        Window("until", 8.0): [0, 1, 2],
        Window("until", 1000.0): [0],
    }
    assert {window: list(window.steps(sigmas)) for window in windows} == windows
    with pytest.raises(
        MemdetectError, match=r"of at most 0\.05 is needed, the 5 steps of this run end at 0\.1; give --ste"
    ):
        Window("at", 0.05).steps(sigmas)
    assert torch.inf > max(sigmas)
