"""A model opens by folder or as a live pipeline; what cannot be opened safely is a usage error of one line."""

import json
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_adapters import tiny_adapter

from memdetect.adapters import Model, check_call, load
from memdetect.adapters.models import MANAGED, _placement
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs import bundled
from memdetect.inputs.options import Loading
from memdetect.probing import Sampler, probe_prompts

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def refusal(call: Callable[[], Any]) -> str:
    """The message of a usage error: one line, and no other exception shown with it."""
    with pytest.raises(MemdetectError) as caught:
        call()
    assert caught.value.exit is Exit.USAGE
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def opened(folder: Path | str, **options: str) -> Model:
    return load(str(folder), Loading(device="cpu", **options))


@pytest.fixture
def copy(model_folder, tmp_path) -> Path:
    """A copy of the model folder that a test may change."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_folder_opens_with_the_weights_that_were_saved(pipe, model_folder):
    model = opened(model_folder)
    assert (model.device, model.dtype, model.folder) == ("cpu", "fp32", model_folder)
    assert (model.adapter.pipeline, model.card.name) == ("StableDiffusionPipeline", "")
    assert model.denoiser is model.pipe.unet
    saved = pipe.unet.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in model.denoiser.state_dict().items())


def test_a_path_object_is_a_folder_too(model_folder):
    assert load(model_folder, Loading(device="cpu")).digest == opened(model_folder).digest


def test_a_dtype_is_what_the_networks_get(model_folder):
    model = opened(model_folder, dtype="bf16")
    assert model.dtype == "bf16"
    assert {module.dtype for module in (model.pipe.unet, model.pipe.vae, model.pipe.text_encoder)} == {torch.bfloat16}


def test_the_card_of_a_folder_is_read(copy):
    (copy / "card.toml").write_text('layers = ["mid_block"]\nsteps = 7\n', encoding="utf-8")
    model = opened(copy)
    assert (model.card.layers, model.card.steps) == (("mid_block",), 7)


def test_a_bundled_model_opens_by_its_name(copy, monkeypatch):
    (copy / "card.toml").write_text('name = "mine"\n', encoding="utf-8")
    (copy.parent / "models").mkdir()
    copy.rename(copy.parent / "models" / "mine")
    monkeypatch.setattr(bundled, "root", lambda: copy.parent)
    model = opened("mine")
    assert (model.name, model.card.name) == ("mine", "mine")
    assert "did you mean 'mine'? (bundled: mine)" in refusal(lambda: opened("mime"))


def test_a_live_pipeline_of_two_number_formats_is_refused(pipe):
    """What transformers makes of weights that were stored in half, beside a network that diffusers widened."""
    kept = {name: value.clone() for name, value in pipe.text_encoder.state_dict().items()}
    pipe.text_encoder.to(torch.float16)
    try:
        said = refusal(lambda: probe_prompts(pipe, ["a cat"]))
    finally:
        pipe.text_encoder.to(torch.float32).load_state_dict(kept)
    assert "text_encoder is torch.float16, unet is torch.float32; use pipe.to(torch.float32)" in said


def test_two_number_formats_are_fine_where_torch_casts_by_itself(pipe):
    mixed = deepcopy(pipe)
    mixed.text_encoder.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = probe_prompts(mixed, ["a cat"], sampler=Sampler(1, 2.0, 1))
    assert all(array.isfinite().all() for array in made.arrays.values())
    with torch.autocast("cuda", dtype=torch.bfloat16):  # of another device, which casts nothing here
        assert "differ in their number format" in refusal(lambda: probe_prompts(mixed, ["a cat"]))


def test_a_live_pipeline_is_taken_as_it_is(any_pipe):
    model = load(any_pipe)
    assert model.pipe is any_pipe
    assert (model.name, model.device, model.dtype, model.folder) == ("live pipeline", "cpu", "fp32", None)


def test_a_model_passes_through(pipe):
    model = load(pipe)
    assert load(model) is model


def test_points_of_a_model_know_the_alias_of_its_adapter(pipe):
    assert [p.name for p in load(pipe).points(("paper",))] == ["up_blocks.0.resnets.0", "up_blocks.0.resnets.1"]
    assert "closest: paper" in refusal(lambda: load(pipe).points(("papers",)))


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_refused(name):
    assert "--model is empty" in refusal(lambda: load(name))


@pytest.mark.parametrize("name", ["no-such-model", "./nowhere/at-all", "/no/such", "a/b/c"])
def test_a_name_that_is_neither_folder_nor_bundled_nor_hub_id_is_refused(name):
    assert f"no model '{name}': neither a folder nor a bundled model" in refusal(lambda: load(name))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", __file__ + "/model"], ids=["long", "nul", "below a file"])
def test_a_name_that_no_path_can_have_is_refused(name):
    assert refusal(lambda: load(name)).startswith(f"no model {name!r:.80}: ")


def test_a_hub_id_that_is_not_there_is_refused():
    assert "'nobody/nothing' could not be opened" in refusal(lambda: opened("nobody/nothing"))


def test_a_misspelt_folder_that_reads_like_a_hub_id_is_told_with_its_neighbour(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "fine-tuned").symlink_to(model_folder)
    said = refusal(lambda: opened("models/fine-tunde"))
    assert "did you mean 'models/fine-tuned'? " in said
    assert "did you mean 'emoji-scenes'? " in refusal(lambda: opened("nobody/emoji-scene"))
    assert "did you mean" not in refusal(lambda: opened("nobody/nothing"))


def test_an_object_that_is_no_pipeline_is_refused():
    assert "pipeline class 'object' is not supported" in refusal(lambda: load(object()))


def test_a_folder_without_an_index_is_refused(tmp_path):
    assert "no model_index.json" in refusal(lambda: opened(tmp_path))


def pickled(folder: Path, part: str, name: str) -> None:
    """Replace the safetensors of a part by a pickle of the same weights."""
    (file,) = (folder / part).glob("*.safetensors")
    torch.save(load_file(file), folder / part / name)
    file.unlink()


PICKLES = {
    "unet": "diffusion_pytorch_model.bin",
    "vae": "diffusion_pytorch_model.bin",
    "text_encoder": "pytorch_model.bin",
}


def test_a_folder_of_pickles_is_refused(copy):
    for part, name in PICKLES.items():
        pickled(copy, part, name)
    assert "holds no .safetensors file" in refusal(lambda: opened(copy))


@pytest.mark.parametrize("part", PICKLES)
def test_not_even_one_part_may_be_a_pickle(copy, part):
    pickled(copy, part, PICKLES[part])
    assert "could not be opened" in refusal(lambda: opened(copy))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "index": lambda folder: (folder / "model_index.json").write_text("{"),
    "class": lambda folder: rewrite(folder / "model_index.json", lambda index: index.update(_class_name="NoPipeline")),
    "unet": lambda folder: cut_short(folder / WEIGHTS),
    "text encoder": lambda folder: cut_short(folder / "text_encoder/model.safetensors"),
    "no vae": lambda folder: shutil.rmtree(folder / "vae"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_folder_is_refused(copy, damage):
    damage(copy)
    assert f"model '{copy}' could not be opened" in refusal(lambda: opened(copy))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dtype": "fp16"}, "fp16 on a CPU"),
        ({"dtype": "float32"}, "no dtype named 'float32'; expected auto or one of fp32, bf16, fp16"),
        ({"device": "gpu"}, "no device named 'gpu'"),
        ({"device": "meta"}, "no device named 'meta'"),
        pytest.param(
            {"device": "cuda:1"},
            "torch sees no such device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        pytest.param(
            {"device": "mps"},
            "torch sees no such device",
            marks=pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU"),
        ),
    ],
)
def test_an_impossible_placement_is_refused(options, complaint):
    asked = {"device": "cpu", "dtype": "auto", **options}
    assert complaint in refusal(lambda: _placement(asked["device"], asked["dtype"], ""))


class Gpu:
    """torch's view of GPUs of which some compute in bf16 and some imitate it, and none is really there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, native: dict[int, bool], mps: bool = False) -> None:
        self.native, self.current = native, 0
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(native))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "device", self.at)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", self.supported)

    def supported(self, including_emulation: bool = True) -> bool:
        return including_emulation or self.native[self.current]

    @contextmanager
    def at(self, device: torch.device) -> Generator[None]:
        before, self.current = self.current, device.index or 0
        yield
        self.current = before


