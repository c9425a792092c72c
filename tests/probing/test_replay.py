"""What is replayed without a condition is what the pipeline itself runs beside the prompt when it guides."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_adapters import ADAPTER_MAKERS, tiny_adapter

from memdetect.adapters import Model, load
from memdetect.adapters.conditions import guided_call
from memdetect.errors import Exit, MemdetectError
from memdetect.probing import Replay, quiet, record
from memdetect.probing.replay import _row, unconditional

OWN = ("sample", "hidden_states", "timestep")  # what a replay puts in the place of the recorded
TEXTS = {"prompt": ("a cat", "a red dog"), "label": ("207", "1"), "none": ("", "")}
LATENT = {"prompt": "latent", "label": "np", "none": "np"}
PROMPTED = ["sd-epsilon", "sd-v", *(name for name in ADAPTER_MAKERS if name not in ("dit", "ddpm", "ddim"))]


def guided(model: Model, prompt: str) -> list[dict[str, torch.Tensor]]:
    """Tensors of each call that a hook sees in one guided step of the bare pipeline, by their names."""
    pipe, seen = model.pipe, list[dict[str, torch.Tensor]]()
    handle = model.denoiser.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(dict(tensors(kwargs))), with_kwargs=True
    )
    call: dict[str, Any] = {"num_inference_steps": 1, "output_type": LATENT[model.adapter.condition]}
    call |= {"generator": torch.Generator().manual_seed(0), "guidance_scale": 4.0, **model.adapter.fixed}
    call |= {"class_labels": [int(prompt)]} if model.adapter.condition == "label" else {"prompt": prompt}
    if model.adapter.pipeline == "FluxPipeline":
        call |= {"true_cfg_scale": 4.0, "negative_prompt": ""}
    try:
        with torch.inference_mode():
            pipe(**call)
    finally:
        handle.remove()
    return seen


def tensors(call: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in call.items():
        if isinstance(value, dict):
            yield from tensors(value, f"{prefix}{name}.")
        elif isinstance(value, torch.Tensor) and name not in OWN:
            yield prefix + name, value


def unmoved(first: list[dict[str, torch.Tensor]], second: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The part of a guided step that is the same for two prompts: of one call a row, of two calls one of them."""
    if len(first) == 2:
        same = [a for a, b in zip(first, second, strict=True) if all(torch.equal(a[name], b[name]) for name in a)]
    else:
        rows = [
            [{name: value[k : k + 1] for name, value in calls[0].items()} for k in (0, 1)] for calls in (first, second)
        ]
        same = [a for a, b in zip(*rows, strict=True) if all(torch.equal(a[name], b[name]) for name in a)]
    (found,) = same
    return found


def alike(replay: Replay, expected: dict[str, torch.Tensor]) -> bool:
    found = dict(tensors(replay.call))
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def swapped(model: Model) -> Model:
    """The same model under a row of adapters with its halves the wrong way round."""
    turned = {"uncond+cond": "cond+uncond", "cond+uncond": "uncond+cond", "two calls": "two calls"}
    return replace(model, adapter=replace(model.adapter, halves=turned[model.adapter.halves]))


def check(model: Model) -> None:
    texts = TEXTS[model.adapter.condition]
    runs = [guided(model, text) for text in texts]
    expected = unmoved(*runs)
    assert alike(record(model), expected)
    for text in texts:
        assert alike(unconditional(model, {}, text), expected)
    if model.adapter.halves != "two calls":
        assert not alike(unconditional(swapped(model), {}, texts[0]), expected)
    assert len(next(iter(record(model).call.values()))) == 1


def test_the_call_is_the_pipelines_own_unconditional_branch(adapter_pipe):
    model = load(adapter_pipe)
    if model.distilled:
        with quiet():
            empty = Replay.record(model.denoiser, lambda: model.pipe(**bare_empty(model)))
        assert alike(record(model), dict(tensors(empty.call)))
        return
    check(model)


def bare_empty(model: Model) -> dict[str, Any]:
    """One step of the bare pipeline without guidance and without a condition."""
    call: dict[str, Any] = {"num_inference_steps": 1, **model.adapter.fixed}
    if model.adapter.condition == "none":
        return {**call, "batch_size": 1, "output_type": "np"}
    return {**call, "prompt": "", "guidance_scale": 1.0, "output_type": "latent"}


