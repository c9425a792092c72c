"""Watching leaves a model as it was, sees what a full pass computes, and never misses a layer silently."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from memdetect.adapters import ADAPTERS, Point, list_points
from memdetect.adapters.points import resolve
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import CAPTURES, Replay, watch
from memdetect.probing.hooks import CHANNEL_MAX, MEAN, Stop, average, channel_max, flatten
from memdetect.probing.needs import Need

FULL, EARLY = False, True
STEP = torch.tensor(50)


def denoiser_of(pipe: Any) -> nn.Module:
    return getattr(pipe, ADAPTERS[type(pipe).__name__].denoiser)


def points_of(pipe: Any, *names: str) -> tuple[Point, ...]:
    return resolve(names, list_points(denoiser_of(pipe)), ADAPTERS[type(pipe).__name__].aliases)


def noise(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def denoise(denoiser: nn.Module, seed: int = 0) -> torch.Tensor:
    text = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return denoiser(noise(2, seed), STEP, encoder_hidden_states=text).sample


def hooks_on(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def captured(pipe: Any, points: Sequence[Point], stop: bool, seed: int = 0) -> dict[tuple[Need, str], torch.Tensor]:
    with watch(denoiser_of(pipe), points, CAPTURES, stop=stop) as seen:
        denoise(denoiser_of(pipe), seed)
    assert all(len(found) == 1 for found in seen.arrays.values())
    return {key: found[0] for key, found in seen.arrays.items()}


def chain(*layers: nn.Module) -> nn.Module:
    """A denoiser whose layers are called `0`, `1`, ..., one after the other."""
    return nn.Sequential(*layers)


def place(name: str) -> Point:
    return Point(name, name, "output", "for a test")


class Switch(nn.Module):
    """Runs its layer as often as `times` says: 0 never, 2 twice."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.layer, self.times = nn.Identity(), times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.times):
            x = self.layer(x)
        return x


