"""Weights open by file, revision and LoRA; what does not fit, or is not what it says, is refused in one line."""

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors.torch import save_file
from tiny_adapters import tiny_adapter, tiny_unet2d

from memdetect.adapters import ADAPTERS, load, opening
from memdetect.adapters.cards import card_of
from memdetect.adapters.opening import DTYPES
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs import bundled
from memdetect.inputs.options import Loading
from memdetect.probing import Probe, Sampler, image_size, probe_images

SD1 = "model.diffusion_model.output_blocks.11.0.skip_connection.weight"
SDXL = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"
SD35 = "model.diffusion_model.joint_blocks.37.x_block.mlp.fc1.weight"


def single(path: Path, *names: str) -> Path:
    save_file({name: torch.zeros(2, 2) for name in names}, path)
    return path


@pytest.mark.parametrize(
    ("names", "kind"),
    [([SD1], "StableDiffusionPipeline"), ([SDXL], "StableDiffusionXLPipeline"), ([SD35], "StableDiffusion3Pipeline")],
)
def test_a_single_file_opens_as_what_its_tensors_are_called(tmp_path, pipe, model_folder, monkeypatch, names, kind):
    """Conversion is diffusers' own; what is ours is which class, and that nothing but the asked-for is passed."""
    path, called = single(tmp_path / "mine.safetensors", *names), []

    def instead(given: str, **options: Any) -> Any:
        called.append((given, options))
        return pipe

    monkeypatch.setattr(getattr(diffusers, kind), "from_single_file", instead)
    model = load(path, Loading(device="cpu", config=str(model_folder), offline=True))
    expected = {"torch_dtype": torch.float32, "local_files_only": True, "config": str(model_folder)}
    assert called == [(str(path), expected)]
    assert (model.pipe, model.folder) == (pipe, None)


def test_a_single_file_of_something_else_is_refused(tmp_path):
    path = single(tmp_path / "other.safetensors", "layer.weight")
    with pytest.raises(MemdetectError, match="a single file of kind 'unknown' is not supported; expected v1"):
        load(path, Loading(device="cpu"))
    (tmp_path / "mine.ckpt").write_bytes(b"pickle")
    with pytest.raises(MemdetectError, match=r"mine.ckpt is no .safetensors file; convert the weights"):
        load(tmp_path / "mine.ckpt", Loading(device="cpu"))


def test_what_is_asked_for_reaches_diffusers(model_folder, monkeypatch):
    called: list[dict[str, Any]] = []
    asked_of_hub: list[tuple[str, dict[str, Any]]] = []

    def fetch(place: str, *_: Any, **options: Any) -> str:
        asked_of_hub.append((place, {k: v for k, v in options.items() if v}))
        return str(model_folder / "model_index.json" if _ else model_folder)

    monkeypatch.setattr(opening, "hf_hub_download", fetch)
    monkeypatch.setattr(opening.DiffusionPipeline, "download", fetch)
    monkeypatch.setattr(opening.DiffusionPipeline, "from_pretrained", lambda *_a, **options: called.append(options))
    asked = Loading(revision="abc", variant="fp16", device_map="balanced", offline=True)
    opening.open_pipeline("own/er", torch.bfloat16, asked)
    opening.open_pipeline("own/er", torch.float32, Loading())
    first, second = called
    assert {**first, "safety_checker": 0} == {
        "torch_dtype": torch.bfloat16,
        "local_files_only": True,
        "use_safetensors": True,
        "safety_checker": 0,
        "variant": "fp16",
        "device_map": "balanced",
    }
    here = {"revision": "abc", "local_files_only": True}
    assert asked_of_hub[:2] == [
        ("own/er", here),
        ("own/er", {**here, "variant": "fp16", "use_safetensors": True}),
    ]
    assert "revision" not in asked_of_hub[2][1]
    assert second["local_files_only"] is False
    assert "variant" not in second


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_estimate_is_what_the_networks_weigh(pipe, model_folder, dtype):
    parts = [value for value in pipe.components.values() if isinstance(value, torch.nn.Module)]
    count = sum(prod(p.shape) for part in parts for p in part.state_dict().values() if p.is_floating_point())
    assert opening.weight_bytes(model_folder, DTYPES[dtype]) == count * DTYPES[dtype].itemsize


def test_a_variant_is_weighed_alone(model_folder, pipe, tmp_path):
    whole = opening.weight_bytes(model_folder, torch.float16)
    pipe.save_pretrained(tmp_path, variant="fp16")
    assert opening.weight_bytes(tmp_path, torch.float16, "fp16") == whole
    pipe.save_pretrained(tmp_path)
    assert opening.weight_bytes(tmp_path, torch.float16) == opening.weight_bytes(tmp_path, torch.float16, "fp16")
    assert opening.weight_bytes(tmp_path, torch.float16) == whole


