"""A direction is added where and when it should be, nothing is touched otherwise, and nothing stays behind."""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from compiled_pipes import Counted, wrapped
from steered_pipes import LAYERS, header, random_vector
from torch import nn

from memdetect.adapters import load
from memdetect.errors import MemdetectError
from memdetect.probing import Sampler, sample_latents
from memdetect.probing.batches import Batching
from memdetect.steering import Window, steer
from memdetect.steering.applying import made_of
from memdetect.steering.hooks import Steered, add
from memdetect.steering.vector import sites

PROMPTS, SEEDS = ["a cat", "a dog", "red"], [1, 2, 3]


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def sampled(model: Any, steps: int = 4, batch: int = 2) -> torch.Tensor:
    with torch.inference_mode():
        return sample_latents(model, PROMPTS, SEEDS, Sampler(steps, 2.0, 1), Batching(batch))


def steered(pipe: Any, vector: Any, strength: float, window: Window | None = None, **more: int) -> torch.Tensor:
    model = load(pipe)
    with steer(model, vector, strength, window):
        return sampled(model, **more)


@pytest.mark.parametrize("at", ["output", "hidden"])
def test_strength_0_is_bit_equal_to_no_steering(any_pipe, at):
    plain = sampled(load(any_pipe))
    vector = random_vector(any_pipe, at=at)
    assert torch.equal(steered(any_pipe, vector, 0.0), plain)
    assert torch.equal(steered(any_pipe, vector, -0.0), plain)
    assert not torch.allclose(steered(any_pipe, vector, 1.0), plain, atol=1e-3)
    assert torch.equal(sampled(load(any_pipe)), plain)
    assert hooks(load(any_pipe).denoiser) == 0


def test_a_compiled_network_is_steered_as_the_plain_one(pipe):
    """Sampled once before, so that there is compiled code which knows no hook; in one batch, compiled for one size."""
    torch.compiler.reset()
    backend, vector, compiled = Counted(), random_vector(pipe), copy.deepcopy(pipe)
    wrapped(compiled, "unet", backend)
    plain = sampled(load(compiled), batch=3)
    assert backend.runs > 0
    before = backend.runs
    for strength in (0.5, 0.0):
        found, expected = (steered(one, vector, strength, batch=3) for one in (compiled, pipe))
        torch.testing.assert_close(found, expected)
    assert backend.runs == before
    assert torch.equal(sampled(load(compiled), batch=3), plain)
    assert backend.runs > before
    torch.compiler.reset()


@pytest.mark.parametrize("at", ["output", "hidden"])
def test_plain_hooks_of_torch_do_the_same(any_pipe, at):
    """Oracle: the direction added by hand, at each layer and in every step."""
    vector, model = random_vector(any_pipe, at=at), load(any_pipe)
    found = steered(any_pipe, vector, 0.5)
    handles = []
    for name, value in vector.layers.items():
        module = model.denoiser.get_submodule(name)
        inside = at == "hidden" and hasattr(module, "conv2")
        if inside:
            shift = 0.5 * value[:, None, None]
            handles.append(module.conv2.register_forward_pre_hook(lambda _m, a, s=shift: (a[0] + s,)))
        else:
            last = name.endswith("ff.net.0")
            shift = 0.5 * (value if last else value[:, None, None])
            handles.append(module.register_forward_hook(lambda _m, _a, out, s=shift: out + s))
    try:
        expected = sampled(model)
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(found, expected)


def test_only_the_steps_of_the_window_are_steered(pipe):
    """Steps before it run as ever: the last step's output alone differs when only it is steered."""
    vector, model = random_vector(pipe), load(pipe)
    outputs: list[torch.Tensor] = []
    handle = model.denoiser.register_forward_hook(lambda _m, _a, out: outputs.append(out[0].clone()))
    try:
        for window in (None, Window(2, 4)):
            with steer(model, vector, 0.0 if window is None else 1.0, window):
                sampled(model)
    finally:
        handle.remove()
    assert len(outputs) == 16  # two batches of four steps, twice
    same = [torch.equal(a, b) for a, b in zip(outputs[:8], outputs[8:], strict=True)]
    assert same == [True, True, False, False] * 2


@pytest.mark.parametrize(("strength", "window"), [(0.0, None), (1.0, Window(1, 2))])
def test_where_nothing_is_added_a_layer_hands_on_its_own_tensor(pipe, strength, window):
    """Adding zeros would not do: -0.0 + 0.0 is 0.0."""
    vector, model = random_vector(pipe, layers=["mid_block"]), load(pipe)
    kept: list[torch.Tensor] = []
    first = model.denoiser.mid_block.register_forward_hook(lambda _m, _a, out: kept.append(out))
    with steer(model, vector, strength, window):
        last = model.denoiser.mid_block.register_forward_hook(lambda _m, _a, out: kept.append(out))
        sampled(model, 1)
    first.remove()
    last.remove()
    assert len(kept) == 4  # two batches of one step, before and after the direction
    assert kept[0] is kept[1]
    assert kept[2] is kept[3]


