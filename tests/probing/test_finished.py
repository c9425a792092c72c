"""A probe is the paper's Algorithm 1, worked out again by hand; nobody's batch mates change what is seen of him."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from reordering import reordered
from torch.nn import functional

from memdetect.adapters import Model, load
from memdetect.detectors import SPIKINESS
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Loading
from memdetect.probing import Probe, Replay, Sampler, encode, probe_images, probe_prompts
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.hooks import CAPTURES, CHANNEL_MAX
from memdetect.probing.trace import Trace

PROMPTS = ["a cat", "a red dog", "blue"]
TWO = ("up_blocks.0.resnets.0", "up_blocks.0.resnets.1")
CHANNELS = 16


def sampler(**changes: Any) -> Sampler:
    return replace(Sampler(steps=2, guidance_scale=2.0, num_seeds=2), **changes)


def prompts_seen(model: Any, prompts: list[str] = PROMPTS, **changes: Any) -> Trace:
    return probe_prompts(model, prompts, sampler=sampler(**changes))


def random_latents(count: int) -> torch.Tensor:
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(2))


def same(found: Trace, expected: Trace) -> None:
    """The same captures, up to the last bits that depend on the batch size."""
    assert found.arrays.keys() == expected.arrays.keys()
    for key, array in expected.arrays.items():
        torch.testing.assert_close(found.arrays[key], array, rtol=1e-5, atol=1e-5)


def apart(one: Trace, other: Trace) -> float:
    """Largest difference between the captures of two traces."""
    return max(float((one.arrays[key] - other.arrays[key]).abs().max()) for key in one.arrays)


@pytest.fixture
def fresh(model_folder) -> Model:
    """A model that a test may change."""
    return load(str(model_folder), Loading(device="cpu", dtype="fp32"))


def test_what_is_seen_is_algorithm_1(any_pipe):
    """diffusers' own add_noise, the encoded empty prompt, and SiLU(norm2) read by a hook elsewhere."""
    timesteps, ids, latents = (20, 600), ["x", "y"], random_latents(2)
    probe = Probe.at(load(any_pipe), timesteps=timesteps)
    trace = probe_images(any_pipe, latents=latents, ids=ids, sampler=sampler(seed=3), probe=probe)
    normed: dict[str, torch.Tensor] = {}
    handles = [
        any_pipe.unet.get_submodule(f"{layer}.norm2").register_forward_hook(
            lambda _m, _a, out, layer=layer: normed.update({layer: out})
        )
        for layer in TWO
    ]
    with torch.no_grad():
        empty = any_pipe.encode_prompt("", "cpu", 1, False)[0]
        for step, timestep in enumerate(timesteps):
            for item, name in enumerate(ids):
                for k in range(2):
                    own = torch.Generator().manual_seed(seed_of(3, name, k, "look"))
                    noise = torch.randn(1, 4, 8, 8, generator=own)
                    t = torch.tensor([timestep])
                    noisy = any_pipe.scheduler.add_noise(latents[item : item + 1], noise, t)
                    any_pipe.unet(noisy, t, encoder_hidden_states=empty)
                    for layer in TWO:
                        expected = functional.silu(normed[layer][0]).amax(dim=(1, 2))
                        found = trace.arrays[CHANNEL_MAX, layer][step, item, k]
                        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for handle in handles:
        handle.remove()


def test_timesteps_and_sigmas_are_written_down(any_pipe):
    trace = probe_images(any_pipe, latents=random_latents(1), probe=Probe.at(load(any_pipe), timesteps=[50, 300, 50]))
    kept = any_pipe.scheduler.alphas_cumprod[[50, 300]].double()
    assert trace.timesteps == (50.0, 300.0)
    assert trace.sigmas == pytest.approx(((1 - kept) / kept).sqrt().tolist())


def test_a_probe_of_prompts_has_a_row_for_each_step_item_and_seed(any_pipe):
    trace = probe_prompts(any_pipe, PROMPTS, sampler=sampler(), probe=Probe.at(load(any_pipe), timesteps=[10, 50]))
    assert trace.layers == TWO
    assert {array.shape for array in trace.arrays.values()} == {(2, 3, 2, CHANNELS)}
    assert trace.latents is not None
    assert trace.latents.shape == (3, 2, 4, 8, 8)
    assert all(array.isfinite().all() for array in trace.arrays.values())


def test_a_probe_of_images_has_a_row_for_each_step_item_and_seed(any_pipe):
    trace = probe_images(any_pipe, torch.zeros(3, 3, 32, 32), sampler=sampler())
    assert {array.shape for array in trace.arrays.values()} == {(1, 3, 2, CHANNELS)}
    assert trace.latents is not None
    assert torch.equal(trace.latents[:, 0], trace.latents[:, 1])


