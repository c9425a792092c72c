"""A watched sampling run of every adapter: its steps are the pipeline's own, and the pipeline does not notice."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from compiled_pipes import Counted, wrapped
from recorded_calls import Call, Expected, maps, recorded, steps_of, tokens
from tiny_adapters import tiny_adapter
from torch.nn import functional

from memdetect.adapters import Model, load
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import Sampler, quiet
from memdetect.probing.asking import Wanted
from memdetect.probing.batches import Batching
from memdetect.probing.hooks import channel_max
from memdetect.probing.needs import AFTER, FIRST, LAST, RUN, Need, Window
from memdetect.probing.running import run_sigmas
from memdetect.probing.sampling import Sampled, run_arguments, sample_latents, sample_watched
from memdetect.probing.steps import Step, clean

pytestmark = pytest.mark.usefixtures("short_texts")
STEPS, SEEDS = 3, [11, 22, 33]
PROMPTS = {"prompt": ["a cat", "a red dog", "blue"], "label": ["207", "1", "3"], "none": ["", "", ""]}
OTHERS = {"prompt": ["a dog", "photo", "and red"], "label": ["3", "207", "1"], "none": ["", "", ""]}
NO_BRANCH = {"LatentConsistencyModelPipeline", "DDPMPipeline", "DDIMPipeline"}
TRUE_CFG = {"true_cfg_scale": 3.0, "negative_prompt": ""}


def guided(pipe: Any) -> bool:
    distilled = type(pipe).__name__ == "FluxPipeline" and pipe.transformer.config.guidance_embeds
    return not distilled and type(pipe).__name__ not in NO_BRANCH


def sampler(pipe: Any, **changes: Any) -> Sampler:
    call = TRUE_CFG if guided(pipe) and type(pipe).__name__ == "FluxPipeline" else {}
    return replace(Sampler(STEPS, 3.0, 1, call=call), **changes)


def watched(
    pipe: Any, needs: tuple[Need, ...], prompts: Any = PROMPTS, size: int = 8, whole: bool = True, **changes: Any
) -> Sampled:
    model = load(pipe)
    points = model.points(("paper",)) if any(need.where == "features" for need in needs) else ()
    with quiet():
        own = sampler(pipe, **changes)
        wanted = Wanted(needs, points, whole)
        return sample_watched(model, prompts[model.adapter.condition], SEEDS, own, Batching(size), wanted)


def keeping(steps: list[Step]) -> Need:
    def keep(step: Step) -> torch.Tensor:
        steps.append(step)
        return step.x.new_zeros(len(step.x))

    return Need(keep, RUN)


def x(step: Step) -> torch.Tensor:
    return step.x


def cond(step: Step) -> torch.Tensor:
    return step.cond


def uncond(step: Step) -> torch.Tensor:
    return step.cond if step.uncond is None else step.uncond


BRANCHES = tuple(Need(capture, RUN) for capture in (x, cond, uncond))


def hooks(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.denoiser.modules())


@dataclass(frozen=True)
class Own:
    """The pipeline's own run, and the same run watched."""

    pipe: Any
    calls: list[Call]
    expected: list[Expected]
    latents: torch.Tensor
    steps: list[Step]
    made: Sampled
    timesteps: list[float]


@pytest.fixture(scope="module")
def own(adapter_pipe) -> Own:
    model, steps = load(adapter_pipe), list[Step]()
    with quiet(), recorded(model.denoiser) as calls:
        prompts = PROMPTS[model.adapter.condition]
        latents = sample_latents(model, prompts, SEEDS, sampler(adapter_pipe), Batching(8))
    expected = steps_of(adapter_pipe, calls, len(SEEDS), guided=guided(adapter_pipe))
    made = watched(adapter_pipe, (keeping(steps), *BRANCHES))
    return Own(adapter_pipe, calls, expected, latents, steps, made, adapter_pipe.scheduler.timesteps.tolist())


def test_steps_are_those_of_the_pipeline(own):
    assert [step.number for step in own.steps] == list(range(STEPS))
    assert len(own.expected) == STEPS
    for step, expected in zip(own.steps, own.expected, strict=True):
        assert torch.equal(step.x, expected.x)
        assert torch.equal(step.cond, expected.cond)
        assert (step.uncond is None) == (expected.uncond is None) == (not guided(own.pipe))
        assert step.uncond is None or torch.equal(step.uncond, expected.uncond)
    for need, name in zip(BRANCHES, ("x", "cond", "uncond"), strict=True):
        kept = torch.stack([getattr(e, name) if getattr(e, name) is not None else e.cond for e in own.expected])
        assert torch.equal(own.made.arrays[need, ""], kept)


