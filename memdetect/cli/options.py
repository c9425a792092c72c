"""Options that several commands have, so that each is called and described alike everywhere."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.output import say
from memdetect.errors import MemdetectError


class Dtype(StrEnum):
    """Number formats of the networks."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


Model = Annotated[
    str, typer.Option("--model", "-m", help="Bundled name, folder, .safetensors file or hub id. No default.")
]
Column = Annotated[
    str | None, typer.Option("--prompt-column", help="Column that holds the prompt; found without it as a rule.")
]
PromptsFormat = Annotated[str | None, typer.Option(help="Read the input as txt, jsonl, json, csv or tsv.")]
Layers = Annotated[list[str] | None, typer.Option(help="Layer to look at; name, glob or alias; repeatable.")]
Timesteps = Annotated[list[int] | None, typer.Option(help="Timestep to look at; repeatable.")]
Sigmas = Annotated[
    list[float] | None,
    typer.Option("--sigma", help="Noise over signal to look at, instead of timesteps: the nearest one; repeatable."),
]
Detectors = Annotated[list[str] | None, typer.Option(help="Detector; repeatable; the first one decides.")]
Members = Annotated[list[str] | None, typer.Option(help="Detector that decides; repeatable, at most three.")]
Strata = Annotated[str, typer.Option(help="Column that p-values stay within, the same in calibration and scan.")]
NumSeeds = Annotated[int | None, typer.Option(min=1, help="Images for each prompt.")]
Seed = Annotated[int, typer.Option(help="Seed of the run.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Sampling steps.")]
Guidance = Annotated[float | None, typer.Option(help="Classifier-free guidance.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once; halved for a batch that does not fit.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or mps.")]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option(
        help="Number format; auto, the default: the card's, else bf16 on a GPU that computes in it, fp16 on another, "
        "fp32 elsewhere."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of the model on its hub.")]
Variant = Annotated[str | None, typer.Option(help="Variant of the weight files, such as fp16.")]
Config = Annotated[str | None, typer.Option(help="Folder or hub id with the configurations of a single file.")]
Lora = Annotated[
    list[str] | None, typer.Option(metavar="PATH[@SCALE]", help="LoRA weights, .safetensors; repeatable; needs peft.")
]
CpuOffload = Annotated[bool, typer.Option("--cpu-offload", help="Networks wait in main memory until they run.")]
VaeTiling = Annotated[bool, typer.Option("--vae-tiling", help="Decode large images in tiles.")]
DeviceMap = Annotated[str | None, typer.Option(help="How networks are spread over devices, such as balanced.")]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing: folders, files and what is cached.")]
Call = Annotated[
    list[str] | None,
    typer.Option("--call", metavar="NAME=VALUE", help="Further argument of the pipeline; repeatable."),
]
Positive = Annotated[str, typer.Option(help="Group that should score high, such as the memorized prompts.")]
Against = Annotated[
    list[str] | None,
    typer.Option(help="Group to compare it with; repeatable, the first counts most; default: every other, in order."),
]
IndexFolder = Annotated[
    Path | None, typer.Option(help="Index of the training images to search; bundled models bring theirs.")
]
Search = Annotated[bool, typer.Option("--search/--no-index", help="Search an index of training images.")]
Weights = Annotated[Path | None, typer.Option(help="File with the weights of the index's embedder.")]
Trust = Annotated[bool, typer.Option("--trust-torchscript", help="Open weights of an embedder that can run code.")]


def checked_model(model: str) -> str:
    """The model's name; MemdetectError for an empty one, which an unset variable leaves behind."""
    if not model.strip():
        raise MemdetectError("--model is empty; give a bundled name, a folder or a hub id (see `memdetect models`)")
    return model


def say_loading(model: str, opening: Any) -> None:
    """Name the model on stderr, with what has to be downloaded for it, if a hub tells."""
    from memdetect.adapters.downloads import download_of

    download = download_of(model, opening)
    say(f"loading {model}: {download}" if download else f"loading {model}")


def pipeline_arguments(pairs: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value is JSON where it parses, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise MemdetectError(f"--call {pair!r} has no '='; expected NAME=VALUE, such as height=512")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
