"""What a model's folder may make diffusers do: checked by memdetect before anything of it is opened.

diffusers and transformers import what a folder names, and some releases run Python that lies in it. So the files that
name code are read here first, and only parts of these two libraries, of kinds that are listed, are let through.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from memdetect.adapters.rows import adapter_of
from memdetect.errors import MemdetectError

INDEX = "model_index.json"
MAX_BYTES = 2**22  # of a file of settings
MAX_SIDE = 2**14  # latents
MAX_TIMESTEPS = 10**5
LEAST = 2**20  # a number of a network's settings up to this needs no weights to stand for it
PARTS: Mapping[str, re.Pattern[str]] = {
    "diffusers": re.compile(
        r"Autoencoder\w+|Asymmetric\w+|(?!Auto|Onnx|Flax|Modular)\w+(Model|Scheduler|UNet|Transformer|VAE)"
    ),
    "transformers": re.compile(
        r"(?!Auto|Flax|TF)\w+(Model|Projection|ForCausalLM|Tokenizer|TokenizerFast|Processor|ProcessorFast|Extractor)"
    ),
    "stable_diffusion": re.compile(r"StableDiffusionSafetyChecker"),
}
# Keys with which a file of settings asks for code that lies beside it or on a hub.
_CODE = frozenset({"auto_map", "trust_remote_code", "custom_pipeline", "custom_pipelines", "use_kernels"})
_COUNTS = re.compile("channels|size|dim|heads|layers|groups|^num_")
_SETTINGS = ("config.json", "_config.json", ".index.json", "special_tokens_map.json", "added_tokens.json")


def check_index(path: Path) -> dict[str, Any]:
    """The content of a model_index.json that names a known pipeline class and known parts.

    Raises MemdetectError (usage) for JSON that is none, for another class, and for a part, which is named, of another
    library or kind.
    """
    index = _read(path)
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise _code(path, f"_class_name is {name!r:.80}", "the name of a pipeline class of diffusers")
    adapter_of(name)
    for part, entry in index.items():
        if not part.startswith("_") and isinstance(entry, list):
            _check_entry(path, part, entry)
    _check_settings(path, index)
    return index


def check_model(name: str, folder: Path) -> None:
    """As `check_folder`, with the model's name in what is raised."""
    try:
        check_folder(folder)
    except MemdetectError as problem:
        raise unopened(name, problem) from None


def unopened(name: str, problem: MemdetectError) -> MemdetectError:
    """What is raised of a model that was not opened."""
    return MemdetectError(f"model {name!r} could not be opened: {problem}")


def check_folder(folder: Path) -> None:
    """Check a folder in diffusers' layout, or one with the configurations of a single file: every part that it names.

    Raises MemdetectError (usage) as `check_index`, for Python within a part, for settings that ask for code or for
    weights that are no safetensors, and for numbers that no network with these weights can have.
    """
    for part, entry in check_index(folder / INDEX).items():
        if isinstance(entry, list) and entry[:1] != [None] and (folder / part).is_dir() and not part.startswith("_"):
            _check_part(folder / part, str(entry[1]))


def _check_entry(path: Path, part: str, entry: list[Any]) -> None:
    library, kind = entry if len(entry) == 2 else (entry, entry)
    if library is None and kind is None:
        return
    known = PARTS.get(library) if isinstance(library, str) else None
    listed = known is not None and isinstance(kind, str) and known.fullmatch(kind)
    if not listed or not re.fullmatch(r"[A-Za-z]\w*", part):
        said = f"the part {part!r:.80} is {json.dumps(entry):.120}"
        raise _code(path, said, "a network, scheduler, tokenizer or processor of diffusers or transformers")