def test_weights_that_cannot_fit_are_refused_before_they_are_read(model_folder, monkeypatch):
    monkeypatch.setattr(opening, "memory_of", lambda _device: 1000)
    monkeypatch.setattr("memdetect.adapters.models.open_pipeline", lambda *_: pytest.fail("opened"))
    with pytest.raises(MemdetectError, match=r"the weights take 0\.0 GB as fp32, cpu has 0\.0 GB; use --dtype bf16"):
        load(str(model_folder), Loading(device="cpu"))


def test_offload_from_a_cpu_is_refused(model_folder):
    with pytest.raises(MemdetectError, match="--cpu-offload needs an accelerator"):
        load(str(model_folder), Loading(device="cpu", cpu_offload=True))


def test_hooks_see_the_same_under_offload(model_folder):
    """accelerate wraps the forward and moves the network before it; here from the CPU to the CPU."""
    plain, moved = (load(str(model_folder), Loading(device="cpu")) for _ in range(2))
    cpu_offload_with_hook(moved.pipe.unet, torch.device("cpu"))
    assert hasattr(moved.pipe.unet, "_hf_hook")
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sampler = Sampler(2, 2.0, 1)
    one, two = (probe_images(model, latents=latents, sampler=sampler) for model in (plain, moved))
    for key, array in one.arrays.items():
        assert torch.equal(two.arrays[key], array)


def test_tiling_is_the_decoders(model_folder):
    assert load(str(model_folder), Loading(device="cpu", vae_tiling=True)).pipe.vae.use_tiling


def test_auto_is_the_cards_dtype_or_that_of_the_device(model_folder):
    assert load(str(model_folder), Loading(device="cpu", dtype="auto")).dtype == "fp32"


def test_bf16_agrees_with_fp32_within_its_rounding(adapter_pipe):
    """Dozens of roundings add at most half of bf16's eps, 2**-7, each; channel maxima agree to 16 times that."""
    model = load(adapter_pipe)
    latents = torch.randn(2, *_shape(model), generator=torch.Generator().manual_seed(0))
    sampler, ids = Sampler(2, 2.0, 1), ["a", "b"]
    exact = probe_images(model, latents=latents, ids=ids, sampler=sampler)
    network = model.denoiser
    probe = Probe.at(model)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.to(torch.bfloat16)
    try:
        call = {k: _cast(v, torch.bfloat16) for k, v in probe.replay.call.items()}
        rounded = replace(probe, replay=_with_call(probe.replay, call))
        found = probe_images(model.pipe, latents=latents, ids=ids, sampler=sampler, probe=rounded)
    finally:
        network.to(torch.float32).load_state_dict(kept)
    for key, array in exact.arrays.items():
        worst = float((found.arrays[key] - array).abs().max() / array.abs().max())
        assert 0 < worst < 16 * torch.finfo(torch.bfloat16).eps / 2, key


def _shape(model: Any) -> tuple[int, ...]:
    height, width = image_size(model)
    if model.adapter.condition == "none":
        return 3, height, width
    return model.pipe.vae.config.latent_channels, height // 4, width // 4


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, dict):
        return {k: _cast(v, dtype) for k, v in value.items()}
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _with_call(replay: Any, call: dict[str, Any]) -> Any:
    return type(replay)(replay.denoiser, call, packed=replay.packed, clock=replay.clock)


def test_a_bare_network_of_pixels_is_a_model():
    model = load(tiny_unet2d())
    assert (model.adapter.pipeline, type(model.pipe.scheduler).__name__) == ("DDPMPipeline", "DDPMScheduler")


def test_every_adapter_opens_again_from_its_folder(adapter_pipe, tmp_path):
    adapter_pipe.save_pretrained(tmp_path)
    model = load(str(tmp_path), Loading(device="cpu"))
    assert model.adapter is ADAPTERS[type(adapter_pipe).__name__]
    saved = getattr(adapter_pipe, model.adapter.denoiser).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.denoiser.state_dict().items())


