"""One row per diffusers pipeline class: where its denoiser is and how memdetect reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from memdetect.errors import MemdetectError


@dataclass(frozen=True, slots=True)
class Family:
    """A pipeline class: name of its denoiser, the order of the guidance halves in a batch, aliases of layers."""

    pipeline: str
    denoiser: str
    halves: Literal["uncond+cond", "cond+uncond", "two calls", "none"]
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])


FAMILIES: Mapping[str, Family] = {
    row.pipeline: row
    for row in (
        Family(
            "StableDiffusionPipeline",
            "unet",
            "uncond+cond",
            {"paper": "up_blocks.0.resnets.*", "steering": "up_blocks.[01].resnets.*"},
        ),
    )
}


def family_of(pipeline: str) -> Family:
    """The row of a pipeline class; MemdetectError names the classes that are known."""
    if pipeline in FAMILIES:
        return FAMILIES[pipeline]
    close = get_close_matches(pipeline, FAMILIES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MemdetectError(f"pipeline class {pipeline!r} is not supported; {hint}(have: {', '.join(FAMILIES)})")
