"""What a run was planned to be: a resume has to match all of it, and clean scores the part that scores depend on."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Whole = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True, allow_inf_nan=False)


class Settings(_Strict):
    """What a scan has to share with the clean scores that it is ranked among.

    model: its digest; adapter: the pipeline class; scheduler: class and digest of its configuration; size: height and
    width of the images in pixels; noise: the rule that seeds come from; call: further arguments of the pipeline.
    """

    model: str
    adapter: str
    dtype: str
    scheduler: str
    steps: Whole
    guidance_scale: float
    size: tuple[int, int]
    noise: str
    call: dict[str, Any] = {}

    def difference(self, other: "Settings") -> tuple[str, Any, Any] | None:
        """The first setting in which another differs: its name, our value and theirs; None when all are equal."""
        for name in Settings.model_fields:
            if (ours := getattr(self, name)) != (theirs := getattr(other, name)):
                return name, ours, theirs
        return None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the scores of image detectors are read: layers, timesteps, and how many seeds."""

    layers: tuple[str, ...]
    timesteps: tuple[int, ...]
    num_seeds: int

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Every layer with every timestep, as records name them."""
        return [(layer, str(t)) for layer in self.layers for t in self.timesteps]


class Plan(Settings):
    """Settings, inputs, and what is measured of them.

    inputs: digest of the items (`inputs_digest`). combine: the detectors whose combination decides, () = the first.
    strata: a column that p-values stay within. index: digest of the index that outputs are looked up in, top_k: how
    many neighbours are kept of it; base: digest of the network whose drawings scores are ranked among; "" and None =
    there is none.
    """

    inputs: str
    num_seeds: Whole
    seed: int
    detectors: Names
    combine: tuple[str, ...] = ()
    strata: str = ""
    layers: Names
    timesteps: Annotated[tuple[int, ...], Field(min_length=1)]
    index: str = ""
    top_k: Whole | None = None
    base: str = ""

    @property
    def settings(self) -> Settings:
        """The part that clean scores have to share."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    @property
    def places(self) -> Places:
        """Where scores are read."""
        return Places(self.layers, self.timesteps, self.num_seeds)

    @property
    def deciding(self) -> tuple[str, ...]:
        """The detectors whose combination decides: those that are named, else the first."""
        return self.combine or self.detectors[:1]

    @property
    def digest(self) -> str:
        """The sha256, in hex, of the plan as JSON with sorted keys: the same before the first image and years later."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def inputs_digest(items: Iterable[tuple[str, str | None, str | None]]) -> str:
    """The sha256, in hex, of what a run is asked: id, prompt, and sha256 of the image file of each item, in order."""
    lines = [f"[{_json(name)}, {_json(prompt)}, {_json(image)}]" for name, prompt, image in items]  # as json.dumps does
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _json(part: str | None) -> str:
    return "null" if part is None else encode_basestring_ascii(part)