def test_a_card_without_weights_names_its_mirrors_when_the_repository_is_gone(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    text = 'name = "mine"\nrepo = "gone/mine"\nmirrors = ["kept/mine", "also/mine"]\nsteps = 7\n'
    (tmp_path / "models" / "mine" / "card.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(bundled, "root", lambda: tmp_path)
    for name in ("mine", "gone/mine"):
        with pytest.raises(MemdetectError, match=r"'gone/mine' could not be opened: .*mirrors to try: kept/mine, also"):
            load(name, Loading(device="cpu", offline=True))
        assert card_of(name).steps == 7
    moved = card_of("kept/mine")
    assert (moved.repo, moved.mirrors) == ("kept/mine", ("gone/mine", "also/mine"))
    assert card_of("other/mine").repo == ""


CARDS = [name for name in bundled.models() if card_of(name).repo]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_on_a_hub_says_what_has_not_been_measured(name):
    card = card_of(name)
    assert card.name == name
    assert card.repo.count("/") == 1
    assert all((card.about, card.licence, card.trained, card.default))
    assert card.measured.startswith("nothing by memdetect")


def test_the_models_that_people_have_have_cards():
    assert {"sd-v1-4", "sd-v1-5", "sd-v2-1", "sdxl-base", "sd3-medium", "flux-dev", "pixart-sigma"} <= set(CARDS)
    assert {"dit-xl-2", "ddpm-cifar10"} <= set(CARDS)
    assert "emoji-scenes" not in CARDS


def test_a_pipeline_of_an_adapter_is_not_changed_by_being_loaded(tmp_path):
    pipe = tiny_adapter("dit", tmp_path)
    before = dict(pipe.scheduler.config)
    load(pipe)
    assert dict(pipe.scheduler.config) == before


def test_files_of_a_variant_alone_are_told(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, variant="fp16")
    with pytest.raises(MemdetectError, match=r"its files are of the variant fp16: give --variant fp16") as caught:
        load(str(tmp_path), Loading(device="cpu"))
    assert "\n" not in str(caught.value)
    assert load(str(tmp_path), Loading(device="cpu", variant="fp16")).device == "cpu"


@pytest.mark.parametrize("problem", [SingleFileComponentError("no text encoder\nin it"), OSError("not in the cache")])
def test_a_single_file_that_lacks_a_part_is_one_line(tmp_path, monkeypatch, problem):
    """As large models are published: the denoiser alone."""

    def fails(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "from_single_file", fails)
    file = single(tmp_path / "model.safetensors", SD1)
    with pytest.raises(
        MemdetectError, match=r"may lack parts, such as text encoders: scan a folder .*--config"
    ) as caught:
        load(str(file), Loading(device="cpu", offline=True))
    assert "\n" not in str(caught.value)


def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memdetect.adapters.models.open_pipeline", lambda *_: pytest.fail("opened"))


@pytest.mark.parametrize("options", [{}, {"cpu_offload": True}], ids=["alone", "with offload"])
def test_a_single_file_cannot_be_spread(tmp_path, monkeypatch, options):
    """diffusers takes no map with a file: it would run on the CPU and be recorded as run on a GPU."""
    unopened(monkeypatch)
    path = single(tmp_path / "mine.safetensors", SD1)
    with pytest.raises(MemdetectError, match="--device-map spreads the networks of a folder or hub id") as caught:
        load(path, Loading(device="cpu", device_map="balanced", **options))
    assert "\n" not in str(caught.value)
    assert caught.value.exit is Exit.USAGE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "cpu", "cpu_offload": True}, "--device-map and --cpu-offload each say where the networks wait"),
        ({"device": "cuda:1"}, "--device cuda:1 is one device, --device-map balanced spreads over all of them"),
        ({"device": "cpu"}, "--device cpu is one device, --device-map balanced spreads over all of them"),
    ],
)
def test_a_plan_for_devices_stands_alone(model_folder, monkeypatch, options, said):
    unopened(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(opening, "memory_of", lambda _device: 0)
    with pytest.raises(MemdetectError, match=f"^{said}") as caught:
        load(str(model_folder), Loading(dtype="fp32", device_map="balanced", **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", [None, "cuda"])
def test_a_plan_may_say_which_kind_of_device(model_folder, monkeypatch, device):
    """A worker of Ray is told the kind that the run was begun on."""
    called: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(opening, "memory_of", lambda _device: 0)
    monkeypatch.setattr(opening.DiffusionPipeline, "from_pretrained", lambda *_a, **options: called.append(options))
    with pytest.raises(MemdetectError, match="could not be opened"):
        load(str(model_folder), Loading(device=device, dtype="fp32", device_map="balanced"))
    assert called[0]["device_map"] == "balanced"


@pytest.mark.parametrize(
    ("device", "dtype", "file", "cures"),
    [
        ("cuda", "fp32", True, "--dtype bf16 or --cpu-offload"),
        ("cuda", "bf16", True, "--cpu-offload"),
        ("cuda", "fp32", False, "--dtype bf16 or --cpu-offload or --device-map balanced"),
        ("cpu", "fp32", False, "--dtype bf16"),
        ("cpu", "bf16", False, "a device with more memory"),
    ],
)
def test_what_does_not_fit_is_told_what_would_help_there(
    tmp_path, model_folder, monkeypatch, device, dtype, file, cures
):
    monkeypatch.setattr(opening, "memory_of", lambda _device: 1)
    where = single(tmp_path / "mine.safetensors", SD1) if file else model_folder
    with pytest.raises(MemdetectError) as caught:
        opening.check_fits(where, device, dtype, Loading())
    assert str(caught.value).endswith(f"; use {cures}")