def _check_part(folder: Path, kind: str) -> None:
    if code := next(iter(sorted(folder.glob("*.py"))), None):
        raise _code(code, "Python within a part of a model", "settings and weights alone")
    weights = _weights(folder)
    for path in sorted(folder.glob("*.json")):
        if not path.name.endswith(_SETTINGS):
            continue
        held = _read(path)
        _check_settings(path, held)
        if path.name.endswith(".index.json"):
            _check_shards(path, held)
        elif path.name == "scheduler_config.json" or (path.name == "config.json" and weights):
            _check_numbers(path, held, *(weights or (0, 0)))


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file of settings."""
    try:
        if not path.is_file():
            raise OSError("there is no such file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise _refused(path, f"{size:,} bytes", f"settings of at most {MAX_BYTES:,}")
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise _refused(path, f"cannot be read ({problem.strerror or problem})", "settings as JSON") from None
    except (ValueError, RecursionError) as problem:
        raise _refused(path, f"no JSON ({problem})", "settings as JSON") from None
    if not isinstance(held, dict):
        raise _refused(path, f"JSON of type {type(held).__name__}", "an object with settings by name")
    return {str(key): value for key, value in held.items()}


def _check_settings(path: Path, held: Mapping[str, Any]) -> None:
    """Refuse settings that ask for code: by a key that does, or for an implementation that lies on a hub."""
    for key, value in _all(held):
        remote = key.endswith("implementation") and isinstance(value, str) and "/" in value
        if (key in _CODE and value) or remote:
            raise _code(path, f"{key} is {json.dumps(value):.80}, which asks for code", "settings without it")


def _all(held: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep; of a list its values under the list's key."""
    waiting: list[tuple[str, Any]] = [("", held)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]
        if key:
            yield key, value


def _check_shards(path: Path, held: Mapping[str, Any]) -> None:
    files = held.get("weight_map")
    for file in files.values() if isinstance(files, dict) else [files]:
        if not isinstance(file, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", file):
            raise _refused(path, f"weights in {file!r:.80}", "names of .safetensors files beside it")


def _check_numbers(path: Path, held: Mapping[str, Any], tensors: int, elements: int) -> None:
    """Refuse numbers that are none, sizes beyond all images, and networks larger than their weights."""
    for key, value in _all(held):
        if key == "sample_size" and not (isinstance(value, int) or value is None or _pair(value)):
            raise _refused(path, f"{key} is {value!r:.40}", "a number of latents along a side, or two")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(path, f"{key} is {value}", "a finite number")
        most = _most(key, tensors, elements)
        if abs(value) > most or value < _least(key):
            raise _refused(path, f"{key} is {value:.12g}", f"a number that its weights can have, at most {most:,}")


def _least(key: str) -> float:
    if key in ("sample_size", "num_train_timesteps"):
        return 1
    return 0 if _COUNTS.search(key) else -math.inf


def _most(key: str, tensors: int, elements: int) -> int:
    if key == "sample_size":
        return MAX_SIDE
    if key == "num_train_timesteps":
        return MAX_TIMESTEPS
    return tensors if "layers" in key else max(LEAST, elements)


def _weights(folder: Path) -> tuple[int, int] | None:
    """How many tensors and numbers the .safetensors files of a part hold; None where it has none that can be read."""
    tensors = elements = 0
    for path in folder.glob("*.safetensors"):
        try:
            with safe_open(str(path), framework="pt") as file:
                shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        except (SafetensorError, OSError):  # said when it is opened
            continue
        tensors += len(shapes)
        elements += sum(map(math.prod, shapes))
    return (tensors, elements) if tensors else None


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) for side in value)


def _refused(path: Path, found: str, expected: str) -> MemdetectError:
    where = path.name if path.name == INDEX else f"{path.parent.name}/{path.name}"
    return MemdetectError(f"{where}: {found}; expected {expected}: check the model's files")


def _code(path: Path, found: str, expected: str) -> MemdetectError:
    said = str(_refused(path, found, expected)).removesuffix("check the model's files")
    return MemdetectError(
        f"{said}nothing of it was loaded; if you trust it, load it in Python and give the pipeline to memdetect"
    )
