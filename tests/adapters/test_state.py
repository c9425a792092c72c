"""A digest says what weights and settings a pipeline has, in every process; what memdetect does itself is no change."""

import contextlib
import copy
import inspect
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers import DDIMScheduler, DPMSolverSinglestepScheduler, FlowMatchEulerDiscreteScheduler
from tiny_adapters import tiny_ddim

from memdetect.adapters import Model, load
from memdetect.adapters.state import settings_of
from memdetect.errors import MemdetectError
from memdetect.probing import Sampler, decode, probe_images, probe_prompts
from memdetect.probing.batches import Batching

DIGEST = """
import sys
sys.path.insert(0, sys.argv[1])
from tiny_adapters import tiny_ddim
from memdetect.adapters import load
print(load(tiny_ddim(None)).digest)
"""
TWO = Sampler(2, 2.0, 1)


@pytest.fixture
def live(pipe) -> Any:
    """A copy of the tiny pipeline that a test may change."""
    return copy.deepcopy(pipe)


def is_unchanged(model: Model) -> bool:
    found = None
    with contextlib.suppress(MemdetectError):
        found = load(model)
    return found is model


def test_a_digest_is_the_same_in_every_process():
    """Python orders a set of texts by another seed in each process, and diffusers keeps a list made of one."""
    code = [sys.executable, "-c", DIGEST, str(Path(__file__).parents[1])]
    other = subprocess.run(code, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "1"}, check=True)
    assert other.stdout.split() == [load(tiny_ddim(None)).digest]


def test_what_diffusers_notes_for_itself_is_no_setting(live):
    model, before = load(live), load(live).digest
    kept = list(live.scheduler.config["_use_default_values"])
    assert len(kept) > 2
    random.Random(0).shuffle(kept)
    live.scheduler.register_to_config(_use_default_values=kept)
    assert load(live).digest == before
    assert str(live.scheduler)  # which writes its class and diffusers' version into its settings
    assert load(live).digest == before
    assert is_unchanged(model)


def test_another_scheduler_of_the_same_settings_is_another_model(live):
    model, before = load(live), load(live).digest
    kind = type("OtherScheduler", (DDIMScheduler,), {})
    live.scheduler = kind.from_config(live.scheduler.config)
    assert load(live).digest != before
    assert not is_unchanged(model)


def test_long_betas_count_to_the_last(live):
    """As text an array of more than a thousand numbers is its ends alone."""
    betas = torch.linspace(1e-4, 0.02, 1200).numpy()
    digests = []
    for place in (600, 601):
        changed = betas.copy()
        changed[place] *= 1.01
        live.scheduler = DDIMScheduler(num_train_timesteps=1200, trained_betas=changed)
        digests.append(load(live).digest)
    assert digests[0] != digests[1]


