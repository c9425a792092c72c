"""What a run cannot give a detector is said in one line, before the network runs."""

import re
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
from memdetect.inputs.options import Sampling
from memdetect.probing import Sampler, checks
from memdetect.probing.batches import Batching
from memdetect.probing.checks import check_run
from memdetect.probing.needs import FIRST, Need, Window
from memdetect.probing.sampling import sample_latents
from memdetect.scanning.prepare import sampler_of

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
AVOIDED = "compares with no prompt, and --call negative_prompt changes that branch; leave out the argument or the detec"
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
    "a prompt to avoid": ("sd-epsilon", {}, "noise-gap", {"call": {"negative_prompt": "red"}}, AVOIDED),
    "an embedded prompt to avoid": (
        "sd-epsilon",
        {},
        "bright-ending",
        {"call": {"negative_prompt_embeds": torch.zeros(1, 12, 16)}},
        AVOIDED.replace("negative_prompt", "negative_prompt_embeds"),
    ),
    "a further prompt to avoid": (
        "sd3",
        {},
        "last-gap",
        {"call": {"negative_prompt_3": "red"}},
        AVOIDED.replace("negative_prompt", "negative_prompt_3"),
    ),
    "sizes to avoid": (
        "sdxl",
        {},
        "dcs",
        {"call": {"negative_original_size": (8, 8), "negative_target_size": (8, 8)}},
        AVOIDED.replace("negative_prompt", "negative_original_size"),
    ),
    "an empty prompt where none is zeros": ("sdxl", {}, "clid", {"call": {"negative_prompt": ""}}, AVOIDED),
    "flux and a prompt to avoid": (
        "flux-true-cfg",
        {},
        "noise-gap",
        {"call": {"true_cfg_scale": 3.0, "negative_prompt": "red"}},
        AVOIDED,
    ),
    "rescaled": (
        "sd-epsilon",
        {},
        "dcs",
        {"call": {"guidance_rescale": 0.7}},
        "reads the guided output, which guidance_rescale changes; leave out the argument or the detector",
    ),
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


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("sd-epsilon", {"negative_prompt": "", "guidance_rescale": 0.7}),
        ("sdxl", {"negative_prompt": None, "negative_prompt_2": "", "guidance_rescale": 0.0}),
        ("sd3", {"negative_prompt": "", "negative_prompt_2": ""}),
        ("pixart", {"negative_prompt": ""}),
        ("flux-true-cfg", {"negative_prompt": "", "true_cfg_scale": 3.0}),
    ],
)
@pytest.mark.usefixtures("short_texts")
def test_an_empty_prompt_to_avoid_is_none_where_the_pipeline_takes_it_for_none(name, call, tmp_path):
    """And then its branch is that of the bare pipeline, to the last bit."""
    model = load(pipe_of(name, tmp_path))
    sampler = replace(SAMPLER, call=call)
    check_run(model, sampler, find(["noise-gap"]))
    if name != "flux-true-cfg":
        with recorded(model.denoiser) as calls, torch.inference_mode():
            for given in (sampler, SAMPLER):
                sample_latents(model, ["a cat"], [0], replace(given, steps=1), Batching(1))
        assert len(calls) == 2
        assert torch.equal(*(made.given["encoder_hidden_states"] for made in calls))


def test_zeros_are_no_empty_prompt_unless_the_pipeline_says_so(tmp_path):
    model = load(pipe_of("sdxl", tmp_path))
    model.pipe.register_to_config(force_zeros_for_empty_prompt=False)
    check_run(model, replace(SAMPLER, call={"negative_prompt": ""}), find(["noise-gap"]))


def test_what_compares_nothing_may_have_a_prompt_to_avoid(pipe):
    sampler = replace(SAMPLER, call={"negative_prompt": "red", "guidance_rescale": 0.7})
    check_run(load(pipe), sampler, find(["agreement", "sharpness", "spikiness"]))


UNGUIDED = [
    (
        "sd-epsilon",
        1.0,
        {"negative_prompt": "red"},
        "negative_prompt changes nothing at guidance 1; give --guidance-sc",
    ),
    ("sd-epsilon", 0.0, {"guidance_rescale": 0.5}, "guidance_rescale changes nothing at guidance 0; give --guidance-s"),
    (
        "flux-true-cfg",
        3.0,
        {"true_cfg_scale": 4.0},
        "true_cfg_scale changes nothing without a negative_prompt; add --c",
    ),
    (
        "flux-true-cfg",
        3.0,
        {"negative_prompt": "red"},
        "negative_prompt changes nothing at guidance 1; give true_cfg_s",
    ),
]


@pytest.mark.parametrize(("name", "scale", "call", "said"), UNGUIDED)
def test_arguments_of_guidance_without_guidance_are_refused(name, scale, call, said, tmp_path):
    model = load(pipe_of(name, tmp_path))
    with pytest.raises(MemdetectError, match=re.escape(f"pipeline argument {said}")) as caught:
        sampler_of(model, Sampling(guidance_scale=scale, call=call))
    assert (caught.value.exit, "\n" in str(caught.value)) == (Exit.USAGE, False)


def test_a_scale_that_is_no_number_is_for_the_pipeline_to_refuse(tmp_path):
    model, call = load(pipe_of("flux-true-cfg", tmp_path)), {"true_cfg_scale": "much", "negative_prompt": "red"}
    sampler = sampler_of(model, Sampling(call=call))
    with pytest.raises(MemdetectError, match=r"fails with the arguments true_cfg_scale, negative_prompt of --call"):
        check_run(model, sampler, find(["agreement"]))


@pytest.mark.parametrize(
    ("name", "scale", "call"),
    [
        ("sd-epsilon", 1.0, {"negative_prompt": "", "guidance_rescale": 0.0, "height": 32, "width": 32}),
        ("sd-epsilon", 2.0, {"negative_prompt": "red", "guidance_rescale": 0.5}),
        ("flux-true-cfg", 3.0, {"negative_prompt": "red", "true_cfg_scale": 4}),
        ("flux-true-cfg", 3.0, {"true_cfg_scale": 1.0}),
    ],
)
def test_arguments_of_guidance_that_act_or_say_nothing_are_taken(name, scale, call, tmp_path):
    assert sampler_of(load(pipe_of(name, tmp_path)), Sampling(guidance_scale=scale, call=call)).call == call


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