@pytest.mark.parametrize("zeros", [True, False])
def test_sdxls_branch_is_zeros_where_its_configuration_says_so(zeros, tmp_path):
    pipe = tiny_adapter("sdxl", tmp_path / "tokenizer")
    pipe.register_to_config(force_zeros_for_empty_prompt=zeros)
    model = load(pipe)
    check(model)
    call = record(model).call
    texts = (call["encoder_hidden_states"], call["added_cond_kwargs"]["text_embeds"])
    assert [bool(text.any()) for text in texts] == [not zeros, not zeros]
    assert call["added_cond_kwargs"]["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]]
    assert alike(record(swapped(model)), dict(tensors(call))) is not zeros


@pytest.mark.parametrize("adapter_pipe", PROMPTED, indirect=True)
def test_the_size_asked_for_is_that_of_the_branch(adapter_pipe):
    model = load(adapter_pipe)
    replay = record(model, call={"height": 16, "width": 48})
    channels = 16 if model.adapter.pipeline == "StableDiffusion3Pipeline" else 4
    expected = (2 * 6, 16) if model.adapter.packed else (channels, 4, 12)  # of FLUX tokens of 2x2 patches
    assert replay.call[replay.sample].shape == (1, *expected)


def test_a_row_of_adapters_that_is_not_so_is_named(tmp_path):
    model = load(tiny_adapter("sdxl", tmp_path / "tokenizer"))
    wrong = replace(model, adapter=replace(model.adapter, halves="two calls"))
    with pytest.raises(MemdetectError, match="never called its denoiser 2 times") as caught:
        record(wrong)
    assert caught.value.exit is Exit.ERROR
    flux = load(tiny_adapter("flux-true-cfg", tmp_path / "flux"))
    with pytest.raises(MemdetectError, match="holds 1 rows for one image, its adapter says 'uncond\\+cond'"):
        record(replace(flux, adapter=replace(flux.adapter, halves="uncond+cond")))


def test_a_dit_of_other_classes_keeps_its_own_null_class(tmp_path):
    model = load(tiny_adapter("dit", tmp_path / "tokenizer"))
    assert record(model).call["class_labels"].tolist() == [1000]
    model.denoiser.register_to_config(num_embeds_ada_norm=10)
    assert record(model).call["class_labels"].tolist() == [10]


def test_a_row_is_cut_out_of_what_has_two_and_nothing_else():
    two, three, number = torch.arange(4).view(2, 2), torch.arange(3), torch.tensor(2)
    held = {"mask": two, "ids": three, "t": number, "inside": {"text": [two, None]}, "scale": 2}
    for k in (0, 1):
        found = _row(held, k)
        assert torch.equal(found["mask"], two[k : k + 1])
        assert torch.equal(found["inside"]["text"][0], two[k : k + 1])
        assert found["ids"] is three
        assert found["t"] is number
        assert (found["inside"]["text"][1], found["scale"]) == (None, 2)


def test_no_prompt_to_avoid_is_given_where_the_pipeline_has_a_default_of_its_own(adapter_pipe):
    """With negative_prompt="" SDXL would encode it instead of taking zeros."""
    model = load(adapter_pipe)
    if model.adapter.condition != "none":
        assert ("negative_prompt" in guided_call(model, {})) == (model.adapter.pipeline == "FluxPipeline")


@pytest.mark.parametrize(
    ("name", "call", "shown"),
    [
        (
            "sdxl",
            {"original_size": (48, 64), "crops_coords_top_left": (4, 8), "target_size": (32, 40)},
            lambda held: held["added_cond_kwargs"]["time_ids"].flatten().tolist() == [48, 64, 4, 8, 32, 40],
        ),
        ("pixart", {"max_sequence_length": 16}, lambda held: held["encoder_hidden_states"].shape[1] == 16),
        ("flux-distilled", {"max_sequence_length": 16}, lambda held: held["encoder_hidden_states"].shape[1] == 16),
    ],
)
def test_the_network_is_told_of_sizes_and_lengths_as_in_the_run(name, call, shown, tmp_path):
    model = load(tiny_adapter(name, tmp_path))
    assert shown(record(model, call=call).call)
    assert not shown(record(model).call)