def test_another_prompt_moves_the_conditional_branch_alone(own):
    first, other = own.made, watched(own.pipe, BRANCHES, OTHERS)
    moved = [not torch.equal(first.arrays[need, ""][0], other.arrays[need, ""][0]) for need in BRANCHES]
    conditioned = "Pipeline" in type(own.pipe).__name__ and load(own.pipe).adapter.condition != "none"
    assert moved == [False, conditioned, conditioned and not guided(own.pipe)]


def test_images_are_the_same_to_the_bit_whether_watched_or_not(own):
    assert own.made.latents is not None
    assert torch.equal(own.made.latents, own.latents)
    features = watched(own.pipe, (Need(channel_max, RUN, "features"),))
    assert features.latents is not None
    assert torch.equal(features.latents, own.latents)


def level(scheduler: Any, number: int, timestep: float) -> tuple[float, float]:
    """By each scheduler's own tables, in double precision."""
    name = type(scheduler).__name__
    if name.startswith("FlowMatch"):
        return 1 - float(scheduler.sigmas[number]), float(scheduler.sigmas[number])
    if name.startswith("EDM"):
        own = scheduler.sigmas[number]
        return float(scheduler.precondition_inputs(torch.ones(1), own)), float(scheduler.precondition_inputs(own, own))
    if name.startswith("Euler"):
        own = float(scheduler.sigmas[number])
        return 1 / math.sqrt(1 + own**2), own / math.sqrt(1 + own**2)
    kept = float(scheduler.alphas_cumprod[int(timestep)])
    return math.sqrt(kept), math.sqrt(1 - kept)


def test_levels_are_the_schedulers(own):
    scheduler = own.pipe.scheduler
    expected = [level(scheduler, i, t) for i, t in enumerate(own.timesteps)]
    for step, found in zip(own.steps, expected, strict=True):
        assert step.level == pytest.approx(found, rel=1e-5, abs=1e-7)
    sigmas = [noise / signal if signal else math.inf for signal, noise in expected]
    assert own.made.sigmas == pytest.approx(sigmas, rel=1e-4)
    model = load(own.pipe)
    with recorded(model.denoiser) as calls:
        told = run_sigmas(model, run_arguments(model, sampler(own.pipe), [PROMPTS[model.adapter.condition][0]], [0]))
    assert (calls, hooks(model)) == ([], 0)
    assert tuple(told) == own.made.sigmas


def direct(scheduler: Any, step: Step, output: torch.Tensor) -> torch.Tensor:
    """x0-hat of an output by the formula of the prediction type."""
    signal, noise = step.level
    if type(scheduler).__name__.startswith("EDM"):
        spread = scheduler.sigmas[step.number].double()
        return scheduler.precondition_outputs(step.x.double() / signal, output.double(), spread)
    if type(scheduler).__name__.startswith("FlowMatch"):
        return step.x.double() - noise * output.double()
    if scheduler.config.prediction_type == "v_prediction":
        return signal * step.x.double() - noise * output.double()
    return (step.x.double() - noise * output.double()) / signal


