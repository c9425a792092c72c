"""A model's folder makes nobody run its own Python, import another library, or build what its weights are not of."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from memdetect import scan
from memdetect.adapters import load
from memdetect.adapters.admitted import PARTS, check_folder
from memdetect.cli import run
from memdetect.errors import MemdetectError
from memdetect.inputs import bundled
from memdetect.inputs.options import Judging, Loading

EVIL = """
from pathlib import Path
Path(__file__).resolve()
import builtins
builtins.evil_ran = True
from diffusers import *
from transformers import *
class Evil(StableDiffusionPipeline): pass
class EvilNet(UNet2DConditionModel): pass
class EvilScheduler(DDIMScheduler): pass
class EvilTokenizer(CLIPTokenizer): pass
"""


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "mine"))


@pytest.fixture(autouse=True)
def nothing_runs() -> Any:
    """The Python in these folders leaves a mark in the process."""
    yield
    import builtins

    assert not hasattr(builtins, "evil_ran")
    assert "evil" not in sys.modules


def edit(path: Path, **changes: Any) -> None:
    held = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**held, **changes}), encoding="utf-8")


def index(folder: Path, **changes: Any) -> None:
    edit(folder / "model_index.json", **changes)


def python(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(EVIL, encoding="utf-8")


def pipeline(folder: Path) -> None:
    index(folder, _class_name=["pipeline", "Evil"])
    python(folder, "pipeline.py")


def part(folder: Path) -> None:
    index(folder, unet=["evil", "EvilNet"])
    python(folder, "unet/evil.py")


def scheduler(folder: Path) -> None:
    index(folder, scheduler=["evil", "EvilScheduler"])
    python(folder, "scheduler/evil.py")


def library_beside(folder: Path) -> None:
    """diffusers looks for UNET/diffusers.py before it takes the library of that name."""
    python(folder, "unet/diffusers.py")


def tokenizer(folder: Path) -> None:
    edit(folder / "tokenizer/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.EvilTokenizer", None]})


def deep(folder: Path) -> None:
    edit(folder / "text_encoder/config.json", text_config={"inner": [{"auto_map": {"AutoConfig": "own/er--evil.C"}}]})


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a pipeline of its own": (pipeline, r"_class_name is \['pipeline', 'Evil'\]"),
    "a part of its own": (part, r"the part 'unet' is \[\"evil\", \"EvilNet\"\]"),
    "a scheduler of its own": (scheduler, "the part 'scheduler' is"),
    "a library of the same name": (library_beside, r"unet/diffusers\.py: Python within a part"),
    "any module": (lambda f: index(f, unet=["os", "system"]), r"the part 'unet' is \[\"os\", \"system\"\]"),
    "a part that nobody takes": (lambda f: index(f, more=["evil", "Evil"]), "the part 'more' is"),
    "what follows auto_map": (lambda f: index(f, unet=["diffusers", "AutoModel"]), "the part 'unet' is"),
    "any of several": (lambda f: index(f, tokenizer=["transformers", "AutoTokenizer"]), "the part 'tokenizer' is"),
    "another engine": (lambda f: index(f, unet=["diffusers", "OnnxRuntimeModel"]), "the part 'unet' is"),
    "no class": (lambda f: index(f, unet=["diffusers", "logging"]), "the part 'unet' is"),
    "outside": (lambda f: index(f, **{"../unet": ["diffusers", "UNet2DConditionModel"]}), "the part '../unet'"),
    "a tokenizer's code": (tokenizer, "auto_map is .*, which asks for code"),
    "code within settings": (deep, r"text_encoder/config\.json: auto_map is .*, which asks for code"),
    "a pipeline by key": (lambda f: index(f, custom_pipeline="pipeline"), "custom_pipeline is"),
    "trust by itself": (lambda f: edit(f / "unet/config.json", trust_remote_code=True), "trust_remote_code is true"),
    "a kernel of a hub": (
        lambda f: edit(f / "text_encoder/config.json", _attn_implementation="own/kernel"),
        "_attn_implementation is",
    ),
    "a pickled shard": (
        lambda f: (f / "unet/x.safetensors.index.json").write_text('{"weight_map": {"a": "x.bin"}}'),
        r"weights in 'x\.bin'; expected names of \.safetensors files",
    ),
    "a shard elsewhere": (
        lambda f: (f / "unet/x.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}'),
        r"weights in '\.\./x\.safetensors'",
    ),
}  # fmt: skip
DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a list": (lambda f: (f / "model_index.json").write_text("[]"), "model_index.json: JSON of type list"),
    "a number": (lambda f: (f / "model_index.json").write_text("5"), "JSON of type int"),
    "deep": (lambda f: (f / "model_index.json").write_text("[" * 100_000), "no JSON .*recursion"),
    "large": (lambda f: (f / "unet/config.json").write_text(" " * 2**23), "8,388,608 bytes"),
    "three names": (lambda f: index(f, unet=["diffusers", "UNet2DConditionModel", "x"]), "the part 'unet' is"),
    "no names": (lambda f: index(f, unet=[]), "the part 'unet' is"),
    "no pipeline": (lambda f: index(f, _class_name=None), "_class_name is None"),
    "another pipeline": (lambda f: index(f, _class_name="NoPipeline"), "'NoPipeline' is not supported"),
    "settings as a list": (
        lambda f: (f / "unet/config.json").write_text("[]"),
        r"unet/config\.json: JSON of type list",
    ),
    "wide": (
        lambda f: edit(f / "unet/config.json", block_out_channels=[10**9] * 2),
        "block_out_channels is 1000000000",
    ),
    "long": (lambda f: edit(f / "unet/config.json", layers_per_block=10**6), "layers_per_block is 1000000"),
    "a side": (lambda f: edit(f / "unet/config.json", sample_size=10**7), "sample_size is 10000000"),
    "a side below": (lambda f: edit(f / "unet/config.json", sample_size=-8), "sample_size is -8"),
    "a side as text": (lambda f: edit(f / "unet/config.json", sample_size="8"), "sample_size is '8'"),
    "times": (lambda f: edit(f / "scheduler/scheduler_config.json", num_train_timesteps=10**13), "train_timesteps is"),
    "no number": (lambda f: edit(f / "scheduler/scheduler_config.json", beta_start=float("nan")), "beta_start is nan"),
}
ALL = {**HOSTILE, **DAMAGED}


@pytest.mark.parametrize(("damage", "said"), ALL.values(), ids=ALL)
def test_a_folder_is_refused_before_anything_is_loaded(copy, damage, said, monkeypatch):
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: pytest.fail("opened"))
    damage(copy)
    with pytest.raises(MemdetectError, match=said) as refused:
        load(copy, Loading(device="cpu"))
    assert str(refused.value).startswith(f"model '{copy}' could not be opened: ")
    assert "\n" not in str(refused.value)
    assert refused.value.exit == 2


@pytest.mark.parametrize("damage", [pipeline, part], ids=["pipeline", "part"])
def test_every_way_to_name_a_model_is_checked(copy, model_folder, tmp_path, damage, capsys, monkeypatch):
    """By the command line, as a base, from Python, and as a hub gives it."""
    damage(copy)
    prompts = tmp_path / "one.txt"
    prompts.write_text("a cat\n", encoding="utf-8")
    command = ["scan", str(prompts), "--out", str(tmp_path / "run"), "--model"]
    assert run([*command, str(copy)]) == 2
    assert run([*command, str(model_folder), "--base", str(copy)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("memdetect: ")]
    assert [line.count("could not be opened: model_index.json") for line in said] == [1, 1]
    with pytest.raises(MemdetectError, match="could not be opened: model_index"):
        scan(copy, prompts=["a cat"], out=tmp_path / "run")
    with pytest.raises(MemdetectError, match="could not be opened: model_index"):
        scan(model_folder, prompts=["a cat"], out=tmp_path / "run", judging=Judging(base=copy))
    with pytest.raises(MemdetectError, match="model 'own/er' could not be opened: model_index"):
        load(in_cache(copy, tmp_path / "hub", monkeypatch), Loading(device="cpu"))


def in_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder as a snapshot in the cache of a hub that is not there."""
    commit = "a" * 40
    shutil.copytree(folder, cache / "models--own--er/snapshots" / commit)
    (cache / "models--own--er/refs").mkdir()
    (cache / "models--own--er/refs/main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return "own/er"


def test_a_snapshot_of_a_hub_opens_and_its_parts_are_checked(copy, tmp_path, monkeypatch):
    name = in_cache(copy, tmp_path / "hub", monkeypatch)
    assert load(name, Loading(device="cpu")).digest == load(load(copy, Loading(device="cpu")).pipe).digest
    (snapshot,) = (tmp_path / "hub/models--own--er/snapshots").iterdir()
    library_beside(snapshot)
    with pytest.raises(MemdetectError, match=r"model 'own/er' could not be opened: unet/diffusers\.py: Python"):
        load(name, Loading(device="cpu"))


def test_the_configurations_of_a_single_file_are_checked(copy, tmp_path):
    file = tmp_path / "one.safetensors"
    save_file({"model.diffusion_model.output_blocks.11.0.skip_connection.weight": torch.zeros(2, 2)}, file)
    part(copy)
    with pytest.raises(MemdetectError, match="the part 'unet' is"):
        load(file, Loading(device="cpu", config=str(copy)))


def test_a_tensor_that_the_weights_lack_is_named(copy):
    (file,) = (copy / "unet").glob("*.safetensors")
    held = load_file(file)
    held["conv_in.weights"] = held.pop("conv_in.weight")
    save_file(held, file, {"format": "pt"})
    with pytest.raises(MemdetectError, match=r"could not be opened: .*'?conv_in.weight"):
        load(copy, Loading(device="cpu"))


@pytest.mark.parametrize(
    "name", [name for name in bundled.models() if (bundled.root() / "models" / name / "unet").is_dir()]
)
def test_bundled_models_pass(name):
    check_folder(bundled.root() / "models" / name)


def test_every_adapters_folder_passes(adapter_pipe, tmp_path):
    adapter_pipe.save_pretrained(tmp_path)
    check_folder(tmp_path)


@pytest.mark.parametrize("name", [
    "UNet2DConditionModel", "UNet2DModel", "SD3Transformer2DModel", "FluxTransformer2DModel", "DiTTransformer2DModel",
    "PixArtTransformer2DModel", "AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL", "VQModel",
    "ConsistencyDecoderVAE", "DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler",
])  # fmt: skip
def test_parts_of_published_models_are_listed(name):
    assert PARTS["diffusers"].fullmatch(name)
    assert hasattr(diffusers, name)


@pytest.mark.parametrize("name", [
    "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel", "CLIPTokenizer", "CLIPTokenizerFast",
    "T5TokenizerFast", "CLIPImageProcessor", "CLIPVisionModelWithProjection", "SiglipVisionModel",
])  # fmt: skip
def test_parts_of_transformers_are_listed(name):
    assert PARTS["transformers"].fullmatch(name)
    assert hasattr(transformers, name)


def test_what_chooses_a_class_by_itself_is_not_listed():
    for library, names in ((diffusers, dir(diffusers)), (transformers, dir(transformers))):
        listed = [name for name in names if PARTS[library.__name__].fullmatch(name)]
        assert not [name for name in listed if name.startswith(("AutoModel", "AutoPipeline", "AutoTokenizer", "AutoP"))]
        assert not [name for name in listed if "Pipeline" in name and not name.endswith(("Model", "Scheduler"))]


def test_a_tensor_that_a_text_encoder_lacks_is_named_and_never_drawn_at_random(copy):
    """transformers draws it and goes on, so that every picture and score would be another network's."""
    path = next((copy / "text_encoder").glob("*.safetensors"))
    held = load_file(path)
    lost = next(name for name in sorted(held) if name.endswith("layer_norm2.weight"))
    del held[lost]
    save_file(held, path, {"format": "pt"})
    with pytest.raises(
        MemdetectError, match=r"1 tensors of a network of transformers, such as '.*layer_norm2\.weight'"
    ):
        load(str(copy))
