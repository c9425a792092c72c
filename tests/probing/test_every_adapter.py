"""What every adapter promises: shapes, who sees what, no hooks left behind, images as of the bare pipeline."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from reordering import reordered

from memdetect.adapters import Model, load
from memdetect.adapters.points import list_points, resolve
from memdetect.detectors import SPIKINESS
from memdetect.errors import MemdetectError
from memdetect.probing import Probe, Sampler, decode, image_size, probe_images, probe_prompts, watch
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.hooks import CHANNEL_MAX
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.trace import Trace

pytestmark = pytest.mark.usefixtures("short_texts")
IDS = ["x", "y", "z"]
PROMPTS = {"prompt": ["a cat", "a red dog", "blue"], "label": ["207", "goldfish", "3"], "none": ["", "", ""]}
TWO = ("up_blocks.0.resnets.0", "up_blocks.0.resnets.1")


def sampler(**changes: Any) -> Sampler:
    return replace(Sampler(steps=2, guidance_scale=2.0, num_seeds=2), **changes)


def prompts_of(model: Model) -> list[str]:
    return PROMPTS[model.adapter.condition]


def seen(pipe: Any, items: tuple[int, ...] = (0, 1, 2), **changes: Any) -> Trace:
    model = load(pipe)
    own = prompts_of(model)
    return probe_prompts(model, [own[i] for i in items], ids=[IDS[i] for i in items], sampler=sampler(**changes))


def same(found: Trace, expected: Trace) -> None:
    assert found.arrays.keys() == expected.arrays.keys()
    for key, array in expected.arrays.items():
        torch.testing.assert_close(found.arrays[key], array, rtol=1e-4, atol=1e-4)


def apart(one: Trace, other: Trace) -> float:
    return max(float((one.arrays[key] - other.arrays[key]).abs().max()) for key in one.arrays)


def hooks(pipe: Any) -> int:
    parts = [value for value in pipe.components.values() if isinstance(value, torch.nn.Module)]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for part in parts for m in part.modules())


@pytest.fixture(scope="module")
def whole(adapter_pipe):
    """All items in one batch."""
    torch.manual_seed(1)
    return seen(adapter_pipe)


def test_a_trace_has_a_row_for_each_step_item_and_seed(adapter_pipe, whole):
    model, trace = load(adapter_pipe), whole
    expected = TWO if "unet" in adapter_pipe.components else ("transformer_blocks.1.ff.net.0",)
    assert trace.layers == expected
    assert {array.shape[:3] for array in trace.arrays.values()} == {(1, 3, 2)}
    assert all(array.isfinite().all() for array in trace.arrays.values())
    assert trace.latents is not None
    height, width = image_size(model)
    factor = 1 if model.adapter.condition == "none" else 4
    assert trace.latents.shape[-2:] == (height // factor, width // factor)


def test_images_are_the_bare_pipelines(adapter_pipe, whole):
    """Decoded by the pipeline itself, from the same generators."""
    model, trace = load(adapter_pipe), whole
    assert trace.latents is not None
    own = [torch.Generator("cpu").manual_seed(seed_of(0, name, k)) for name in IDS for k in range(2)]
    doubled = [prompt for prompt in prompts_of(model) for _ in range(2)]
    call: dict[str, Any] = {"num_inference_steps": 2, "generator": own, "output_type": "np"}
    if model.adapter.condition == "label":
        call |= {"class_labels": [207] * 2 + [1] * 2 + [3] * 2, "guidance_scale": 2.0}
    elif model.adapter.condition == "none":
        call |= {"batch_size": 6}
    else:
        call |= {"prompt": doubled, "guidance_scale": 2.0, **model.adapter.fixed}
    with torch.inference_mode():
        expected = adapter_pipe(**call).images
    with torch.inference_mode():
        found = decode(model, trace.latents.flatten(0, 1), Batching(8))
    for image, theirs in zip(found, expected, strict=True):
        assert abs(image.pixels.astype(float) - 255 * theirs).max() <= 1.0  # a step of rounding to eight bits


def test_an_item_is_seen_alone_as_among_others_in_any_order_and_batch(adapter_pipe, whole):
    same(seen(adapter_pipe, batch_size=1), whole)
    same(seen(adapter_pipe, (2, 0, 1), batch_size=4), reordered(whole, [2, 0, 1]))
    same(seen(adapter_pipe, (1,)), whole.select(item=1))
    assert apart(whole.select(item=0), whole.select(item=1)) > 1e-4


def test_given_images_are_probed_without_a_prompt(adapter_pipe):
    model = load(adapter_pipe)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, *image_size(model), generator=random) * 2 - 1
    trace = probe_images(model, images, ids=["a", "b"], sampler=sampler())
    assert {array.shape[:3] for array in trace.arrays.values()} == {(1, 2, 2)}
    same(probe_images(model, images[1:], ids=["b"], sampler=sampler()), trace.select(item=1))
    other = probe_images(model, -images, ids=["a", "b"], sampler=sampler())
    assert apart(trace, other) > 1e-4


def test_noise_is_that_of_the_schedule_and_written_down(adapter_pipe):
    model = load(adapter_pipe)
    scheduler = model.pipe.scheduler
    trace = probe_images(
        model,
        torch.zeros(1, 3, *image_size(model)),
        probe=Probe.at(model, timesteps=[50, 300]),
        sampler=sampler(),
    )
    if "FlowMatch" in type(scheduler).__name__:
        assert trace.sigmas == pytest.approx((50 / 950, 300 / 700))
    elif "EDM" in type(scheduler).__name__:
        scheduler.set_timesteps(1001)  # ascending noise is the reverse of sampling
        own = scheduler.sigmas[:-1].flip(0)
        assert trace.sigmas == pytest.approx(own[[50, 300]].tolist(), rel=1e-4)
    else:
        kept = scheduler.alphas_cumprod[[50, 300]].double()
        assert trace.sigmas == pytest.approx(((1 - kept) / kept).sqrt().tolist())


def test_torchs_own_stream_of_random_numbers_is_neither_read_nor_moved(adapter_pipe, whole):
    """`whole` was seen after another seed."""
    torch.manual_seed(2)
    before = torch.get_rng_state()
    found = seen(adapter_pipe)
    assert torch.equal(torch.get_rng_state(), before)
    same(found, whole)


def test_every_listed_point_can_be_probed_and_leaves_no_hook(adapter_pipe):
    model = load(adapter_pipe)
    before = hooks(adapter_pipe)
    probe = Probe.at(model, layers=["*"])
    assert {p.name for p in probe.points} == set(list_points(model.denoiser))
    trace = probe_images(model, torch.zeros(1, 3, *image_size(model)), probe=probe, sampler=sampler())
    assert set(trace.layers) == set(list_points(model.denoiser))
    assert hooks(adapter_pipe) == before


def test_no_hook_survives_a_crash(adapter_pipe):
    model = load(adapter_pipe)
    before = hooks(adapter_pipe)
    with pytest.raises(ZeroDivisionError), watch(model.denoiser, model.points(("paper",)), [CHANNEL_MAX], stop=True):
        raise ZeroDivisionError
    assert hooks(adapter_pipe) == before


def test_aliases_of_a_row_all_lead_somewhere(adapter_pipe):
    model = load(adapter_pipe)
    known = list_points(model.denoiser)
    for alias in model.aliases:
        name = alias.replace("N", "0")
        assert resolve([name], known, model.aliases), alias


def test_positions_of_the_image_alone_are_captured(adapter_pipe):
    """As many positions as a map or a grid of patches has; text tokens would make it more."""
    model = load(adapter_pipe)
    probe = Probe.at(model, layers=["*"])
    height, width = image_size(model)
    side = 1 if model.adapter.condition == "none" else 4
    grid = height // side * width // side
    counts: dict[str, int] = {}

    def count(name: str) -> Need:
        def keep(features: torch.Tensor) -> torch.Tensor:
            counts[name] = features.shape[-1]
            return features.amax(dim=-1)

        return Need(keep, where="features")

    for point in probe.points:
        with torch.inference_mode(), watch(model.denoiser, [point], [count(point.name)], stop=False):
            model.denoiser(**probe.replay.call)
    if "unet" in adapter_pipe.components:
        assert set(counts.values()) <= {grid, grid // 4, grid // 16}
    else:
        assert set(counts.values()) == {grid // 4}


JOINT = ["sd3", "flux-distilled", "flux-true-cfg"]  # blocks with a stream of text beside the image's


def test_who_has_joint_blocks(adapter_pipe, request):
    """None that the next test leaves out."""
    network = getattr(adapter_pipe, "transformer", None)
    joint = request.node.callspec.params["adapter_pipe"] in JOINT
    assert hasattr(network, "context_embedder") is joint
    if hasattr(network, "transformer_blocks"):
        assert hasattr(network.transformer_blocks[0], "ff_context") is joint


@pytest.mark.parametrize("adapter_pipe", JOINT, indirect=True)
def test_features_of_a_joint_block_are_the_images(adapter_pipe, whole):
    """Zeroing the text stream's own feed-forward leaves the image's hidden layer of the first block as it is."""
    model = load(adapter_pipe)
    blocks = model.denoiser.transformer_blocks
    names = ["transformer_blocks.0", "transformer_blocks.0.ff.net.0"]
    probe = Probe.at(model, layers=names)
    latents = torch.randn(1, whole.latents.shape[2], 8, 8)
    plain = probe_images(model, latents=latents, probe=probe, sampler=sampler())
    handle = blocks[0].ff_context.register_forward_hook(lambda _m, _a, out: out * 0 + 100)
    try:
        same(probe_images(model, latents=latents, probe=probe, sampler=sampler()), plain)
    finally:
        handle.remove()
    handle = blocks[0].ff.register_forward_hook(lambda _m, _a, out: out * 0 + 100)
    try:
        assert apart(probe_images(model, latents=latents, probe=probe, sampler=sampler()), plain) > 1e-2
    finally:
        handle.remove()


def test_a_module_by_its_exact_name_is_a_point_and_one_of_the_text_is_not(adapter_pipe):
    model = load(adapter_pipe)
    name = "conv_out" if "unet" in adapter_pipe.components else "transformer_blocks.0.attn"
    if not any(n == name for n, _ in model.denoiser.named_modules()):
        name = "transformer_blocks.0.attn1"
    trace = probe_images(
        model, torch.zeros(1, 3, *image_size(model)), probe=Probe.at(model, layers=[name]), sampler=sampler()
    )
    assert trace.layers == (name,)
    texts = [n for n, _ in model.denoiser.named_modules() if n.endswith(("ff_context.net.0", "context_embedder"))]
    for text in texts:
        with pytest.raises(MemdetectError, match=f"no layer named '{text}'"):
            model.points((text,))


def test_which_detectors_fall_away_is_said_before_anything_is_sampled(adapter_pipe):
    model = load(adapter_pipe)
    gap = replace(SPIKINESS, name="gap", needs=(Need(lambda step: step.gap, FIRST, branches=True),))
    lacking = {"LatentConsistencyModelPipeline", "DDPMPipeline", "DDIMPipeline"}
    distilled = bool(model.denoiser.config.get("guidance_embeds"))
    assert bool(model.distilled) == (distilled or model.adapter.pipeline in lacking)
    if model.distilled:
        with pytest.raises(MemdetectError, match="detector 'gap' needs the unconditional branch, but") as caught:
            Probe.at(model, detectors=[gap])
        assert "\n" not in str(caught.value)
    else:
        Probe.at(model, detectors=[gap])
