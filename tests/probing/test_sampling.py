"""Images come from the pipeline itself, one generator each; pixels and latents turn into each other as in diffusers."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_adapters import tiny_adapter

from memdetect.adapters import load
from memdetect.adapters.models import check_call
from memdetect.errors import MemdetectError
from memdetect.probing import Sampler, decode, encode, image_size, truncated_at
from memdetect.probing.asking import Wanted
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.needs import FIRST, Need
from memdetect.probing.sampling import end_of, generators, run_of, sample_latents

PROMPTS = ["a cat", "a dog", "red"]
SEEDS = [11, 22, 33]


def sampler(**call: Any) -> Sampler:
    return Sampler(steps=2, guidance_scale=2.0, num_seeds=1, call=call)


def sampled(
    pipe: Any, prompts: list[str] = PROMPTS, seeds: list[int] = SEEDS, size: int = 8, **call: Any
) -> torch.Tensor:
    with torch.inference_mode():
        return sample_latents(load(pipe), prompts, seeds, sampler(**call), Batching(size))


def bare(pipe: Any, prompt: Any, seeds: list[int], **options: Any) -> torch.Tensor:
    """The pipeline's own call, without memdetect."""
    own = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    settings = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "latent", **options}
    return pipe(prompt=prompt, generator=own, **settings).images


def test_a_sampler_takes_the_cards_settings_unless_told_otherwise(pipe):
    card = load(pipe).card
    ours = Sampler.of(load(pipe))
    assert (ours.steps, ours.guidance_scale, ours.num_seeds) == (card.steps, card.guidance_scale, card.num_seeds)
    told = Sampler.of(load(pipe), steps=3, guidance_scale=0.0, num_seeds=None, seed=9)
    assert (told.steps, told.guidance_scale, told.num_seeds, told.seed) == (3, 0.0, card.num_seeds, 9)


def test_seeds_belong_to_an_item_and_a_longer_run_only_adds_some():
    few, many = (Sampler(2, 2.0, count, seed=4) for count in (2, 5))
    assert many.seeds("cat") == [seed_of(4, "cat", k) for k in range(5)]
    assert many.seeds("cat")[:2] == few.seeds("cat")
    assert not {*many.seeds("cat")} & {*many.seeds("dog")}


def test_generators_are_the_cpus_and_each_its_own():
    first, second = generators([7, 8])
    assert first.device.type == "cpu"
    assert torch.equal(torch.randn(5, generator=first), torch.randn(5, generator=torch.Generator().manual_seed(7)))
    assert torch.equal(torch.randn(5, generator=second), torch.randn(5, generator=torch.Generator().manual_seed(8)))


def test_latents_are_those_of_the_bare_pipeline(any_pipe):
    assert torch.equal(sampled(any_pipe), bare(any_pipe, PROMPTS, SEEDS))


def test_each_batch_is_a_call_of_its_own(pipe):
    expected = torch.cat([bare(pipe, PROMPTS[:2], SEEDS[:2]), bare(pipe, PROMPTS[2:], SEEDS[2:])])
    assert torch.equal(sampled(pipe, size=2), expected)


def test_arguments_of_the_pipeline_reach_it(pipe):
    assert sampled(pipe, height=16, width=24).shape == (3, 4, 4, 6)
    assert torch.equal(sampled(pipe, eta=1.0), bare(pipe, PROMPTS, SEEDS, eta=1.0))
    assert not torch.equal(sampled(pipe, eta=1.0), sampled(pipe))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_one_negative_prompt_serves_every_row(pipe, size):
    expected = torch.cat([bare(pipe, p, [s], negative_prompt="blue") for p, s in zip(PROMPTS, SEEDS, strict=True)])
    found = sampled(pipe, size=size, negative_prompt="blue")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, sampled(pipe), atol=1e-3)


def test_decoding_gives_the_pipelines_own_pixels(pipe):
    with torch.inference_mode():
        made = decode(load(pipe), sampled(pipe), Batching(2))
    assert all(image.finite for image in made)
    images = [image.pixels for image in made]
    expected = np.rint(bare(pipe, PROMPTS, SEEDS, output_type="np") * 255).astype(int)
    assert [(image.shape, image.dtype) for image in images] == [((32, 32, 3), np.dtype(np.uint8))] * 3
    assert np.abs(np.stack(images) - expected).max() <= 1  # the last bit may fall the other way between two batches
    assert np.ptp(expected) > 100


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_the_decoder_gives_that_is_no_number_is_told_by_image_and_black(pipe, value, monkeypatch):
    latents, own = sampled(pipe), pipe.vae.decode

    def spoilt(latents: torch.Tensor, **options: Any) -> Any:
        (pixels,) = own(latents, **options)
        pixels[-1, 1, 3, 4] = value  # a single number of the batch's last image
        return (pixels,)

    plain = decode(load(pipe), latents, Batching(2))
    monkeypatch.setattr(pipe.vae, "decode", spoilt)
    found = decode(load(pipe), latents, Batching(2))
    assert [image.finite for image in found] == [True, False, False]
    changed = [np.argwhere(a.pixels != b.pixels).tolist() for a, b in zip(found, plain, strict=True)]
    assert changed == [[], [[3, 4, 1]], [[3, 4, 1]]]
    assert {image.pixels[3, 4, 1] for image in found[1:]} == {0}


def test_encoding_gives_the_mean_of_the_posterior_in_the_units_of_the_denoiser(pipe):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        found = encode(load(pipe), images, Batching(2))
        mean = pipe.vae.quant_conv(pipe.vae.encoder(images)).chunk(2, dim=1)[0]
    torch.testing.assert_close(found, mean * pipe.vae.config.scaling_factor, rtol=1e-5, atol=1e-5)


def test_the_size_of_an_image_is_what_the_pipeline_makes(pipe):
    assert image_size(load(pipe)) == bare(pipe, "a cat", [1], output_type="np").shape[1:3]


def test_a_prompt_is_truncated_when_its_tokens_and_the_two_markers_do_not_fit(pipe):
    model = load(pipe)
    assert truncated_at(model, "") is None
    assert truncated_at(model, "abcdefghij") is None  # ten letters, a token each: 12 with start and end
    assert truncated_at(model, "abcdefghijk") == 12


def test_a_prompt_is_cut_where_the_call_says(tmp_path):
    """T5's tokens are a beginning, letters and an end here."""
    model, prompt = load(tiny_adapter("pixart", tmp_path)), "abcdefghijklmnop"
    assert [truncated_at(model, prompt, {"max_sequence_length": n}) for n in (17, 18)] == [17, None]
    assert truncated_at(model, prompt) is None
    assert truncated_at(model, prompt, {"max_sequence_length": None}) is None
    with pytest.raises(MemdetectError, match="'max_sequence_length' is 0, expected a number of tokens"):
        check_call(model, {"max_sequence_length": 0})
    assert [end_of(model, prompt, {"max_sequence_length": n}) for n in (8, 20)] == [7, 17]
    sampler = Sampler(2, 3.0, 1, call={"max_sequence_length": 8})
    run = run_of(model, sampler, [prompt], [0], Wanted((Need(lambda text: text.states, FIRST, "text"),)))
    assert run.ends == (7,)