def test_layers_timesteps_and_captures_are_those_asked_for(pipe):
    wide = replace(SPIKINESS, needs=CAPTURES)
    probe = Probe.at(load(pipe), layers=["mid_block", "conv_in"], timesteps=[5], detectors=[wide])
    trace = probe_images(pipe, latents=random_latents(1), sampler=sampler(), probe=probe)
    assert set(trace.arrays) == {(c, layer) for c in CAPTURES for layer in ("conv_in", "mid_block")}
    assert trace.timesteps == (5.0,)


def test_the_card_decides_where_to_probe_unless_told(fresh):
    model = replace(fresh, card=fresh.card.model_copy(update={"layers": ("conv_in",), "timesteps": (7, 70)}))
    probe = Probe.at(model)
    assert ([p.name for p in probe.points], probe.timesteps) == (["conv_in"], (7, 70))


def test_images_are_the_bare_pipelines(any_pipe):
    trace = prompts_seen(any_pipe)
    assert trace.latents is not None
    own = [torch.Generator("cpu").manual_seed(seed_of(0, prompt, k)) for prompt in PROMPTS for k in range(2)]
    doubled = [prompt for prompt in PROMPTS for _ in range(2)]
    expected = any_pipe(doubled, generator=own, num_inference_steps=2, guidance_scale=2.0, output_type="latent").images
    assert torch.equal(trace.latents.flatten(0, 1), expected)


def test_prompts_are_probed_through_their_final_latents(any_pipe):
    trace = prompts_seen(any_pipe)
    assert trace.latents is not None
    for k in range(2):
        key = [seed_of(0, prompt, k, "look") for prompt in PROMPTS]
        direct = Probe.at(load(any_pipe))(trace.latents[:, k], key, Batching(16))
        for place, array in direct.items():
            torch.testing.assert_close(trace.arrays[place][:, :, k], array, rtol=1e-5, atol=1e-5)


def test_images_are_encoded_and_then_probed_as_latents(any_pipe):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        latents = encode(load(any_pipe), images, Batching(16))
    found = probe_images(any_pipe, images, sampler=sampler())
    same(found, probe_images(any_pipe, latents=latents, sampler=sampler()))
    assert apart(found, probe_images(any_pipe, -images, sampler=sampler())) > 1e-3


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_batch_size_is_irrelevant(any_pipe, size):
    same(prompts_seen(any_pipe, batch_size=size), prompts_seen(any_pipe, batch_size=16))
    probe = {"latents": random_latents(4), "ids": list("abcd")}
    small, large = (probe_images(any_pipe, **probe, sampler=sampler(batch_size=b)) for b in (size, 16))
    same(small, large)


def test_an_item_alone_is_seen_as_among_others(any_pipe):
    together = prompts_seen(any_pipe)
    for item, prompt in enumerate(PROMPTS):
        same(prompts_seen(any_pipe, [prompt]), together.select(item=item))


def test_the_order_of_prompts_is_irrelevant(any_pipe):
    order = [2, 0, 1]
    same(prompts_seen(any_pipe, [PROMPTS[i] for i in order]), reordered(prompts_seen(any_pipe), order))


def test_more_seeds_only_add_to_what_was_seen(any_pipe):
    many, few = prompts_seen(any_pipe, num_seeds=3), prompts_seen(any_pipe, num_seeds=2)
    cut = replace(many, arrays={key: array[:, :, :2] for key, array in many.arrays.items()}, latents=None)
    same(cut, few)
    assert apart(many.select(seed=1), many.select(seed=2)) > 1e-3


def test_each_item_has_noise_of_its_own(pipe):
    """The same latents under two ids: what differs is the noise."""
    twice = random_latents(1).repeat(2, 1, 1, 1)
    trace = probe_images(pipe, latents=twice, ids=["x", "y"], sampler=sampler())
    assert apart(trace.select(item=0), trace.select(item=1)) > 1e-3
    alike = probe_images(pipe, latents=twice, ids=["x", "x"], sampler=sampler())
    same(alike.select(item=0), alike.select(item=1))


def test_ids_decide_the_seeds_and_the_runs_seed_changes_them(pipe):
    named = probe_prompts(pipe, ["a cat"], ids=["x"], sampler=sampler())
    same(probe_prompts(pipe, ["a cat"], ids=["x"], sampler=sampler()), named)
    assert apart(probe_prompts(pipe, ["a cat"], ids=["y"], sampler=sampler()), named) > 1e-3
    assert apart(probe_prompts(pipe, ["a cat"], ids=["x"], sampler=sampler(seed=1)), named) > 1e-3


