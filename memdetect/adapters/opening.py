"""Open weights: a folder or a hub id in diffusers' layout, or a single .safetensors file; offload, memory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open

from memdetect.adapters.admitted import INDEX, check_folder, check_index
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Loading

PROBLEMS = (OSError, ValueError, KeyError, AttributeError, ImportError, SafetensorError, SingleFileComponentError)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHOWN = 200  # characters of a reason
SINGLE_FILES = {
    **dict.fromkeys(("v1", "v2"), "StableDiffusionPipeline"),
    "xl_base": "StableDiffusionXLPipeline",
    **dict.fromkeys(("sd3", "sd35_large", "sd35_medium"), "StableDiffusion3Pipeline"),
    **dict.fromkeys(("flux-dev", "flux-schnell"), "FluxPipeline"),
}


def open_pipeline(place: Path | str, dtype: torch.dtype, loading: Loading) -> Any:
    """The pipeline of a folder, file or hub id, on the CPU unless a device map says otherwise.

    A folder, and what a hub gives, is checked first (`admitted`). Raises MemdetectError, PROBLEMS, and whatever else
    diffusers makes of files that are no model.
    """
    options: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": loading.offline or isinstance(place, Path)}
    if isinstance(place, Path) and place.is_file():
        kind = single_file_class(place)
        options["local_files_only"] = loading.offline
        if loading.config:
            check_folder(_configuration(loading))
            options["config"] = loading.config
        return getattr(diffusers, kind).from_single_file(str(place), **options)
    given = {"variant": loading.variant, "device_map": loading.device_map}
    options |= {"use_safetensors": True, "safety_checker": None, **{k: v for k, v in given.items() if v}}
    folder = place if isinstance(place, Path) else fetched(place, loading)
    check_folder(folder)
    return DiffusionPipeline.from_pretrained(str(folder), **options)


def fetched(place: str, loading: Loading) -> Path:
    """The folder of a hub's model in the cache; what its index names is checked before the rest is fetched.

    Raises what the hub's client does, and MemdetectError as `check_index`.
    """
    here: dict[str, Any] = {"revision": loading.revision, "local_files_only": loading.offline}
    check_index(Path(hf_hub_download(place, INDEX, **here)))
    variant = {"variant": loading.variant} if loading.variant else {}
    return Path(DiffusionPipeline.download(place, use_safetensors=True, safety_checker=None, **variant, **here))


def _configuration(loading: Loading) -> Path:
    """The folder of the configurations for a single file; of a hub's model the index alone is fetched and checked."""
    given = Path(loading.config or "")
    if given.is_dir():
        return given
    return Path(hf_hub_download(str(loading.config), INDEX, local_files_only=loading.offline)).parent


def check_whole(pipe: Any, loading: Loading) -> None:
    """MemdetectError for a network of which the files hold no weights for some layers; spread ones are left alone."""
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    for name, part in {} if loading.device_map else parts.items():
        if lacking := [key for key, value in part.state_dict().items() if value.device.type == "meta"]:
            said = f"{len(lacking)} tensors of {name}, such as {lacking[0]!r:.120}, are in none of its files"
            raise MemdetectError(f"{said}; fetch them again")


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


def reason_of(problem: BaseException) -> str:
    """What an error says in one line; of a list of keys or shapes the beginning."""
    said = " ".join(str(problem).split()) or type(problem).__name__
    return said if len(said) <= SHOWN else f"{said[:SHOWN].rsplit(' ', 1)[0]} ..."


def opening_hint(where: Path | str, loading: Loading) -> str:
    """What to do about a model that could not be opened, as far as its files tell; "" where they tell nothing."""
    if not isinstance(where, Path):
        return ""
    if where.is_file():
        config = "" if loading.config else ", or give --config with a folder or hub id that has the configuration"
        return f"a single file may lack parts, such as text encoders: scan a folder in the diffusers layout{config}"
    names = [file.name for file in where.glob("*/*.safetensors")]
    variants = sorted({parts[-2] for name in names if len(parts := name.split(".")) > 2 and "-of-" not in parts[-2]})
    if variants and not loading.variant and all(f".{variants[0]}." in name for name in names):
        return f"its files are of the variant {variants[0]}: give --variant {variants[0]}"
    return ""


def weight_bytes(folder: Path, dtype: torch.dtype, variant: str | None = None) -> int:
    """Bytes that the networks of a folder in diffusers' layout, or a single file, take in a dtype."""
    files = [folder] if folder.is_file() else sorted(_weight_files(folder, variant))
    return sum(prod(shape) * dtype.itemsize for file in files for shape in header(file).values())


def _weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The .safetensors files of each network: those of the variant where it has some, else those of none."""
    found: list[Path] = []
    for part in check_index(folder / INDEX):
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


def check_fits(where: Path, device: str, dtype: str, loading: Loading) -> None:
    """MemdetectError when the weights alone are more than the device holds and nothing was said to spread them."""
    needed, held = weight_bytes(where, DTYPES[dtype], loading.variant), memory_of(device)
    if held and needed > held and not (loading.cpu_offload or loading.device_map):
        narrow, waiting = ["--dtype bf16"] * (dtype == "fp32"), ["--cpu-offload"] * (device != "cpu")
        spread = ["--device-map balanced"] * (device != "cpu" and not where.is_file())
        cures = " or ".join([*narrow, *waiting, *spread]) or "a device with more memory"
        raise MemdetectError(
            f"the weights take {needed / 1e9:.1f} GB as {dtype}, {device} has {held / 1e9:.1f} GB; use {cures}"
        )


def fastest() -> str:
    """The kind of the fastest device there is."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def check_spread(where: Path | str, loading: Loading) -> None:
    """MemdetectError for a device map beside what it would overrule, or for a single file, which takes none."""
    plan, device = loading.device_map, loading.device
    if not plan:
        return
    if isinstance(where, Path) and where.is_file():
        raise MemdetectError(
            f"--device-map spreads the networks of a folder or hub id, {str(where)!r} is a single file; "
            "use --cpu-offload instead"
        )
    if loading.cpu_offload:
        raise MemdetectError("--device-map and --cpu-offload each say where the networks wait; give one of the two")
    if device not in (None, fastest()):
        raise MemdetectError(
            f"--device {device} is one device, --device-map {plan} spreads over all of them; give one of the two"
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