def test_steps_are_counted_by_timestep():
    state = Steered(Window(1, 2))
    steps = []
    for timestep in [900, 900, 600, 600, 300, 900, 600, 900, 900]:  # two calls a step, then a run that was cut off
        state.tick(float(timestep))
        steps.append((state.step, state.active))
    assert [step for step, _ in steps] == [0, 0, 1, 1, 2, 0, 1, 0, 0]
    assert all(active == (step == 1) for step, active in steps)


def test_nothing_stays_after_an_error(pipe, vector):
    model = load(pipe)
    plain = sampled(model)
    with pytest.raises(ZeroDivisionError), steer(model, vector, 1.0):
        raise ZeroDivisionError
    handle = model.denoiser.mid_block.register_forward_hook(_fail)
    with pytest.raises(RuntimeError, match="inside"), steer(model, vector, 1.0):
        sampled(model)
    handle.remove()
    narrow = random_vector(pipe)
    first = next(iter(narrow.layers))
    wrong = type(narrow)(narrow.header, {**narrow.layers, first: torch.ones(3)})
    with (
        pytest.raises(MemdetectError, match=f"layer '{first}' has .* channels, the vector 3"),
        steer(model, wrong, 1.0),
    ):
        sampled(model)
    assert hooks(model.denoiser) == 0
    assert torch.equal(sampled(model), plain)


def _fail(*_: Any) -> None:
    raise RuntimeError("inside")


def test_a_layer_that_does_not_run_is_an_error(pipe, vector):
    with pytest.raises(MemdetectError, match="ran 0 times in 0 calls"), steer(load(pipe), vector, 1.0):
        pass
    assert hooks(load(pipe).denoiser) == 0


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_not_finite_is_refused(pipe, vector, strength):
    with pytest.raises(MemdetectError, match="expected a finite number"), steer(load(pipe), vector, strength):
        pass


def test_a_vector_of_another_model_is_refused(pipe):
    model = load(pipe)
    other = type(random_vector(pipe))(header(model, digest="f" * 64).model_copy(update={"model": "other"}), {})
    with pytest.raises(MemdetectError, match=r"made for other .* build it again"), steer(model, other, 1.0):
        pass
    assert hooks(model.denoiser) == 0


def test_adding_knows_feature_maps_and_tokens():
    direction = torch.tensor([1.0, 2.0])
    assert torch.equal(add(torch.zeros(1, 2, 1, 2), direction, "x"), torch.tensor([[[[1.0, 1.0]], [[2.0, 2.0]]]]))
    assert torch.equal(add(torch.zeros(1, 3, 2), direction, "x"), direction.expand(1, 3, 2))
    assert add(torch.zeros(1, 3, 2, dtype=torch.float16), direction, "x").dtype == torch.float16
    for wrong in (torch.zeros(2, 2), (torch.zeros(1, 3, 2),)):
        with pytest.raises(MemdetectError, match="expected a feature map or tokens"):
            add(wrong, direction, "x")


def test_a_direction_goes_where_the_features_are():
    """Under offload a network waits in main memory and runs elsewhere; its own `device` says where it waits."""
    moved = add(torch.zeros(1, 2, 1, 2, device="meta"), torch.tensor([1.0, 2.0]), "x")
    assert (moved.device.type, moved.shape) == ("meta", (1, 2, 1, 2))


def test_latents_are_not_rounded_before_a_decoder_that_runs_in_fp32(pipe):
    half = copy.deepcopy(pipe)
    half.vae.register_to_config(force_upcast=True)
    half.vae.to(torch.float16)
    latents, found = torch.full((1, 4, 8, 8), 1 / 3), []
    half.vae.post_quant_conv.register_forward_pre_hook(lambda _module, args: found.append(args[0]))
    made_of(load(half), latents, Sampler(1, 1.0, 1))
    torch.testing.assert_close(found[0], latents / half.vae.config.scaling_factor, rtol=1e-6, atol=0)


def test_the_sites_of_a_residual_block(pipe):
    model = load(pipe)
    inside = model.points(LAYERS)
    assert sites(inside, "hidden") == inside
    ends = sites(inside, "output")
    assert all(point.module == point.name and point.read == "output" for point in ends)
    assert any(a != b for a, b in zip(inside, ends, strict=True))


def test_windows():
    assert Window.of(40) == Window(0, 40)
    assert Window.of(40, last=20, skip_last=2) == Window(20, 38)  # the paper's code: steps 20 to 37
    assert [step for step in range(40) if step in Window(20, 38)] == list(range(20, 38))
    assert Window.of(40, "3:") == Window(3, 40)
    assert Window.of(40, ":3") == Window(0, 3)
    assert str(Window(1, 2)) == "1:2"
    for bad in ("3", "a:b", "-1:3", "1.5:2", "3:3", "4:3", "0:41", "1:2:3"):
        with pytest.raises(MemdetectError):
            Window.of(40, bad)
    for last, skip in ((41, None), (2, 2), (None, 40)):
        with pytest.raises(MemdetectError, match="empty or outside the run"):
            Window.of(40, last=last, skip_last=skip)
    with pytest.raises(MemdetectError, match="one of the two"):
        Window.of(40, "1:2", last=3)


def test_more_strength_moves_an_image_further_at_first(pipe, vector):
    plain = sampled(load(pipe))
    moved = [float((steered(pipe, vector, a) - plain).norm()) for a in (0.0, 0.01, 0.05, 0.2)]
    assert all(a < b for a, b in pairwise(moved))
