"""A steering vector: one direction for each layer, and everything that says where it belongs; kept as safetensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from memdetect.adapters import Model, Point
from memdetect.errors import MemdetectError

At = Literal["output", "hidden"]
PREFIX, EMBEDDING, MARK = "layer/", "embedding", "memdetect.steering"


class Header(BaseModel):
    """What a vector was made of. digest: of the model. at: `output` = what a layer returns, `hidden` = probed features.

    prompted: prompts were probed at under their own text, not under an empty one. positive, negative: number of images.
    lengths: of each layer's direction, in the unit of its features. references: what was found of them, see `Check`.
    embedder: name and fingerprint of what made the direction among images, {} = there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[2] = 2
    memdetect: str
    model: str
    digest: str
    adapter: str
    at: At
    method: str
    normalised: bool
    timestep: int
    prompted: bool
    seed: int
    steps: int
    guidance_scale: float
    positive: int
    negative: int
    lengths: dict[str, float]
    references: dict[str, Any] = {}
    embedder: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Vector:
    """Directions by layer, float32 on the CPU; `embedding`: the same edit as a unit direction among embedded images."""

    header: Header
    layers: Mapping[str, Float[Tensor, " chan"]]
    embedding: Float[Tensor, " dim"] | None = None

    def save(self, path: Path) -> None:
        """Write the vector as one safetensors file; MemdetectError when that cannot be done."""
        tensors = {PREFIX + name: value.contiguous() for name, value in self.layers.items()}
        if self.embedding is not None:
            tensors[EMBEDDING] = self.embedding.contiguous()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(save(tensors, metadata={MARK: self.header.model_dump_json()}))
        except OSError as problem:
            raise MemdetectError(f"cannot write {path}: {problem.strerror}; choose another place") from None

    def only(self, patterns: Sequence[str]) -> "Vector":
        """The vector at the layers that match a name or glob; MemdetectError names its layers for one without any."""
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in self.layers):
                raise MemdetectError(f"the vector has no layer {pattern!r}; it has {', '.join(self.layers)}")
        kept = {n: v for n, v in self.layers.items() if any(fnmatchcase(n, pattern) for pattern in patterns)}
        return replace(self, layers=kept)

    def points(self, model: Model) -> tuple[Point, ...]:
        """Where the vector acts in a model; MemdetectError when it was made for another model."""
        made = self.header
        if made.digest != model.digest:
            raise MemdetectError(
                f"the vector was made for {made.model} ({made.adapter}, digest {made.digest[:12]}), this model is "
                f"{model.name} ({model.adapter.pipeline}, digest {model.digest[:12]}); build it again for this model"
            )
        return sites(model.points(tuple(self.layers)), made.at)


def sites(points: Sequence[Point], at: At) -> tuple[Point, ...]:
    """Points as they are (`hidden`), or read where the module that they are named after ends (`output`).

    The two differ for a residual block: SiLU(norm2) inside it, or what it returns, as the paper's code steers it.
    """
    return tuple(replace(p, module=p.name, read="output") if at == "output" else p for p in points)


def read_vector(path: Path) -> Vector:
    """Open a vector; MemdetectError, one line, for a file that is missing, broken or something else."""
    if not path.is_file():
        raise MemdetectError(f"there is no vector {str(path)!r}; make one with `memdetect steer build`")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(MARK)
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as problem:
        raise MemdetectError(f"{str(path)!r} is no safetensors file: {str(problem).splitlines()[0]}") from None
    if text is None:
        raise MemdetectError(f"{str(path)!r} is no steering vector; make one with `memdetect steer build`")
    try:
        header = Header.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MemdetectError(f"{str(path)!r} was written by another version: {where}: {first['msg']}") from None
    layers = {name.removeprefix(PREFIX): _flat(value, path) for name, value in tensors.items() if name != EMBEDDING}
    if layers.keys() != header.lengths.keys():
        raise MemdetectError(f"{str(path)!r} holds other layers than its header says; build it again")
    named = {name: layers[name] for name in header.lengths}
    return Vector(header, named, _flat(tensors[EMBEDDING], path) if EMBEDDING in tensors else None)


def _flat(value: Tensor, path: Path) -> Float[Tensor, " chan"]:
    if value.ndim != 1 or not value.is_floating_point() or not torch.isfinite(value).all():
        raise MemdetectError(f"{str(path)!r} holds a tensor that is no vector of finite numbers; build it again")
    return value.float()