@pytest.mark.parametrize(
    ("device", "dtype", "card", "expected"),
    [
        (None, "auto", "", ("cuda", "bf16")),
        ("cuda", "auto", "", ("cuda", "bf16")),
        ("cuda:1", "auto", "", ("cuda:1", "fp16")),
        ("cuda:0", "auto", "fp32", ("cuda:0", "fp32")),
        ("cuda:1", "auto", "bf16", ("cuda:1", "bf16")),
        ("cuda", "auto", "fp16", ("cuda", "fp16")),
        ("cuda", "fp16", "fp32", ("cuda", "fp16")),
        ("cpu", "auto", "", ("cpu", "fp32")),
        ("cpu", "auto", "bf16", ("cpu", "bf16")),
        ("cpu", "auto", "fp16", ("cpu", "fp32")),
        ("mps", "auto", "", ("mps", "fp32")),
        ("mps", "auto", "fp16", ("mps", "fp16")),
    ],
)
def test_auto_is_the_cards_format_else_the_devices(device, dtype, card, expected, monkeypatch):
    Gpu(monkeypatch, {0: True, 1: False}, mps=True)
    assert _placement(device, dtype, card) == expected


@pytest.mark.parametrize("dtype", [None, "auto"])
@pytest.mark.parametrize(("card", "expected"), [("", "fp32"), ("bf16", "bf16"), ("fp16", "fp32")])
def test_auto_is_what_is_taken_when_nothing_is_said(copy, dtype, card, expected):
    (copy / "card.toml").write_text(f'dtype = "{card}"\n', encoding="utf-8")
    assert load(str(copy), Loading(device="cpu", dtype=dtype)).dtype == expected
    with pytest.raises(MemdetectError, match="fp16 on a CPU"):
        load(str(copy), Loading(device="cpu", dtype="fp16"))


