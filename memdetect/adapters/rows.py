"""One row per diffusers pipeline class: where its denoiser is and how memdetect reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from memdetect.errors import MemdetectError

Aliases = Mapping[str, str]
RESIDUAL: Aliases = {
    "paper": "up_blocks.0.resnets.*",
    "mid": "mid_block.resnets.*",
    "up:N": "up_blocks.N.resnets.*",
    "down:N": "down_blocks.N.resnets.*",
    "steering": "up_blocks.[01].resnets.*",
}
TOKENS: Aliases = {
    "paper": "transformer_blocks.{mid}.ff.net.0",
    "block:N": "transformer_blocks.N.ff.net.0",
    "ff": "transformer_blocks.*.ff.net.0",
}
# Noise over signal of the paper's figure, 0.176, which is t = 50 of DiT's schedule, in a flow: 0.15 / 0.85.
FLOW_POINT = (150,)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A pipeline class: name of its denoiser, the order of the guidance halves in a batch, aliases of layers.

    condition: what images are made from. packed: latents travel as tokens of 2x2 patches. clock: the network's time
    over the schedule's timestep. fixed: arguments that are passed unless a caller says otherwise. defaults: settings of
    a card that does not name them. tokenizer: of the text that the image attends to. In an alias, `{mid}` stands for
    the middle transformer block, N for a number.
    """

    pipeline: str
    denoiser: str
    halves: Literal["uncond+cond", "cond+uncond", "two calls", "none"]
    aliases: Aliases = field(default_factory=dict[str, str])
    condition: Literal["prompt", "label", "none"] = "prompt"
    packed: bool = False
    clock: float = 1.0
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tokenizer: str = "tokenizer"


def _unconditional(pipeline: str) -> Adapter:
    """Each image is an item of its own, so that one probe of one image is what an item's score means."""
    return Adapter(
        pipeline,
        "unet",
        "none",
        RESIDUAL,
        condition="none",
        defaults={"guidance_scale": 1.0, "num_seeds": 1},
    )


ADAPTERS: Mapping[str, Adapter] = {
    row.pipeline: row
    for row in (
        Adapter("StableDiffusionPipeline", "unet", "uncond+cond", RESIDUAL),
        Adapter("StableDiffusionXLPipeline", "unet", "uncond+cond", RESIDUAL, defaults={"guidance_scale": 5.0}),
        Adapter(
            "LatentConsistencyModelPipeline",
            "unet",
            "none",
            RESIDUAL,
            defaults={"steps": 4, "guidance_scale": 8.5},
        ),
        Adapter(
            "StableDiffusion3Pipeline",
            "transformer",
            "uncond+cond",
            TOKENS,
            defaults={"steps": 28, "guidance_scale": 7.0, "timesteps": FLOW_POINT},
        ),
        Adapter(
            "FluxPipeline",
            "transformer",
            "two calls",
            {**TOKENS, "single:N": "single_transformer_blocks.N.act_mlp"},
            packed=True,
            clock=1e-3,
            defaults={"steps": 28, "guidance_scale": 3.5, "timesteps": FLOW_POINT},
            tokenizer="tokenizer_2",
        ),
        Adapter(
            "PixArtSigmaPipeline",
            "transformer",
            "uncond+cond",
            TOKENS,
            # Cleaning depends on packages that may be absent; binning makes another size than the one asked for.
            fixed={"clean_caption": False, "use_resolution_binning": False},
            defaults={"steps": 20, "guidance_scale": 4.5},
        ),
        Adapter(
            "DiTPipeline",
            "transformer",
            "cond+uncond",
            TOKENS,
            condition="label",
            defaults={"guidance_scale": 4.0},
        ),
        _unconditional("DDPMPipeline"),
        _unconditional("DDIMPipeline"),
    )
}


def adapter_of(pipeline: str) -> Adapter:
    """The row of a pipeline class; MemdetectError names the classes that are known, and how to add a row."""
    if pipeline in ADAPTERS:
        return ADAPTERS[pipeline]
    close = get_close_matches(pipeline, ADAPTERS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MemdetectError(
        f"pipeline class {pipeline!r} is not supported; {hint}(have: {', '.join(ADAPTERS)}); "
        "`memdetect.adapters.add_adapter(Adapter(...))` adds a row, see docs/how-to/add-an-adapter.md"
    )


def add_adapter(row: Adapter) -> None:
    """Add a row for the running process; MemdetectError when the class has one already."""
    if row.pipeline in ADAPTERS:
        raise MemdetectError(f"pipeline class {row.pipeline!r} has a row already; give your class another name")
    assert isinstance(ADAPTERS, dict)
    ADAPTERS[row.pipeline] = row