def alike(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Up to a share of the largest number: what sigma = 157 multiplies has its last bits elsewhere."""
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance * float(expected.abs().max()))


def test_clean_estimates_are_those_of_the_formula(own):
    for step in own.steps:
        if step.level[0] == 0:
            continue
        alike(step.clean, direct(own.pipe.scheduler, step, step.cond))
        output = step.cond if step.uncond is None else step.uncond + step.scale * (step.cond - step.uncond)
        alike(step.guided, direct(own.pipe.scheduler, step, output))
        if step.uncond is not None:
            assert step.scale == 3.0
            assert torch.equal(step.gap, step.cond - step.uncond)


@pytest.mark.parametrize("adapter_pipe", ["sd-epsilon", "sd-v", "pixart", "dit", "ddim"], indirect=True)
def test_without_guidance_the_clean_estimate_is_what_ddim_itself_takes(adapter_pipe):
    steps = list[Step]()
    watched(adapter_pipe, (keeping(steps),), guidance_scale=1.0)
    scheduler = adapter_pipe.scheduler
    for step, t in zip(steps, scheduler.timesteps, strict=True):
        assert step.uncond is None
        theirs = scheduler.step(step.cond, t, step.x).pred_original_sample
        mine = step.clean.clamp(-1, 1) if scheduler.config.clip_sample else step.clean
        alike(mine, theirs)
        assert torch.equal(step.guided, step.clean)


def test_guidance_that_is_off_has_one_branch(adapter_pipe):
    steps = list[Step]()
    watched(adapter_pipe, (keeping(steps),), guidance_scale=1.0, call={})
    assert [step.uncond for step in steps] == [None] * STEPS
    with pytest.raises(MemdetectError, match="no unconditional branch"):
        _ = steps[0].gap


def test_features_are_those_of_the_conditional_rows(own):
    """SiLU(norm2) of a U-Net and ff.net.0 of a transformer, by a hook elsewhere, at the first step."""
    model, need, kept = load(own.pipe), Need(channel_max, FIRST, "features"), dict[str, list[torch.Tensor]]()
    names = {p.name: p.name if "ff.net" in p.name else f"{p.name}.norm2" for p in model.points(("paper",))}
    handles = [
        model.denoiser.get_submodule(module).register_forward_hook(
            lambda _m, _a, out, name=name: kept.setdefault(name, []).append(out)
        )
        for name, module in names.items()
    ]
    try:
        found = watched(own.pipe, (need,))
    finally:
        for handle in handles:
            handle.remove()
    assert {layer for _, layer in found.arrays} == set(names)
    for name, module in names.items():
        out = kept[name][0]
        expected = functional.silu(out).amax(dim=(2, 3)) if module.endswith("norm2") else out.amax(dim=1)
        if guided(own.pipe) and len(expected) == 6:
            expected = expected[:3] if type(own.pipe).__name__ == "DiTPipeline" else expected[3:]
        torch.testing.assert_close(found.arrays[need, name], expected[None], rtol=1e-5, atol=1e-6)


def test_no_hook_is_left_also_after_an_error(own):
    def crash(_step: Step) -> torch.Tensor:
        raise ZeroDivisionError

    model = load(own.pipe)
    assert hooks(model) == 0
    for need in (Need(crash, FIRST), Need(lambda _features: crash(own.steps[0]), FIRST, "features")):
        with pytest.raises(ZeroDivisionError):
            watched(own.pipe, (need,))
        assert hooks(model) == 0
    watched(own.pipe, (Need(x, FIRST),), whole=False)
    assert hooks(model) == 0


@pytest.mark.parametrize("last", range(STEPS))
def test_a_run_that_ends_early_makes_the_passes_needed_and_captures_the_same(own, last):
    sigmas = own.made.sigmas
    assert list(sigmas) == sorted(sigmas, reverse=True)
    window = Window("until", sigmas[last] * 1.0001)
    needs = (Need(x, FIRST), Need(cond, window), Need(uncond, window))
    model = load(own.pipe)
    with recorded(model.denoiser) as calls:
        found = watched(own.pipe, needs, whole=False)
    assert len(calls) == (last + 1) * (len(own.calls) // STEPS)
    assert found.latents is None
    assert found.sigmas == sigmas
    for need, whole in zip(needs, BRANCHES, strict=True):
        kept = own.made.arrays[whole, ""][: 1 if need.when == FIRST else last + 1]
        assert torch.equal(found.arrays[need, ""], kept)


def test_the_batch_size_does_not_matter(own):
    for size in (1, 2):
        found = watched(own.pipe, BRANCHES, size=size)
        for key, array in found.arrays.items():
            alike(array, own.made.arrays[key])


def test_a_further_query_is_a_call_under_the_same_conditions(own):
    """At the step's own input to the bit; at another input and timestep, the pipeline's calls with these put in."""
    asked = list[tuple[Step, Step, Step]]()
    timestep = 400

    def ask(step: Step) -> torch.Tensor:
        asked.append((step, step.at(step.x), step.at(step.x * 0.5 + 1, timestep)))
        return step.x.new_zeros(len(step.x))

    made = watched(own.pipe, (Need(ask, RUN),))
    assert made.latents is not None
    assert torch.equal(made.latents, own.latents)
    assert made.passes == 2 * len(own.calls)
    scheduler = own.pipe.scheduler
    per = len(own.calls) // STEPS
    for step, same, other in asked:
        assert torch.equal(same.cond, step.cond)
        assert (same.level, same.number) == (step.level, step.number)
        assert step.uncond is None or torch.equal(same.uncond, step.uncond)
        outs = [again(own.pipe, call, other.x, timestep) for call in own.calls[per * step.number :][:per]]
        (expected,) = steps_of(own.pipe, outs, len(SEEDS), guided=guided(own.pipe))
        alike(other.cond, expected.cond)
        assert step.uncond is None or alike(other.uncond, expected.uncond) is None
        if not type(scheduler).__name__.startswith(("EDM", "FlowMatch")):
            kept = float(scheduler.alphas_cumprod[timestep])
            assert other.level == pytest.approx((math.sqrt(kept), math.sqrt(1 - kept)))


def again(pipe: Any, call: Call, x: torch.Tensor, timestep: int) -> Call:
    """A call of the network with another sample and timestep."""
    rows = torch.cat([tokens(pipe, x)] * (len(call.x) // len(x)))
    told: float = timestep
    if type(pipe).__name__ == "FluxPipeline":
        told = timestep / 1000
    if type(pipe.scheduler).__name__.startswith("EDM"):
        fresh = type(pipe.scheduler).from_config(pipe.scheduler.config)
        fresh.set_timesteps(1001)
        told = float(fresh.precondition_noise(fresh.sigmas[1000 - timestep]))
    given = {**call.given, call.sample: rows, "timestep": torch.full((len(rows),), told)}
    with quiet():
        out = load(pipe).denoiser(**given)
    return Call(given, call.sample, out if isinstance(out, torch.Tensor) else out[0])


def test_finished_latents_are_asked_about_under_the_prompts_branch(own):
    """Without the scheduler's last step between: input and both branches are those of calls of the last step."""
    model, asked = load(own.pipe), list[tuple[Step, Step]]()

    def ask(step: Step) -> torch.Tensor:
        asked.append((step, step.at(step.x, 200)))
        return step.x.new_zeros(len(step.x))

    need = Need(ask, AFTER)
    made = watched(own.pipe, (need,), whole=False)  # what comes after the last step needs all steps
    assert made.latents is not None
    assert made.arrays[need, ""].shape == (1, 3)
    ((step, found),) = asked
    assert torch.equal(step.x, own.latents.float())
    assert (step.level, step.number) == ((1.0, 0.0), STEPS)
    per = len(own.calls) // STEPS
    outs = [again(own.pipe, call, step.x, 200) for call in own.calls[-per:]]
    (expected,) = steps_of(own.pipe, outs, len(SEEDS), guided=guided(own.pipe))
    alike(found.cond, expected.cond)
    assert model.adapter.condition == "none" or not guided(own.pipe) or alike(found.uncond, expected.uncond) is None


def half_square(step: Step) -> torch.Tensor:
    return step.x.square().flatten(1).sum(dim=1) / 2


def power(step: Step) -> torch.Tensor:
    return step.cond.square().flatten(1).mean(dim=1)


def test_a_gradient_is_that_of_finite_differences(own):
    found = list[tuple[Step, torch.Tensor, torch.Tensor, torch.Tensor]]()

    def ask(step: Step) -> torch.Tensor:
        direction = torch.randn(step.x.shape, generator=torch.Generator().manual_seed(4))
        direction, h = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1), 0.02
        above, below = power(step.at(step.x + h * direction)), power(step.at(step.x - h * direction))
        found.append((step, step.gradient(half_square), step.gradient(power), direction))
        return (above - below) / (2 * h)

    need = Need(ask, FIRST)
    made = watched(own.pipe, (need,), whole=False)
    ((step, of_input, of_output, direction),) = found
    assert torch.equal(of_input, step.x)  # of |x|^2 / 2
    inner = (of_output * direction).flatten(1).sum(dim=1)
    scale = of_output.flatten(1).norm(dim=1)
    assert ((inner - made.arrays[need, ""][0]).abs() < 0.02 * scale + 1e-5).all()
    assert scale.min() > 0
    assert made.passes == (2 + 2 * 2) * (len(own.calls) // STEPS)  # forwards, and one backwards for each gradient
    assert all(parameter.grad is None for parameter in load(own.pipe).denoiser.parameters())


@pytest.mark.parametrize("kind", ["last", "after"])
def test_windows_of_the_end(own, kind):
    need = Need(x, Window(kind))
    found = watched(own.pipe, (need,), whole=False).arrays[need, ""]
    expected = own.expected[-1].x if kind == "last" else own.latents.float()
    assert torch.equal(found, expected[None])
    assert (Window("last"), Window("after")) == (LAST, AFTER)


def test_a_compiled_denoiser_is_watched_as_it_was_written(tmp_path):
    plain, backend = tiny_adapter("dit", tmp_path), Counted()
    pipe = tiny_adapter("dit", tmp_path)
    needs = (Need(clean, RUN), Need(channel_max, FIRST, "features"))
    wrapped(pipe, "transformer", backend)
    found, expected = watched(pipe, needs), watched(plain, needs)
    assert found.arrays.keys() == expected.arrays.keys()
    assert all(torch.equal(found.arrays[key], array) for key, array in expected.arrays.items())
    assert backend.runs == 0


def test_a_denoiser_that_runs_more_often_than_its_steps_is_an_error(pipe):
    again, model = list[int](), load(pipe)

    def twice(module: Any, args: Any, kwargs: Any, _out: Any) -> None:
        if not again:
            again.append(1)
            module(*args, **kwargs)
            again.clear()

    handle = model.denoiser.register_forward_hook(twice, with_kwargs=True)
    try:
        with pytest.raises(MemdetectError, match="the denoiser ran 4 times in 3 steps, expected 3") as caught:
            watched(pipe, (Need(x, FIRST),))
    finally:
        handle.remove()
    assert caught.value.exit is Exit.ERROR


def test_rows_that_the_adapter_does_not_know_are_an_error(pipe, monkeypatch):
    model = load(pipe)
    wrong = replace(model, adapter=replace(model.adapter, halves="none"))
    with quiet(), pytest.raises(MemdetectError, match="takes 6 rows for 3 images, its adapter says 'none'"):
        sample_watched(wrong, PROMPTS["prompt"], SEEDS, sampler(pipe), Batching(8), Wanted((Need(x, FIRST),)))
    assert hooks(model) == 0


def test_a_capture_gives_a_row_for_each_image(pipe):
    with pytest.raises(MemdetectError, match="first_row gives 1 rows for 3 images; correct the capture"):
        watched(pipe, (Need(first_row, FIRST),))


def first_row(step: Step) -> torch.Tensor:
    return step.x[:1]


def test_without_a_need_the_pipeline_is_not_touched(pipe):
    made = watched(pipe, ())
    assert (made.arrays, made.sigmas, made.passes) == ({}, (), 0)
    assert made.latents is not None


def test_of_flux_only_a_true_scale_and_a_prompt_to_avoid_make_two_calls(tmp_path):
    pipe = tiny_adapter("flux-true-cfg", tmp_path)
    for call in ({"true_cfg_scale": 3.0}, {"negative_prompt": ""}, {"true_cfg_scale": 1.0, "negative_prompt": "blue"}):
        steps = list[Step]()
        watched(pipe, (keeping(steps),), call=call)
        assert [(step.uncond, step.scale) for step in steps] == [(None, 1.0)] * STEPS
    assert maps(pipe, tokens(pipe, torch.ones(1, 4, 8, 8))).shape == (1, 4, 8, 8)


@pytest.mark.parametrize("kind", ["until", "at"])
def test_a_run_that_ends_early_counts_its_calls_too(tmp_path, kind):
    """Skipped layers are one more call in some steps, which would be taken for the next step."""
    pipe = tiny_adapter("sd3", tmp_path)
    call = {"skip_guidance_layers": [1], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0}
    sigmas = run_sigmas(load(pipe), run_arguments(load(pipe), sampler(pipe), ["a"], [1]))
    with pytest.raises(MemdetectError, match=r"the denoiser ran 3 times in 2 steps, expected 2") as caught:
        watched(pipe, (Need(x, Window(kind, sigmas[2])),), whole=False, call=call)
    assert caught.value.exit is Exit.ERROR


def test_the_guided_output_is_not_told_of_a_run_that_rescales_it(pipe):
    steps = list[Step]()
    watched(pipe, (keeping(steps),), call={"guidance_rescale": 0.7})
    with pytest.raises(MemdetectError, match="guidance_rescale"):
        _ = steps[0].guided
    assert steps[0].at(steps[0].x).gap.shape == steps[0].x.shape
    watched(pipe, (keeping(steps),), call={"guidance_rescale": 0.0})
    assert steps[-1].guided.shape == steps[-1].x.shape
