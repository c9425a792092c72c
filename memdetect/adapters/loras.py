"""LoRA weights: which file, at which scale, and whether the whole of it is taken.

A file is read by its names and shapes before any model is opened. What diffusers would drop, or take for something
else, is refused by name: then another network than the published one would be audited.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from memdetect.adapters.opening import PROBLEMS, header, reason_of
from memdetect.errors import MemdetectError
from memdetect.files import did_you_mean

LEAST_SCALE = 1e-3  # of a LoRA: below that it changes nothing that 8 bits a channel show
# The first factor of a layer, as it is named.
LORA_DOWN = (".lora_A.", ".lora.down.", "_lora.down.", ".lora_down.", ".lora_linear_layer.down.")
KNOWN = re.compile(r"[._]lora(_linear_layer)?[._](A|B|down|up)\.|\.alpha$|\.lora_magnitude_vector")
OTHERS = {  # what a name that is not known may be of, by what is in it, with a blank before it and a dot at its end
    "dora_scale": "DoRA in kohya's names",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon with a middle factor",
    ".diff.": "whole differences of weights",
    ".diff_b.": "whole differences of weights",
    ".oft_": "OFT",
    "oft_blocks": "OFT",
    **dict.fromkeys((".a1.weight.", ".a2.weight.", ".b1.weight.", ".b2.weight.", ".bm.weight.", ".glora_"), "GLoRA"),
    ".on_input.": "IA3",
    **dict.fromkeys((".w_norm.", ".b_norm."), "differences of normalisations"),
    ".scalar.": "LyCORIS' own scale of a layer",
    "lora_embedding_": "a LoRA of an embedding",
    **dict.fromkeys(("bundle_emb", "emb_params", "string_to_param"), "an embedding"),
    **dict.fromkeys((" clip_l.", " clip_g."), "an embedding"),
}


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
        raise MemdetectError(
            f"--lora {given!r}: no .safetensors file there; {did_you_mean(path)}expected PATH or PATH@SCALE"
        )
    if not LEAST_SCALE <= abs(scale) < inf:
        said = "with which the base would be audited without the LoRA, or nothing at all"
        raise MemdetectError(f"--lora {given!r}: the scale is {scale}, {said}; give the one that you publish it for")
    return path, scale


def check_lora(given: str) -> tuple[Path, float]:
    """As `parse_lora`, and MemdetectError for a file that cannot be read or that holds anything but LoRA factors."""
    path, scale = parse_lora(given)
    try:
        names = list(header(path))
    except (SafetensorError, OSError) as problem:
        raise MemdetectError(
            f"--lora {given!r} cannot be read as .safetensors ({reason_of(problem)}); fetch it again"
        ) from None
    if not any(mark in name for name in names for mark in LORA_DOWN):
        kind = next((what for name in names for what in _other(name)), "")
        held = f"holds {kind}" if kind else f"holds {len(names)} tensors"
        raise MemdetectError(
            f"--lora {given!r} {held} and no factors of a LoRA (lora_A, lora_B, or lora_down, lora_up); "
            "merge it into the model and scan that"
        )
    if unknown := [name for name in names if not KNOWN.search(name) or any(_other(name))]:
        what = next(_other(unknown[0]), "of a kind that is not known")
        raise MemdetectError(
            f"--lora {given!r}: {len(unknown)} of {len(names)} tensors, such as {unknown[0]!r:.120}, are {what}, which "
            "would go unseen; merge it into the model and scan that"
        )
    return path, scale


def _other(name: str) -> Iterator[str]:
    return (what for mark, what in OTHERS.items() if mark in f" {name}.")


def add_loras(pipe: Any, loras: Sequence[str]) -> str:
    """Load LoRA weights into a pipeline, each at its scale; 16 hex digits of what was added, "" for nothing.

    Raises MemdetectError for a file that is not there, does not fit or is taken in part only, and without peft.
    """
    if not loras:
        return ""
    parsed = {f"lora{i}": (given, *check_lora(given)) for i, given in enumerate(loras)}
    total, given = hashlib.sha256(), loras[0]
    try:
        for name, (own, path, scale) in parsed.items():
            given = own
            pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
            with path.open("rb") as file:
                total.update(f"{scale!r}\n".encode() + hashlib.file_digest(file, "sha256").digest())
            _check_taken(pipe, path, name)
        pipe.set_adapters([*parsed], adapter_weights=[scale for _, _, scale in parsed.values()])
    except (*PROBLEMS, RuntimeError) as problem:
        reason = reason_of(problem)
        if "PEFT" in reason:
            raise MemdetectError(
                f"--lora {given!r} needs the package peft, missing or too old; pip install 'memdetect[lora]'"
            ) from None
        raise MemdetectError(f"--lora {given!r} could not be added: {reason}; check it against the model") from None
    return total.hexdigest()[:16]


def _check_taken(pipe: Any, path: Path, adapter: str) -> None:
    """MemdetectError when a pipeline has fewer layers of a LoRA than its file; diffusers drops them with a warning."""
    names = header(path)
    held = sum(any(mark in name for mark in LORA_DOWN) for name in names)
    parts = [part for part in getattr(pipe, "components", {}).values() if isinstance(part, torch.nn.Module)]
    modules = [module for part in parts for module in part.modules()]
    taken = sum(adapter in getattr(module, "lora_A", ()) for module in modules)
    if taken < held:
        raise MemdetectError(
            f"--lora {str(path)!r}: the model took {taken} of its {held} layers, expected all, since the rest would go "
            f"unseen; {_cure(taken, names, pipe)}"
        )


def _cure(taken: int, names: Mapping[str, Any], pipe: Any) -> str:
    if taken:
        return "check it against the model, or name its tensors alike (lora_A, lora_B)"
    own = [name for name, part in getattr(pipe, "components", {}).items() if isinstance(part, torch.nn.Module)]
    first = next(name for name in names if any(mark in name for mark in LORA_DOWN))
    parts = ", ".join(f"{name}." for name in own if name.startswith(("unet", "transformer", "text_encoder")))
    return f"its tensors are named as in {first!r:.120}, expected names that begin with {parts}: rename them"
