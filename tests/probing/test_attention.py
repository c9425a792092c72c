"""Attention that is worked out beside the network is that of diffusers' explicit processor, and changes nothing."""

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from tiny_adapters import tiny_adapter

from memdetect.adapters import load
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import Sampler, quiet
from memdetect.probing.asking import Wanted
from memdetect.probing.attention import Attention, attending, cross_attentions
from memdetect.probing.batches import Batching
from memdetect.probing.needs import FIRST, RUN, Need
from memdetect.probing.sampling import Sampled, sample_watched

PROMPTS, SEEDS = ["a cat", "a photo of a red dog and a cat"], [1, 2]


class Explicit(AttnProcessor):
    """Diffusers' processor that forms the matrix of probabilities, kept as [row head position token]."""

    def __init__(self, kept: list[torch.Tensor]) -> None:
        self.kept = kept

    def __call__(self, attn: Any, *args: Any, **kwargs: Any) -> Any:
        own = attn.get_attention_scores

        def scores(*given: Any) -> torch.Tensor:
            found = own(*given)
            self.kept.append(found.unflatten(0, (-1, attn.heads)))
            return found

        attn.get_attention_scores = scores
        try:
            return super().__call__(attn, *args, **kwargs)
        finally:
            del attn.get_attention_scores


def maps(attention: Attention) -> torch.Tensor:
    return attention.maps


def watched(pipe: Any, needs: tuple[Need, ...], scale: float = 3.0) -> Sampled:
    model = load(pipe)
    with quiet():
        return sample_watched(model, PROMPTS, SEEDS, Sampler(2, scale, 1), Batching(8), Wanted(needs))


@pytest.fixture(scope="module", params=["sd", "pixart"])
def network(request: pytest.FixtureRequest, pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A U-Net, and a transformer whose padding is masked."""
    return pipe if request.param == "sd" else tiny_adapter("pixart", tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_maps_are_those_of_an_explicit_processor(network, scale):
    """The conditional rows of each layer and step, the mean over heads; the explicit run gives the same image."""
    need = Need(maps, RUN, "attention")
    found = watched(network, (need,), scale)
    modules, kept = cross_attentions(load(network).denoiser), dict[str, list[torch.Tensor]]()
    before = {name: module.processor for name, module in modules.items()}
    for name, module in modules.items():
        module.set_processor(Explicit(kept.setdefault(name, [])))
    try:
        again = watched(network, (Need(place, FIRST),), scale)
    finally:
        for name, module in modules.items():
            module.set_processor(before[name])
    assert set(kept) == {layer for _, layer in found.arrays}
    assert len(kept) >= 3
    torch.testing.assert_close(found.latents, again.latents, rtol=1e-3, atol=1e-3)
    for name, steps in kept.items():
        expected = torch.stack([step.mean(dim=1)[-2:] for step in steps])
        array = found.arrays[need, name]
        torch.testing.assert_close(array, expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(array.sum(dim=-1), torch.ones(array.shape[:-1]))
        assert array[0].std() > 0


def place(step: Any) -> torch.Tensor:
    return step.x


def test_masked_padding_is_attended_by_nobody(tmp_path):
    """ "a cat" has six tokens of letters and an end; without the mask the rest would have its share."""
    need = Need(maps, FIRST, "attention")
    found = watched(tiny_adapter("pixart", tmp_path), (need,))
    for array in found.arrays.values():
        tokens = (array[0] > 1e-6).any(dim=1).sum(dim=1)
        assert tokens[0] < tokens[1] < array.shape[-1]


def test_a_run_whose_attention_is_watched_is_the_same_to_the_bit(network):
    plain = watched(network, ())
    assert torch.equal(watched(network, (Need(maps, RUN, "attention"),)).latents, plain.latents)


def test_maps_are_worked_out_only_in_calls_that_want_them(pipe):
    """Not at later steps, nor in the further queries of a capture."""
    told, asked = list[str](), list[int]()

    def last(attention: Attention) -> torch.Tensor:
        told.append("map")
        return attention.maps[:, 0]

    def again(step: Any) -> torch.Tensor:
        asked.append(step.number)
        return step.at(step.x).cond

    watched(pipe, (Need(last, FIRST, "attention"), Need(again, RUN)))
    assert (len(told), asked) == (len(cross_attentions(pipe.unet)), [0, 1])
    called = list[str]()
    handles = attending(pipe.unet, lambda layer, _maps: called.append(layer), lambda: False)
    with torch.no_grad():
        pipe.unet(torch.zeros(1, 4, 8, 8), 5, torch.zeros(1, 12, 16))
    for handle in handles:
        handle.remove()
    assert called == []


@pytest.mark.parametrize("name", ["sd3", "flux-distilled", "ddim"])
def test_a_network_without_such_layers_has_none(name, tmp_path):
    pipe = tiny_adapter(name, tmp_path)
    assert cross_attentions(load(pipe).denoiser) == {}
    if name != "ddim":
        with pytest.raises(
            MemdetectError, match="maps was captured 0 times in 1 steps; the network has no att"
        ) as caught:
            watched(pipe, (Need(maps, FIRST, "attention"),))
        assert caught.value.exit is Exit.ERROR
