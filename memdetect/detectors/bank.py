"""A bank: what clean prompts of the very model give, kept with its calibration, for detectors that compare with it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from memdetect.adapters import Model
from memdetect.detectors.agreement import EARLY_CLEAN, unit_pictures
from memdetect.detectors.neurons import NEED as VALUES
from memdetect.detectors.trajectory import WAY, way_lengths
from memdetect.errors import MemdetectError
from memdetect.files import write_atomic
from memdetect.probing.attention import cross_attentions
from memdetect.probing.needs import Need
from memdetect.probing.trace import Trace

NEEDS: tuple[Need, ...] = (EARLY_CLEAN, WAY)
LAYER = "neurons/"  # before the name of a layer, in the file


def needs_of(model: Model) -> tuple[Need, ...]:
    """What a bank of a model is made of: the neurons of the text only where a network has cross-attention."""
    return (*NEEDS, VALUES) if cross_attentions(model.denoiser) else NEEDS


@dataclass(frozen=True)
class Bank:
    """Clean prompts: their families, mean unit picture at the early step, and lengths of their first ways.

    pictures: mean over a prompt's seeds of its unit clean estimates, so that its product with another unit vector is
    the mean correlation over seeds. ways: mean and standard deviation over prompts and seeds of each way's length.
    neurons: those over prompts of each neuron of a layer's values; none of a bank made before there were any.
    """

    families: tuple[str, ...]
    pictures: Float[Tensor, "prompt dim"]
    ways: Float[Tensor, "2 way"]
    neurons: Mapping[str, Float[Tensor, "2 _"]] = field(default_factory=dict[str, Tensor])

    @cached_property
    def digest(self) -> str:
        """The sha256, in hex, of families and numbers."""
        total = hashlib.sha256("\n".join(self.families).encode())
        for name, array in self.arrays.items():
            total.update(name.encode() if name.startswith(LAYER) else b"")
            total.update(str(tuple(array.shape)).encode())
            total.update(array.contiguous().numpy().tobytes())
        return total.hexdigest()

    @property
    def arrays(self) -> dict[str, Tensor]:
        """All its numbers, as a file names them."""
        layers = {f"{LAYER}{name}": own for name, own in sorted(self.neurons.items())}
        return {"pictures": self.pictures, "ways": self.ways, **layers}

    @property
    def facts(self) -> dict[str, Any]:
        """What a calibration says of it: digest, prompts, numbers of each."""
        return {"digest": self.digest, "prompts": len(self.families), "numbers": int(self.pictures.shape[1])}


def bank_of(traces: Sequence[Trace]) -> Bank:
    """The bank of clean prompts' traces; what is not finite is left out. MemdetectError for fewer than 20 prompts."""
    families, pictures, lengths = list[str](), list[Tensor](), list[Tensor]()
    values: dict[str, list[Tensor]] = {}
    for trace in traces:
        units = unit_pictures(trace.output(EARLY_CLEAN)[0]).mean(dim=1)
        ways = way_lengths(trace.output(WAY))
        sound = units.isfinite().all(dim=1) & ways.isfinite().all(dim=2).all(dim=0)
        families += [family for family, whole in zip(trace.families, sound.tolist(), strict=True) if whole]
        pictures.append(units[sound])
        lengths.append(ways[:, sound].flatten(1))
        for (need, layer), array in trace.arrays.items():
            if need == VALUES:
                values.setdefault(layer, []).append(array[0, sound, 0])
    if len(families) < 20:
        raise MemdetectError(f"a bank of {len(families)} clean prompts is too small; give at least 20 for tuning")
    neurons = {layer: _moments(torch.cat(own).T).contiguous() for layer, own in values.items()}
    return Bank(tuple(families), torch.cat(pictures).half(), _moments(torch.cat(lengths, dim=1)), neurons)


def _moments(lengths: Float[Tensor, "way image"]) -> Float[Tensor, "2 way"]:
    """Mean and standard deviation of each way, or neuron; none where the early step is the first: there is no way."""
    if not len(lengths):
        return lengths.new_zeros(2, 0)
    return torch.stack([lengths.mean(dim=1), lengths.std(dim=1, correction=0)])


def bank_file(calibration: Path) -> Path:
    """Where the bank of a calibration's file lies: beside it."""
    return calibration.with_name(f"{calibration.stem}.bank.safetensors")


def write_bank(path: Path, bank: Bank, settings: str = "") -> None:
    """Write a bank; settings: a digest of what it was made with, which a resumed calibration compares."""
    meta = {"families": json.dumps(bank.families), "settings": settings}
    write_atomic(path, save(bank.arrays, meta))


def read_bank(path: Path, settings: str | None = None) -> Bank | None:
    """The bank in a file; None where there is none, or one made with other settings. MemdetectError if it is broken."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata()
            if settings is not None and meta["settings"] != settings:
                return None
            own = [name for name in file.offset_keys() if name.startswith(LAYER)]
            layers = {name.removeprefix(LAYER): file.get_tensor(name) for name in own}
            families = tuple(json.loads(meta["families"]))
            found = Bank(families, file.get_tensor("pictures"), file.get_tensor("ways"), layers)
            if len(found.families) != len(found.pictures):
                raise ValueError(f"{len(found.families)} families of {len(found.pictures)} prompts")
            return found
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as problem:
        raise MemdetectError(f"{path} is no bank of clean prompts ({problem}); calibrate again") from None
