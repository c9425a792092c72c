"""Open weights: a folder or a hub id in diffusers' layout, or a single .safetensors file; LoRA, offload, memory."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors import SafetensorError, safe_open

from memdetect.errors import MemdetectError
from memdetect.inputs.options import Loading

PROBLEMS = (OSError, ValueError, KeyError, AttributeError, ImportError, SafetensorError)
SINGLE_FILES = {
    **dict.fromkeys(("v1", "v2"), "StableDiffusionPipeline"),
    "xl_base": "StableDiffusionXLPipeline",
    **dict.fromkeys(("sd3", "sd35_large", "sd35_medium"), "StableDiffusion3Pipeline"),
    **dict.fromkeys(("flux-dev", "flux-schnell"), "FluxPipeline"),
}
LEAST_SCALE = 1e-3  # of a LoRA: below that it changes nothing that 8 bits a channel show
LORA_DOWN = (".lora_A.", ".lora.down.", "_lora.down.", ".lora_down.")  # the first factor of a layer, as it is named


def open_pipeline(place: Path | str, dtype: torch.dtype, loading: Loading) -> Any:
    """The pipeline of a folder, file or hub id, on the CPU unless a device map says otherwise. Raises PROBLEMS."""
    options: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": loading.offline or isinstance(place, Path)}
    if isinstance(place, Path) and place.is_file():
        kind = single_file_class(place)
        options["local_files_only"] = loading.offline
        if loading.config:
            options["config"] = loading.config
        return getattr(diffusers, kind).from_single_file(str(place), **options)
    given = {"revision": loading.revision, "variant": loading.variant, "device_map": loading.device_map}
    options |= {"use_safetensors": True, "safety_checker": None, **{k: v for k, v in given.items() if v}}
    return DiffusionPipeline.from_pretrained(str(place), **options)


@dataclass(frozen=True, slots=True)
class _Shaped:
    """A tensor of a file that is not read: its shape is all that tells models apart."""

    shape: tuple[int, ...]


def single_file_class(path: Path) -> str:
    """Pipeline class of a single file, from the names and shapes of its tensors; MemdetectError for another."""
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type

    held: Mapping[str, Any] = {name: _Shaped(shape) for name, shape in header(path).items()}
    kind = str(infer_diffusers_model_type(held))
    if kind == "v1" and not any(name.startswith("model.diffusion_model.") for name in held):
        kind = "unknown"  # diffusers takes what it does not know for SD 1
    if kind not in SINGLE_FILES:
        raise MemdetectError(
            f"{path}: a single file of kind {kind!r} is not supported; expected {', '.join(SINGLE_FILES)}"
        )
    return SINGLE_FILES[kind]


def header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a .safetensors file; no tensor is read. Raises OSError and SafetensorError."""
    with safe_open(str(path), framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def parse_lora(given: str) -> tuple[Path, float]:
    """PATH or PATH@SCALE; MemdetectError when there is no such .safetensors file, or the scale leaves nothing of it."""
    head, at, tail = given.rpartition("@")
    try:
        path, scale = (Path(head), float(tail)) if at else (Path(given), 1.0)
    except ValueError:
        path, scale = Path(given), 1.0
    if path.is_dir():
        path /= "pytorch_lora_weights.safetensors"
    if path.suffix != ".safetensors" or not path.is_file():
        raise MemdetectError(f"--lora {given!r}: no .safetensors file there; expected PATH or PATH@SCALE")
    if not LEAST_SCALE <= abs(scale) < inf:
        said = "with which the base would be audited without the LoRA, or nothing at all"
        raise MemdetectError(f"--lora {given!r}: the scale is {scale}, {said}; give the one that you publish it for")
    return path, scale


def add_loras(pipe: Any, loras: Sequence[str]) -> str:
    """Load LoRA weights into a pipeline, each at its scale; 16 hex digits of what was added, "" for nothing.

    Raises MemdetectError for a file that is not there, does not fit or is taken in part only, and without peft.
    """
    if not loras:
        return ""
    parsed = [parse_lora(given) for given in loras]
    names = [f"lora{i}" for i in range(len(parsed))]
    total = hashlib.sha256()
    try:
        for name, (path, scale) in zip(names, parsed, strict=True):
            pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
            with path.open("rb") as file:
                total.update(f"{scale!r}\n".encode() + hashlib.file_digest(file, "sha256").digest())
            _check_taken(pipe, path, name)
        pipe.set_adapters(names, adapter_weights=[scale for _, scale in parsed])
    except (*PROBLEMS, RuntimeError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        if "PEFT" in reason:
            raise MemdetectError(
                f"--lora {loras[0]!r} needs the package peft, missing or too old; pip install 'memdetect[lora]'"
            ) from None
        raise MemdetectError(f"--lora {loras[0]!r} could not be added: {reason}; check it against the model") from None
    return total.hexdigest()[:16]


def _check_taken(pipe: Any, path: Path, adapter: str) -> None:
    """MemdetectError when a pipeline has fewer layers of a LoRA than its file; diffusers drops them with a warning."""
    held = sum(any(mark in name for mark in LORA_DOWN) for name in header(path))
    parts = [part for part in getattr(pipe, "components", {}).values() if isinstance(part, torch.nn.Module)]
    taken = sum(adapter in getattr(module, "lora_A", ()) for part in parts for module in part.modules())
    if taken < held:
        raise MemdetectError(
            f"--lora {str(path)!r}: the model took {taken} of its {held} layers, expected all, since the rest would go "
            "unseen; check it against the model, or name its tensors alike (lora_A, lora_B)"
        )


def weight_bytes(folder: Path, dtype: torch.dtype, variant: str | None = None) -> int:
    """Bytes that the networks of a folder in diffusers' layout, or a single file, take in a dtype."""
    files = [folder] if folder.is_file() else sorted(_weight_files(folder, variant))
    return sum(prod(shape) * dtype.itemsize for file in files for shape in header(file).values())


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The .safetensors files of each network: those of the variant where it has some, else those of none."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    found: list[Path] = []
    for part in index:
        files = list((folder / part).glob("*.safetensors")) if (folder / part).is_dir() else []
        own = [file for file in files if variant and f".{variant}" in file.name]
        found += own or [file for file in files if file.name.split("-0000")[0].count(".") == 1 or "-0000" in file.name]
    return found


def memory_of(device: str) -> int:
    """Bytes of memory that a device has in all; 0 where it cannot be told."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(torch.device(device))[1])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def check_fits(needed: int, device: str, dtype: str, loading: Loading) -> None:
    """MemdetectError when the weights alone are more than the device holds and nothing was said to spread them."""
    held = memory_of(device)
    if held and needed > held and not (loading.cpu_offload or loading.device_map):
        raise MemdetectError(
            f"the weights take {needed / 1e9:.1f} GB as {dtype}, {device} has {held / 1e9:.1f} GB; "
            "use --dtype bf16, --cpu-offload or --device-map balanced"
        )


def place(pipe: Any, device: str, loading: Loading) -> Any:
    """Move a pipeline to its device, or let it be moved piece by piece. Raises MemdetectError for offload to a CPU."""
    if loading.vae_tiling and getattr(pipe, "vae", None) is not None:
        pipe.vae.enable_tiling()
    if loading.device_map:
        return pipe
    if not loading.cpu_offload:
        return pipe.to(device)
    if device == "cpu":
        raise MemdetectError("--cpu-offload needs an accelerator to offload from, the device is cpu; leave it out")
    pipe.enable_model_cpu_offload(device=device)
    return pipe