def test_without_a_gpu_auto_asks_none(monkeypatch):
    Gpu(monkeypatch, {})
    assert _placement(None, "auto", "") == ("cpu", "fp32")


def nudge(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights but for the last bit of one of them."""
    changed = {name: value.clone() for name, value in state.items()}
    value = changed["conv_out.bias"]
    value[0] = torch.nextafter(value[0], torch.tensor(torch.inf))
    return changed


def test_the_digest_of_a_folder_is_that_of_its_model_alone(copy):
    before = opened(copy).digest
    assert len(before) == 64
    assert opened(copy).digest == before
    (copy / "card.toml").write_text('name = "new"\n', encoding="utf-8")
    (copy / "calibration.json").write_text("{}", encoding="utf-8")
    (copy / "truth.jsonl").write_text("{}\n", encoding="utf-8")
    for beside in ("licenses/MIT.txt", "train.index/manifest.json"):
        (copy / beside).parent.mkdir()
        (copy / beside).write_text("beside the model", encoding="utf-8")
    assert opened(copy).digest == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: save_file(nudge(load_file(folder / WEIGHTS)), folder / WEIGHTS),
        lambda folder: rewrite(
            folder / "scheduler/scheduler_config.json", lambda config: config.update(prediction_type="v_prediction")
        ),
        lambda folder: rewrite(folder / "model_index.json", lambda index: index.update(requires_safety_checker=True)),
    ],
    ids=["weight", "scheduler", "index"],
)
def test_the_digest_of_a_folder_changes_with_the_model(copy, change):
    before = opened(copy).digest
    change(copy)
    assert opened(copy).digest != before


def test_the_digest_of_a_live_pipeline_changes_with_a_weight(model_folder):
    first, second = opened(model_folder).pipe, opened(model_folder).pipe
    before = load(first).digest
    assert load(second).digest == before
    second.unet.load_state_dict(nudge(second.unet.state_dict()))
    assert load(second).digest != before


def fused(model: Model) -> None:
    for value in model.pipe.unet.parameters():
        value.data.mul_(1.01)


def one_value(model: Model) -> None:
    with torch.no_grad():
        next(p for p in model.pipe.unet.parameters() if p.numel() > 1000).view(-1)[7] += 1


def another_part(model: Model) -> None:
    model.pipe.vae = opened(model.folder).pipe.vae
    model.pipe.vae.decoder.conv_out.bias.data.add_(1)


def another_schedule(model: Model) -> None:
    model.pipe.scheduler.register_to_config(prediction_type="v_prediction")


def half(model: Model) -> None:
    model.pipe.to(torch.bfloat16)


def with_adapter(model: Model) -> None:
    from peft import LoraConfig

    model.pipe.unet.add_adapter(LoraConfig(target_modules=["to_q"], r=2))


CHANGES = [fused, one_value, another_part, another_schedule, half, with_adapter]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("live", [False, True])
def test_a_loaded_model_whose_pipeline_is_changed_is_refused(model_folder, change, live):
    """Its digest, which a run's header and its clean scores go by, would be another network's."""
    model = opened(model_folder)
    model = replace(load(model.pipe), folder=model_folder) if live else model
    assert load(model) is model
    change(model)
    assert "was changed after it was loaded" in refusal(lambda: load(model))
    assert load(model.pipe).digest != model.digest


def test_the_scale_of_an_adapter_is_part_of_the_state_of_a_model(model_folder):
    model = opened(model_folder)
    with_adapter(model)
    model = load(model.pipe)
    model.pipe.unet.set_adapters("default", 0.5)
    assert "was changed after it was loaded" in refusal(lambda: load(model))


def test_a_model_that_is_moved_run_and_moved_back_is_the_same(model_folder):
    model = opened(model_folder)
    model.pipe("a cat", num_inference_steps=1, output_type="latent")
    model.pipe.to("cpu")
    assert load(model) is model


def test_the_digest_of_a_live_pipeline_changes_with_the_prediction_type(model_folder):
    live = opened(model_folder).pipe
    before = load(live).digest
    live.scheduler.register_to_config(prediction_type="v_prediction")
    assert load(live).digest != before


def test_the_digest_takes_a_weight_without_axes(model_folder):
    """A batch norm counts its batches in one."""
    live = opened(model_folder).pipe
    before = load(live).digest
    live.vae.register_buffer("num_batches_tracked", torch.tensor(3))
    assert load(live).digest != before


def test_a_pipeline_whose_weights_are_elsewhere_is_refused(model_folder):
    live = opened(model_folder).pipe
    live.vae.to("meta")
    assert "offloaded" in refusal(lambda: load(live))


@pytest.mark.parametrize("name", sorted(MANAGED))
def test_what_memdetect_sets_itself_cannot_be_set_by_a_caller(pipe, name):
    assert f"'{name}' is set by memdetect itself" in refusal(lambda: check_call(load(pipe), {name: 1}))


@pytest.mark.parametrize(("name", "close"), [("hieght", "height"), ("negativ_prompt", "negative_prompt")])
def test_a_misspelt_argument_is_answered_with_the_closest(pipe, name, close):
    message = refusal(lambda: check_call(load(pipe), {"width": 64, name: 1}))
    assert f"StableDiffusionPipeline takes no argument '{name}'; did you mean '{close}'?" in message


@pytest.mark.parametrize("name", ["kwargs", "self", "zzz"])
def test_names_that_stand_in_the_signature_for_something_else_are_no_arguments(pipe, name):
    assert f"takes no argument '{name}'" in refusal(lambda: check_call(load(pipe), {name: 1}))


@pytest.mark.parametrize(("name", "other"), [("height", "width"), ("width", "height")])
def test_half_a_size_is_refused_for_some_pipelines_drop_it(pipe, name, other):
    """StableDiffusionPipeline takes neither then; the scan would be recorded with a size that no image has."""
    message = refusal(lambda: check_call(load(pipe), {name: 64}))
    assert message == f"pipeline argument '{name}' is given without '{other}'; give both"


@pytest.mark.parametrize("side", [0, -8, None, "64px", 64.5, True])
def test_a_size_is_a_number_of_pixels(pipe, side):
    message = refusal(lambda: check_call(load(pipe), {"height": 64, "width": side}))
    assert message == f"pipeline argument 'width' is {side!r}, expected a number of pixels"


@pytest.mark.parametrize("side", [2**20, 10**9, 2**63])
def test_a_size_that_no_memory_holds_is_refused_at_the_door(pipe, side):
    message = refusal(lambda: check_call(load(pipe), {"height": side, "width": side}))
    assert message == f"images of {side} x {side} pixels do not fit in the memory of cpu; give a smaller size"


def test_arguments_of_the_pipeline_are_accepted(pipe):
    check_call(load(pipe), {})
    check_call(load(pipe), {"height": 64, "width": 32, "negative_prompt": "red", "guidance_rescale": 0.7})


@pytest.mark.parametrize(("kind", "name"), [("sdxl", "cross_attention_kwargs"), ("sd3", "joint_attention_kwargs")])
def test_a_scale_of_a_lora_is_given_with_the_lora(tmp_path, kind, name):
    """The images would be made at it, and the finished ones probed at full scale."""
    model = load(tiny_adapter(kind, tmp_path))
    message = refusal(lambda: check_call(model, {name: {"scale": 0.3}}))
    assert message == (
        f"pipeline argument '{name}' holds scale=0.3, with which images would be made and not probed; "
        "give the LoRA as --lora PATH@0.3"
    )
    check_call(model, {name: {"gligen": 1}})
    check_call(model, {name: None})


@pytest.mark.parametrize("name", ["skip_guidance_layers", "skip_layer_guidance_scale"])
def test_guidance_by_skipped_layers_is_refused(tmp_path, name):
    model = load(tiny_adapter("sd3", tmp_path))
    message = refusal(lambda: check_call(model, {name: [1]}))
    assert message.startswith(f"pipeline argument '{name}' runs the network once more in some steps, ")
    check_call(model, {name: None})
