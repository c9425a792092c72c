"""What a run was planned to be: a resume has to match all of it, and clean scores the part that scores depend on."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_SEEDS = 2**16  # images of a prompt
MOST = 2**53  # from here on JSON has no whole numbers
Whole = Annotated[int, Field(ge=1, le=MOST)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
GIVEN = "pictures"  # in place of a pipeline class: the pictures of a run were given


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

    @property
    def given(self) -> bool:
        """Whether the pictures were given, and no model of ours made them."""
        return self.adapter == GIVEN

    def difference(self, other: "Settings") -> tuple[str, Any, Any] | None:
        """The first setting in which another differs: its name, our value and theirs; None when all are equal."""
        for name in Settings.model_fields:
            if (ours := getattr(self, name)) != (theirs := getattr(other, name)):
                return name, ours, theirs
        return None


Seeds = Literal["quartile", "mean", "prompt"]
RUN = ("run", "all")  # the place of a detector that reads the sampling run


class Reading(_Strict):
    """Where a detector is read, and how the values of a prompt's seeds become its score.

    places: (layer, timestep) each of a detector of finished images, else ("run", "all"). seeds: `quartile` the lower
    upper quartile of the seeds, `mean` their mean, `prompt` the seeds are compared with each other and all have the
    prompt's one value, which depends on their number. seen: what a high score means, in words.
    """

    places: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)]
    seeds: Seeds = "quartile"
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """A detector's places in a plan: its cells as records name them, and how many seeds of what kind each has."""

    cells: tuple[tuple[str, str], ...]
    num_seeds: int
    seeds: Seeds = "quartile"


class Plan(Settings):
    """Settings, inputs, and what is measured of them.

    inputs: digest of the items (`inputs_digest`). readings: where each of the detectors is read. combine: the detectors
    whose combination decides, () = the first; by: how. bank: digest of the clean prompts that detectors compare with.
    layers, timesteps: where finished images are probed, () = they are not.
    strata: a column that p-values stay within. index: digest of the index that outputs are looked up in, top_k: how
    many neighbours are kept of it; base: digest of the network whose drawings scores are ranked among; "" and None =
    there is none. shard_size: items of a shard; turns: items at which prompts turn into images or back (`Sharding`).
    """

    inputs: str
    num_seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)]
    seed: int
    detectors: Names
    readings: dict[str, Reading]
    combine: tuple[str, ...] = ()
    by: Literal["max", "sum"] = "max"
    strata: str = ""
    bank: str = ""
    layers: tuple[str, ...] = ()
    timesteps: tuple[int, ...] = ()
    index: str = ""
    top_k: Whole | None = None
    base: str = ""
    shard_size: Whole = 16
    turns: tuple[Annotated[int, Field(ge=1, le=MOST)], ...] = ()

    @property
    def settings(self) -> Settings:
        """The part that clean scores have to share."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    @model_validator(mode="after")
    def _read(self) -> "Plan":
        if tuple(self.readings) != self.detectors:
            raise ValueError(f"readings are of {', '.join(self.readings)}, expected {', '.join(self.detectors)}")
        if other := next((name for name in self.combine if name not in self.detectors), ""):
            raise ValueError(f"combine names {other}, and the detectors are {', '.join(self.detectors)}")
        if list(self.turns) != sorted(set(self.turns)):
            raise ValueError("turns do not ascend")
        probed = {RUN, *((layer, str(t)) for layer in self.layers for t in self.timesteps)}
        for name, reading in self.readings.items():
            if other := next((place for place in reading.places if place not in probed), None):
                raise ValueError(f"{name} is read at {other[0]}, t={other[1]}, not among layers and timesteps")
        return self

    def places(self, detector: str) -> Places:
        """Where a detector's scores are read."""
        found = self.readings[detector]
        return Places(found.places, self.num_seeds, found.seeds)

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
    digest = hashlib.sha256()
    for item in items:
        digest.update(inputs_line(*item))
    return digest.hexdigest()


def inputs_line(name: str, prompt: str | None, image: str | None) -> bytes:
    """What the digest of the inputs takes of an item, as json.dumps writes it."""
    return f"[{_json(name)}, {_json(prompt)}, {_json(image)}]".encode()


def _json(part: str | None) -> str:
    return "null" if part is None else encode_basestring_ascii(part)
