"""A denoiser under torch.compile: sampled compiled, probed as it was written, and no hook is ever silent."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from compiled_pipes import WAYS, Counted, in_place, wrapped
from tiny_adapters import tiny_adapter
from torch._dynamo.utils import counters

from memdetect.adapters import load
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import Probe, Replay, Sampler, probe_images, probe_prompts, watch
from memdetect.probing.batches import Batching
from memdetect.probing.hooks import CHANNEL_MAX
from memdetect.probing.trace import Trace

SAMPLER = Sampler(steps=2, guidance_scale=2.0, num_seeds=2, batch_size=3)
PROMPTS = {"prompt": ["a cat", "a red dog"], "label": ["207", "3"], "none": ["", ""]}


@pytest.fixture(autouse=True)
def forget() -> Any:
    """Each test compiles anew."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def probed(pipe: Any, **changes: Any) -> Trace:
    model = load(pipe)
    sampler = replace(SAMPLER, **changes)
    return probe_prompts(model, PROMPTS[model.adapter.condition], ids=["x", "y"], sampler=sampler)


def same(found: Trace, expected: Trace) -> None:
    assert found.arrays.keys() == expected.arrays.keys()
    for key, array in expected.arrays.items():
        torch.testing.assert_close(found.arrays[key], array, rtol=1e-4, atol=1e-4)


def compiled_and_plain(name: str, tmp_path: Any, way: Any, backend: Any) -> tuple[Any, Any]:
    plain = tiny_adapter(name, tmp_path)
    pipe = copy.deepcopy(plain)
    way(pipe, "unet" if hasattr(pipe, "unet") else "transformer", backend)
    return pipe, plain


@pytest.mark.parametrize(
    ("name", "way"), [*(("dit", way) for way in WAYS.values()), ("ddim", wrapped)], ids=[*WAYS, "a U-Net"]
)
def test_a_compiled_denoiser_gives_the_captures_of_the_plain_one(name, way, tmp_path):
    """Twice: what was compiled by sampling the first time is what a hook of the second one has to get past.

    In batches of one size: a second one is compiled again, which takes long and concerns the backend alone.
    """
    backend = Counted()
    pipe, plain = compiled_and_plain(name, tmp_path, way, backend)
    expected, ran = probed(plain, batch_size=2), []
    for _ in range(2):
        before = backend.runs
        same(probed(pipe, batch_size=2), expected)
        ran.append(backend.runs - before)
    assert min(ran) > 0, "sampling ran nothing that was compiled"
    assert load(pipe).digest == load(plain).digest


def test_a_probe_runs_nothing_compiled(tmp_path):
    backend = Counted()
    pipe, plain = compiled_and_plain("ddpm", tmp_path, wrapped, backend)
    latents = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = probe_images(plain, latents=latents, sampler=SAMPLER)
    same(probe_images(pipe, latents=latents, sampler=SAMPLER), expected)
    assert backend.runs == 0


def feed_forward(pipe: Any, part: str, backend: Any) -> None:
    """The part of one block that holds the layer of the paper's point."""
    getattr(pipe, part).transformer_blocks[1].ff.compile(backend=backend)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "way"), [("aot_eager", in_place), ("inductor", feed_forward)])
def test_real_backends_give_the_captures_of_the_plain_one(backend, way, tmp_path):
    """In batches of one size, as above.

    inductor runs a C++ compiler, so it gets little, without its tries of what the processor can do.
    """
    pipe, plain = compiled_and_plain("dit", tmp_path, way, backend)
    before = counters["stats"]["unique_graphs"]
    with torch._inductor.config.patch({"cpp.simdlen": 1, "cpp_cache_precompile_headers": False, "compile_threads": 1}):
        same(probed(pipe, batch_size=2), probed(plain, batch_size=2))
    assert counters["stats"]["unique_graphs"] > before, "sampling ran nothing that was compiled"


def test_a_hook_that_did_not_fire_is_an_error_after_the_first_batch(tmp_path):
    """Code compiled before the hooks were there is played by a copy of the network, which has none."""
    pipe = tiny_adapter("ddim", tmp_path)
    model, silent, passes = load(pipe), copy.deepcopy(pipe.unet), list[int]()
    probe = Probe.at(model)
    latents, seeds = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), [1, 2, 3, 4]
    probe(latents, seeds, Batching(2))

    silent.register_forward_pre_hook(
        lambda _module, _args, kwargs: passes.append(len(kwargs["sample"])), with_kwargs=True
    )
    compiled = replace(probe, replay=Replay(silent, probe.replay.call, clock=probe.replay.clock))
    with pytest.raises(MemdetectError, match="ran 0 times in 0 calls of the denoiser") as caught:
        compiled(latents, seeds, Batching(2))
    assert caught.value.exit is Exit.ERROR
    assert passes == [2]
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.denoiser.modules())


def test_the_stance_ends_with_the_watch(tmp_path):
    backend = Counted()
    pipe, _ = compiled_and_plain("ddim", tmp_path, wrapped, backend)
    model = load(pipe)
    x, t = torch.zeros(1, 3, 16, 16), torch.tensor([5])
    with torch.inference_mode():
        with watch(model.denoiser, model.points(("paper",)), [CHANNEL_MAX], stop=False):
            pipe.unet(x, t)
        assert backend.runs == 0
        pipe.unet(x, t)
    assert backend.runs > 0