def test_torchs_own_stream_of_random_numbers_is_neither_read_nor_moved(any_pipe):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = prompts_seen(any_pipe)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same(prompts_seen(any_pipe), first)


def test_the_empty_prompt_is_the_condition(fresh):
    """The end marker is all that an empty prompt is made of; the letter c is no part of it."""
    latents = random_latents(2)
    before = probe_images(fresh, latents=latents, sampler=sampler())
    (embedding,) = (m for name, m in fresh.pipe.text_encoder.named_modules() if name.endswith("token_embedding"))
    letter = fresh.pipe.tokenizer.convert_tokens_to_ids("c")
    for token, moves in ((letter, False), (fresh.pipe.tokenizer.eos_token_id, True)):
        with torch.no_grad():
            embedding.weight[token] += torch.linspace(-1, 1, 16)
        assert (apart(probe_images(fresh.pipe, latents=latents, sampler=sampler()), before) > 1e-4) is moves


def test_another_recorded_prompt_sees_something_else(any_pipe):
    empty = Probe.at(load(any_pipe))
    options = {"guidance_scale": 1.0, "num_inference_steps": 1, "output_type": "latent"}
    other = replace(empty, replay=Replay.record(any_pipe.unet, lambda: any_pipe("a red cat", **options)))
    seen = [
        probe_images(any_pipe, latents=random_latents(2), sampler=sampler(), probe=probe) for probe in (empty, other)
    ]
    assert apart(*seen) > 1e-4


def test_a_layer_that_runs_twice_a_pass_is_refused_before_anything_is_sampled(fresh):
    """A pass that stops at its first run would not notice."""
    block = fresh.pipe.unet.get_submodule(TWO[1])

    def again(_module: Any, _args: Any, out: torch.Tensor) -> None:
        block.conv2(out)

    block.dropout.register_forward_hook(again)
    with pytest.raises(MemdetectError, match=f"layer '{TWO[1]}' ran 2 times in 1 calls"):
        Probe.at(fresh)


def test_halved_batches_are_noted(fresh):
    def crowded(_module: Any, args: Any, kwargs: Any) -> None:
        if len(kwargs["sample"] if "sample" in kwargs else args[0]) > 3:
            raise torch.OutOfMemoryError

    probe = Probe.at(fresh)
    fresh.pipe.unet.register_forward_pre_hook(crowded, with_kwargs=True)
    trace = probe_images(fresh, latents=random_latents(4), sampler=sampler(num_seeds=1), probe=probe)
    assert trace.notes["halved"] == [(4, 2)]
    fresh.pipe.unet._forward_pre_hooks.clear()
    same(trace, probe_images(fresh, latents=random_latents(4), sampler=sampler(num_seeds=1), probe=probe))


REFUSED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "timestep": (
        "timestep 1000 is outside the model's schedule; expected 0 to 999",
        lambda pipe: Probe.at(load(pipe), timesteps=[50, 1000]),
    ),
    "layer": ("no layer named 'papre'; closest: paper", lambda pipe: Probe.at(load(pipe), layers=["papre"])),
    "both": (
        "either images or latents",
        lambda pipe: probe_images(pipe, torch.zeros(1, 3, 32, 32), latents=random_latents(1)),
    ),
    "neither": ("either images or latents", probe_images),
    "argument": ("takes no argument 'hieght'", lambda pipe: prompts_seen(pipe, call={"hieght": 64})),
    "managed": ("'prompt' is set by memdetect", lambda pipe: prompts_seen(pipe, call={"prompt": "x"})),
    "batch size": ("batch size is 0", lambda pipe: prompts_seen(pipe, batch_size=0)),
    "too few ids": ("1 ids for 3 items", lambda pipe: probe_prompts(pipe, PROMPTS, ids=["x"], sampler=sampler())),
    "too many ids": (
        "2 ids for 1 items",
        lambda pipe: probe_images(pipe, latents=random_latents(1), ids=["x", "y"], sampler=sampler()),
    ),
    "nothing": ("0 ids for 0 items", lambda pipe: prompts_seen(pipe, [])),
}


@pytest.mark.parametrize(("complaint", "call"), REFUSED.values(), ids=REFUSED)
def test_a_probe_that_cannot_be_is_refused_in_one_line(pipe, complaint, call):
    with pytest.raises(MemdetectError) as caught:
        call(pipe)
    assert caught.value.exit is Exit.USAGE
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