def test_the_shift_of_a_flow_is_a_setting():
    """`set_shift` leaves the configuration as it was."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    before = settings_of(scheduler)
    scheduler.set_shift(5.0)
    assert settings_of(scheduler) != before
    assert settings_of(scheduler) == settings_of(FlowMatchEulerDiscreteScheduler(shift=5.0))


def schedulers() -> Iterator[Any]:
    """Every scheduler of diffusers that needs no arguments and no further packages."""
    for name in dir(diffusers):
        if name.endswith("Scheduler") and inspect.isclass(kind := getattr(diffusers, name, None)):
            try:
                made = kind()
                made.set_timesteps(4)
            except Exception:  # of packages that are missing, and of arguments
                continue
            yield kind()


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_changes_its_settings_by_running():
    found = list(schedulers())
    assert len(found) > 20
    for scheduler in found:
        before = settings_of(scheduler)
        for steps in (4, 5):
            scheduler.set_timesteps(steps)
        assert settings_of(scheduler) == before, type(scheduler).__name__


def test_a_scheduler_that_settles_itself_is_scanned(live):
    live.scheduler = DPMSolverSinglestepScheduler.from_config(live.scheduler.config)
    model, before = load(live), load(live).digest
    for _ in range(2):
        probe_prompts(model, ["a cat"], sampler=TWO)
    assert is_unchanged(model)
    live("a cat", num_inference_steps=3, output_type="latent")
    assert is_unchanged(model)
    assert load(live).digest == before


def test_what_a_run_of_ours_sets_is_set_back(live):
    """At an odd number of steps this one turns a setting on, which would hold for all later runs."""
    settings = {"final_sigmas_type": "sigma_min", "lower_order_final": False}
    live.scheduler = DPMSolverSinglestepScheduler.from_config(live.scheduler.config, **settings)
    model = load(live)
    one, two = (probe_prompts(model, ["a cat"], sampler=Sampler(3, 2.0, 1)) for _ in range(2))
    assert live.scheduler.config["lower_order_final"] is False
    assert all(torch.equal(two.arrays[key], array) for key, array in one.arrays.items())
    live.scheduler.register_to_config(lower_order_final=True)
    assert not is_unchanged(model)


def half_decoder(live: Any) -> Any:
    live.vae.register_to_config(force_upcast=True)
    live.vae.to(torch.float16)
    return live


def test_a_decoder_that_runs_in_fp32_is_half_again_afterwards(live):
    """So that a second shard finds the model that the first had, and the pipeline's own decoding the format it left."""
    vae, formats = half_decoder(live).vae, []
    vae.decoder.register_forward_pre_hook(lambda module, _args: formats.append(module.conv_in.weight.dtype))
    vae.encoder.register_forward_pre_hook(lambda module, _args: formats.append(module.conv_in.weight.dtype))
    model, weights = load(live), [value.clone() for value in vae.parameters()]
    with torch.inference_mode():
        shown = decode(model, torch.randn(3, 4, 8, 8), Batching(2))
    probe_images(model, torch.zeros(1, 3, 32, 32), sampler=TWO)
    assert formats == [torch.float32] * 3
    assert all(image.finite for image in shown)
    assert vae.dtype == torch.float16
    assert all(torch.equal(value, was) for value, was in zip(vae.parameters(), weights, strict=True))
    assert is_unchanged(model)
    assert load(live).digest == model.digest
    assert not any(value.is_inference() for value in vae.parameters())


def test_a_decoder_is_half_again_when_decoding_fails(live):
    model = load(half_decoder(live))
    with pytest.raises(RuntimeError):
        decode(model, torch.randn(1, 5, 8, 8), Batching(1))
    assert live.vae.dtype == torch.float16
    assert is_unchanged(model)


def test_a_wrapper_of_torch_compile_is_no_change(live):
    model = load(live)
    live.unet = torch.compile(live.unet)
    assert is_unchanged(model)
    assert load(live).digest == model.digest
    torch.compiler.reset()


def test_a_live_pipeline_under_offload_runs_where_its_hooks_take_it(live):
    """Its network says where it waits, and a run is recorded on the device that computes it."""
    for part in (live.vae, live.text_encoder, live.unet):
        cpu_offload_with_hook(part, torch.device("meta"))
    assert live.unet.device.type == "cpu"
    assert load(live).device == "meta"


def with_lora(live: Any) -> Any:
    from peft import LoraConfig

    live.unet.add_adapter(LoraConfig(target_modules=["to_q"], r=2))
    return live


def freeu(live: Any) -> None:
    live.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


TURNS: list[Callable[[Any], Any]] = [
    lambda live: live.unet.set_adapters("default", 0.2),
    lambda live: live.unet.disable_adapters(),
    lambda live: live.disable_lora(),
    freeu,
]


@pytest.mark.parametrize("turn", TURNS, ids=["scale", "adapters off", "lora off", "freeu"])
def test_what_is_turned_at_a_network_is_part_of_its_digest_and_state(live, turn):
    model = load(with_lora(live))
    assert is_unchanged(model)
    turn(live)
    assert load(live).digest != model.digest
    assert not is_unchanged(model)


def test_what_is_turned_back_is_the_model_that_was(live):
    bare = load(live)
    freeu(live)
    live.disable_freeu()
    assert is_unchanged(bare)
    assert load(live).digest == bare.digest
    model = load(with_lora(live))
    live.unet.set_adapters("default", 0.2)
    live.unet.set_adapters("default", 1.0)
    live.disable_lora()
    live.enable_lora()
    assert load(live).digest == model.digest
    assert is_unchanged(model)
