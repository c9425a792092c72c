"""Further queries of a step: at a part of the condition, along a direction, with noise of the image's own seed."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_adapters import ADAPTER_MAKERS, tiny_adapter

from memdetect.adapters import load
from memdetect.errors import MemdetectError
from memdetect.probing import Probe, Sampler, decode, probe_images, quiet
from memdetect.probing.asking import Wanted
from memdetect.probing.attention import Attention, Text, cross_attentions
from memdetect.probing.batches import Batching, seed_of
from memdetect.probing.checks import check_run
from memdetect.probing.decoding import Pictures
from memdetect.probing.needs import AFTER, FIRST, LAST, Need, Window
from memdetect.probing.sampling import Sampled, end_of, sample_watched
from memdetect.probing.steps import Step

pytestmark = pytest.mark.usefixtures("short_texts")
PROMPTS = {"prompt": ["a cat", "a photo of a red dog"], "label": ["207", "1"], "none": ["", ""]}
SEEDS = [11, 22]
TRUE_CFG = {"true_cfg_scale": 3.0, "negative_prompt": ""}


def watched(pipe: Any, needs: tuple[Need, ...], batch: int = 8, **changes: Any) -> Sampled:
    model = load(pipe)
    flux = model.adapter.halves == "two calls" and not model.distilled
    sampler = replace(Sampler(3, 3.0, 1, call=TRUE_CFG if flux else {}), **changes)
    with quiet():
        return sample_watched(model, PROMPTS[model.adapter.condition], SEEDS, sampler, Batching(batch), Wanted(needs))


def told(values: list[Any], when: Window = LAST, where: Any = "output") -> Need:
    """A need that keeps what its capture computes, by whatever it is given."""

    def keep(given: Any) -> torch.Tensor:
        values.append(given)
        return torch.zeros(len(SEEDS))

    return Need(keep, when, where)


def probing(work: Any) -> Need:
    def keep(step: Step) -> torch.Tensor:
        work(step)
        return step.x.new_zeros(len(step.x))

    return Need(keep, Window("at", 20.0))


def test_at_no_condition_and_at_the_whole_one_the_network_gives_its_two_branches(adapter_pipe):
    model, found = load(adapter_pipe), list[Any]()

    def work(step: Step) -> None:
        if step.uncond is None:
            with pytest.raises(MemdetectError, match="the run has no unconditional branch"):
                step.at_condition(0.5)
            return
        ends = [step.at_condition(share) for share in (0.0, 1.0)]
        found.append((step.uncond, step.cond, *ends, step.at_condition(0.5)))

    made = watched(adapter_pipe, (probing(work),))
    if model.distilled:
        assert (found, made.passes) == ([], 0)
        return
    ((uncond, cond, none, whole, half),) = found
    assert made.passes == 3
    torch.testing.assert_close(whole, cond, rtol=1e-4, atol=1e-5)
    if model.adapter.condition == "prompt":
        if model.adapter.pipeline != "PixArtSigmaPipeline":  # whose mask stays that of the prompt
            torch.testing.assert_close(none, uncond, rtol=1e-4, atol=1e-5)
        assert all((half - end).abs().max() > 1e-5 for end in (none, whole))
    else:  # a class is a number of a table, of which there is no half
        assert torch.equal(none, whole)


DERIVED = ["sd-epsilon", "sd-v", *(name for name in ADAPTER_MAKERS if name not in ("ddpm", "ddim"))]


@pytest.mark.parametrize("adapter_pipe", DERIVED, indirect=True)
def test_the_tangent_is_the_derivative_along_a_direction(adapter_pipe):
    """Not of a U-Net without text: torch has no derivative forwards of a view in its attention."""
    found = list[tuple[torch.Tensor, torch.Tensor]]()

    def work(step: Step) -> None:
        along = step.noise(1)
        h = 1e-2
        more, less = step.at(step.x + h * along), step.at(step.x - h * along)
        tangent = step.tangent(along)
        for name in ("cond", "gap", "clean", "noise_gap", "guided") if step.uncond is not None else ("cond", "clean"):
            found.append((getattr(tangent, name), (getattr(more, name) - getattr(less, name)) / (2 * h)))

    made = watched(adapter_pipe, (probing(work),))
    assert made.passes == (2 + 2) * (2 if load(adapter_pipe).adapter.halves == "two calls" and len(found) > 2 else 1)
    for exact, differences in found:
        assert float((exact - differences).norm() / differences.norm()) < 0.02


def test_noise_is_the_images_own_whatever_its_batch(pipe):
    found = list[torch.Tensor]()
    need = probing(lambda step: found.extend([step.noise(), step.noise(1)]))
    watched(pipe, (need,))
    watched(pipe, (need,), batch=1)
    whole, again, *single = found
    assert torch.equal(torch.cat(single[::2]), whole)
    assert torch.equal(torch.cat(single[1::2]), again)
    assert not torch.equal(whole, again)
    own = torch.Generator().manual_seed(seed_of(22, "", 0, "query"))
    assert torch.equal(whole[1], torch.randn(whole.shape[1:], generator=own))
    assert not torch.equal(whole[0], whole[1])


def test_finished_latents_are_noised_as_the_schedule_says(pipe):
    kept = list[Any]()

    def work(step: Step) -> torch.Tensor:
        asked, noise = step.noised(300)
        kept.append((step.x, asked.x, noise, asked.level, step.at(asked.x, 300).cond, asked.cond))
        return step.x.new_zeros(len(step.x))

    made = watched(pipe, (Need(work, AFTER),))
    x, noisy, noise, level, again, cond = kept[0]
    abar = pipe.scheduler.alphas_cumprod[300]
    torch.testing.assert_close(noisy, abar.sqrt() * x + (1 - abar).sqrt() * noise)
    assert level == pytest.approx((float(abar) ** 0.5, float(1 - abar) ** 0.5))
    assert torch.equal(again, cond)
    assert made.passes == 2


def test_a_given_image_has_noise_of_its_own_draw(pipe):
    found = list[torch.Tensor]()

    def keep(step: Step) -> torch.Tensor:
        found.append(step.noise())
        return step.x.flatten(1)

    model, latents = load(pipe), torch.zeros(2, 4, 8, 8)
    probe = replace(Probe.at(model, detectors=(), timesteps=[50]), needs=(Need(keep),), timesteps=(50,))
    probe = replace(probe, replay=Probe.at(model).replay)
    probe_images(model, latents=latents, sampler=Sampler(2, 3.0, 2), probe=probe)
    (noise,) = found
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 4


@pytest.mark.parametrize(
    ("adapter_pipe", "expected"),
    [("sd-epsilon", [5, 11]), ("sdxl", [5, 11]), ("pixart", [6, 21]), ("flux-true-cfg", [6, 21]), ("sd3", [5, 11])],
    indirect=["adapter_pipe"],
)
def test_the_end_of_a_prompt_is_that_of_the_text_attended_to(adapter_pipe, expected):
    """CLIP's tokens are letters here, between a start and an end, cut to 12; T5's are letters and spaces."""
    texts, model = list[Any](), load(adapter_pipe)
    watched(adapter_pipe, (told(texts, FIRST, "text"),))
    (text,) = texts
    assert isinstance(text, Text)
    assert len(text.states) == 2
    assert list(text.ends) == expected
    if model.adapter.pipeline != "PixArtSigmaPipeline":  # whose mask counts
        assert [end_of(model, prompt) for prompt in PROMPTS["prompt"]] == expected


def test_the_text_is_the_conditional_half(pipe):
    texts = list[Any]()
    watched(pipe, (told(texts, FIRST, "text"),))
    with torch.no_grad():
        expected = torch.cat([pipe.encode_prompt(p, "cpu", 1, False)[0] for p in PROMPTS["prompt"]])
    torch.testing.assert_close(texts[0].states, expected)


def test_values_are_those_that_each_layer_makes_of_the_text(pipe):
    texts, values = list[Any](), list[Any]()
    found = watched(pipe, (told(texts, FIRST, "text"), told(values, FIRST, "values")))
    names = [layer for need, layer in found.arrays if need.where == "values"]
    assert len(names) == len(values) == len(cross_attentions(pipe.unet)) >= 3
    for name, own in zip(names, values, strict=True):
        with torch.no_grad():
            expected = pipe.unet.get_submodule(name).to_v(texts[0].states)
        torch.testing.assert_close(own.states, expected)
        assert own.ends == texts[0].ends


def test_the_attention_to_the_end_is_a_map_of_the_layers_own_size():
    maps = torch.arange(2 * 6 * 4.0).view(2, 6, 4)
    found = Attention(maps, (1, 3), (4, 6)).of_end()
    assert found.shape == (2, 2, 3)
    assert torch.equal(found[0].flatten(), maps[0, :, 1])
    assert torch.equal(found[1].flatten(), maps[1, :, 3])
    assert Attention(torch.zeros(1, 15, 2), (0,), (5, 9)).of_end().shape == (1, 3, 5)  # a half is rounded upwards


def test_pictures_are_the_finished_images(adapter_pipe):
    shown, model = list[Any](), load(adapter_pipe)
    made = watched(adapter_pipe, (told(shown, AFTER, "pictures"),))
    (pictures,) = shown
    assert isinstance(pictures, Pictures)
    assert pictures.model is model or pictures.model.pipe is model.pipe
    with quiet():
        expected = decode(model, made.latents, Batching(8))
    for one, other in zip(pictures.shown, expected, strict=True):
        assert one.finite == other.finite
        assert abs(one.pixels.astype(int) - other.pixels).max() <= 1


def test_steps_in_a_row_by_hand():
    sigmas = (100.0, 19.0, 8.0, 3.0)
    assert list(Window("at", 20.0, 2).steps(sigmas)) == [1, 2]
    assert list(Window("at", 3.0, 2).steps(sigmas)) == [3]
    assert list(Window("first", count=2).steps(sigmas)) == [0, 1]
    assert list(Window("first", count=9).steps(sigmas)) == [0, 1, 2, 3]


class Asked:
    """What a check reads of a detector."""

    name, latents, seeds, unconditional = "mine", False, "mean", False

    def __init__(self, need: Need) -> None:
        self.needs = (need,)


@pytest.mark.parametrize(
    ("name", "need", "said"),
    [
        ("dit", Need(len, FIRST, "text"), "reads the numbers that stand for a prompt, and this model takes none"),
        ("ddim", Need(len, FIRST, embedding=True), "reads the numbers that stand for a prompt, and this model takes"),
        ("sd3", Need(len, FIRST, "values"), "no layer of its own for it (joint attention, or no text)"),
        ("sdxl", Need(len, FIRST, lacks=lambda model: f"wants no {model.adapter.pipeline}"), "wants no StableDiffusio"),
    ],
)
def test_what_a_model_lacks_is_said_by_name_before_the_first_image(name, need, said, tmp_path):
    with pytest.raises(MemdetectError) as caught:
        check_run(load(tiny_adapter(name, tmp_path)), Sampler(4, 3.0, 2), (Asked(need),))
    assert str(caught.value).startswith("detector 'mine' ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