class Careful(nn.Module):
    """Catches every Exception of its layers, as a model with a fallback would."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.layer(x)
        except Exception:
            return torch.zeros_like(x)


def test_watching_does_not_change_what_the_model_returns(any_pipe):
    denoiser = denoiser_of(any_pipe)
    before = denoise(denoiser)
    with watch(denoiser, points_of(any_pipe, "*"), CAPTURES, stop=FULL):
        during = denoise(denoiser)
    assert torch.equal(during, before)
    assert torch.equal(denoise(denoiser), before)


def test_a_pass_that_stops_early_captures_the_same_bits(any_pipe):
    for name in list_points(denoiser_of(any_pipe)):
        points = points_of(any_pipe, name)
        full, early = captured(any_pipe, points, FULL), captured(any_pipe, points, EARLY)
        assert full.keys() == early.keys() == {(CHANNEL_MAX, name), (MEAN, name)}
        assert all(torch.equal(early[key], full[key]) for key in full)


def test_several_points_are_all_seen_before_a_pass_stops(any_pipe):
    points = points_of(any_pipe, "paper", "conv_in", "mid_block")
    full, early = captured(any_pipe, points, FULL), captured(any_pipe, points[::-1], EARLY)
    assert len(full) == 8
    assert all(torch.equal(early[key], full[key]) for key in full)


def test_a_point_of_the_end_sees_what_numpy_makes_of_the_layer(pipe):
    kept: list[torch.Tensor] = []
    handle = pipe.unet.conv_in.register_forward_hook(lambda _m, _a, out: kept.append(out))
    found = captured(pipe, points_of(pipe, "conv_in"), FULL)
    handle.remove()
    features = kept[0].numpy()
    np.testing.assert_array_equal(found[CHANNEL_MAX, "conv_in"], features.max(axis=(2, 3)))
    np.testing.assert_allclose(found[MEAN, "conv_in"], features.mean(axis=(2, 3)), atol=1e-6)


def test_layers_after_the_last_probed_one_do_not_run(any_pipe):
    denoiser = denoiser_of(any_pipe)
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _m, _a, name=name: ran.append(name))
        for name, module in denoiser.named_modules()
    ]
    captured(any_pipe, points_of(any_pipe, "paper"), FULL)
    full, ran[:] = list(ran), []
    captured(any_pipe, points_of(any_pipe, "paper"), EARLY)
    for handle in handles:
        handle.remove()
    last = full.index("up_blocks.0.resnets.1.conv2")
    assert ran == full[: last + 1]
    assert {"up_blocks.0.upsamplers.0", "up_blocks.1", "conv_out"} <= set(full[last:])


@pytest.mark.parametrize("stop", [FULL, EARLY])
def test_no_hook_outlives_its_context(any_pipe, stop):
    denoiser = denoiser_of(any_pipe)
    points = points_of(any_pipe, "paper")
    with watch(denoiser, points, [CHANNEL_MAX], stop=stop):
        assert hooks_on(denoiser) == 1 + len(points)
        denoise(denoiser)
    assert hooks_on(denoiser) == 0


def test_no_hook_survives_a_crash_of_the_body(any_pipe):
    denoiser = denoiser_of(any_pipe)
    with pytest.raises(ZeroDivisionError), watch(denoiser, points_of(any_pipe, "*"), [CHANNEL_MAX], stop=FULL):
        raise ZeroDivisionError
    assert hooks_on(denoiser) == 0


def test_no_hook_survives_a_point_that_does_not_exist(pipe):
    points = (*points_of(pipe, "paper"), place("nowhere"))
    with pytest.raises(AttributeError, match="nowhere"), watch(pipe.unet, points, [CHANNEL_MAX], stop=FULL):
        pass
    assert hooks_on(pipe.unet) == 0


def test_no_hook_survives_a_layer_that_gives_no_features(pipe):
    with pytest.raises(MemdetectError, match=r"'time_embedding' gives shape \(2, 32\)"):
        captured(pipe, (place("time_embedding"),), FULL)
    assert hooks_on(pipe.unet) == 0


def test_each_call_of_the_denoiser_is_captured(pipe):
    points = points_of(pipe, "paper")
    with watch(pipe.unet, points, [CHANNEL_MAX], stop=FULL) as seen:
        for seed in range(3):
            denoise(pipe.unet, seed)
    for point in points:
        key = (CHANNEL_MAX, point.name)
        expected = torch.stack([captured(pipe, points, FULL, seed)[key] for seed in range(3)])
        assert torch.equal(torch.stack(seen.arrays[key]), expected)


@pytest.mark.parametrize("times", [0, 2, 3])
def test_a_layer_that_does_not_run_once_a_call_is_an_error(times):
    denoiser = chain(Switch(times), nn.Identity())
    points = [place("0.layer"), place("1")]
    message = f"layer '0.layer' ran {2 * times} times in 2 calls of the denoiser"
    with pytest.raises(MemdetectError, match=message) as caught, watch(denoiser, points, [CHANNEL_MAX], stop=FULL):
        assert [denoiser(noise(1)).shape for _ in range(2)] == [(1, 4, 8, 8)] * 2
    assert caught.value.exit is Exit.ERROR


@pytest.mark.parametrize("times", [0, 2])
def test_stopping_early_does_not_hide_it_when_another_layer_comes_later(times):
    denoiser = chain(Switch(times), nn.Identity())
    points = [place("0.layer"), place("1")]
    message = f"'0.layer' ran {times} times in 1 calls"
    with pytest.raises(MemdetectError, match=message), watch(denoiser, points, [CHANNEL_MAX], stop=EARLY):
        denoiser(noise(1))


@pytest.mark.parametrize("stop", [FULL, EARLY])
def test_a_body_that_never_calls_the_denoiser_is_an_error(pipe, stop):
    points = points_of(pipe, "conv_in")
    with (
        pytest.raises(MemdetectError, match="ran 0 times in 0 calls"),
        watch(pipe.unet, points, [CHANNEL_MAX], stop=stop),
    ):
        pass


def test_a_models_own_except_does_not_swallow_the_stop():
    denoiser = chain(Careful(nn.Identity()), nn.Identity())
    ran: list[int] = []
    denoiser.get_submodule("1").register_forward_pre_hook(lambda _m, _a: ran.append(1))
    with watch(denoiser, [place("0.layer")], [CHANNEL_MAX], stop=EARLY) as seen:
        denoiser(noise(2))
    assert ran == []
    assert torch.equal(seen.arrays[CHANNEL_MAX, "0.layer"][0], noise(2).amax(dim=(2, 3)))


@pytest.mark.parametrize("stop", [FULL, EARLY])
def test_a_stop_of_somebody_else_passes_through(pipe, stop):
    theirs = Stop()
    with pytest.raises(Stop) as caught, watch(pipe.unet, points_of(pipe, "conv_in"), [CHANNEL_MAX], stop=stop):
        raise theirs
    assert caught.value is theirs
    assert hooks_on(pipe.unet) == 0


def test_the_stop_of_an_outer_watch_ends_the_inner_one():
    denoiser = chain(nn.Identity(), nn.Identity())
    reached: list[str] = []
    with watch(denoiser, [place("0")], [CHANNEL_MAX], stop=EARLY):
        with watch(denoiser, [place("1")], [CHANNEL_MAX], stop=EARLY):
            denoiser(noise(1))
        reached.append("the outer body went on")
    assert reached == []
    assert hooks_on(denoiser) == 0


def test_feature_maps_and_tokens_flatten_to_channels_and_positions():
    features = torch.arange(48.0).reshape(2, 3, 2, 4)
    tokens = features.flatten(2).transpose(1, 2)
    assert torch.equal(flatten(features, "layer"), flatten(tokens, "layer"))
    assert torch.equal(channel_max(flatten(features, "layer")), torch.tensor([[7.0, 15, 23], [31, 39, 47]]))
    assert torch.equal(average(flatten(features, "layer")), torch.tensor([[3.5, 11.5, 19.5], [27.5, 35.5, 43.5]]))


@pytest.mark.parametrize(
    ("value", "found"), [(torch.zeros(2, 3), r"shape \(2, 3\)"), ((torch.zeros(1, 2, 3),), "tuple"), (None, "NoneType")]
)
def test_anything_else_is_no_features(value, found):
    with pytest.raises(MemdetectError, match=f"layer 'temb' gives {found}, expected a feature map or tokens"):
        flatten(value, "temb")


def generate(pipe: Any, prompt: str = "a red cat") -> Callable[[], Any]:
    """A run of two steps, without guidance, from a fixed seed."""
    generator = torch.Generator().manual_seed(5)
    options = {"guidance_scale": 1.0, "num_inference_steps": 2, "output_type": "latent"}
    return lambda: pipe(prompt, generator=generator, **options)


def test_a_recorded_call_replays_to_the_pipelines_own_output(any_pipe):
    denoiser = denoiser_of(any_pipe)
    outputs: list[torch.Tensor] = []
    handle = denoiser.register_forward_hook(lambda _m, _a, out: outputs.append(out[0].clone()))
    with torch.no_grad():
        generate(any_pipe)()
    handle.remove()
    with torch.no_grad():
        replay = Replay.record(denoiser, generate(any_pipe))
        again = replay(replay.call["sample"], replay.call["timestep"])
    assert len(outputs) == 2
    assert torch.equal(again, outputs[0])


def test_recording_stops_the_pipeline_before_its_denoiser_runs(any_pipe):
    denoiser = denoiser_of(any_pipe)
    ran: list[int] = []
    handle = next(iter(denoiser.children())).register_forward_pre_hook(lambda _m, _a: ran.append(1))
    Replay.record(denoiser, generate(any_pipe))
    handle.remove()
    assert ran == []
    assert hooks_on(denoiser) == 0


def test_replay_puts_in_another_sample_and_timestep_and_keeps_the_prompt(any_pipe):
    denoiser = denoiser_of(any_pipe)
    with torch.no_grad():
        replay = Replay.record(denoiser, generate(any_pipe))
        text = any_pipe.encode_prompt("a red cat", "cpu", 1, False)[0]
        for step in (3, 700):
            expected = denoiser(noise(1), torch.tensor(step), encoder_hidden_states=text).sample
            assert torch.equal(replay(noise(1), torch.tensor(step)), expected)


def test_replay_repeats_the_conditions_for_each_row(any_pipe):
    with torch.no_grad():
        replay = Replay.record(denoiser_of(any_pipe), generate(any_pipe))
        together = replay(noise(3), torch.tensor([50, 50, 50]))
        alone = torch.cat([replay(row[None], STEP) for row in noise(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_replay_refuses_a_recorded_batch_that_does_not_fit(pipe):
    with torch.no_grad():
        replay = Replay.record(pipe.unet, generate(pipe, ["a cat", "a dog"]))
        assert replay(noise(2), STEP).shape == (2, 4, 8, 8)
        with pytest.raises(MemdetectError, match="holds 2 rows, expected 1 or 3"):
            replay(noise(3), STEP)


class Conditioned(nn.Module):
    """Adds up its conditions: one given by position, one in a dictionary, one without rows, one that is no tensor."""

    def forward(self, sample, timestep, text, added=None, scale=None, return_dict=True):
        out = sample + timestep + text + added["pooled"] + scale
        return {"sample": out} if return_dict else (out,)


def test_replay_repeats_conditions_inside_dictionaries_and_leaves_the_rest():
    denoiser = Conditioned()
    text, pooled, scale = torch.ones(1, 4, 8, 8), torch.full((1, 4, 1, 1), 10.0), torch.tensor(100.0)
    replay = Replay.record(
        denoiser, lambda: denoiser(noise(1, 9), 0, text, added={"pooled": pooled}, scale=scale, return_dict=False)
    )
    torch.testing.assert_close(replay(noise(3), torch.tensor(1000.0)), noise(3) + 1111)


def test_a_run_that_never_calls_the_denoiser_cannot_be_recorded(pipe):
    with pytest.raises(MemdetectError, match="never called its denoiser") as caught:
        Replay.record(pipe.unet, lambda: None)
    assert caught.value.exit is Exit.ERROR


@pytest.mark.parametrize("problem", [ZeroDivisionError(), Stop()], ids=["crash", "somebody else's stop"])
def test_what_a_recorded_run_raises_passes_through(pipe, problem):
    def run() -> None:
        raise problem

    with pytest.raises(type(problem)) as caught:
        Replay.record(pipe.unet, run)
    assert caught.value is problem
    assert hooks_on(pipe.unet) == 0
