"""What a run is told: its inputs, the model, how images are made, where they are probed, where they are looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from typer import Option

from memdetect.inputs.options.shared import (
    BatchSize,
    File,
    Given,
    Layers,
    RankNumber,
    Seed,
    World,
    pipeline_arguments,
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is examined where that is no file of prompts, and how such files are read."""

    panel: ClassVar[str] = "Inputs"
    labels: Annotated[
        str | None,
        Option("--labels", help="Class labels to scan instead of files: 0,1,2, or a file with one on each line."),
    ] = None
    unconditional: Annotated[
        int | None,
        Option("--unconditional", min=1, metavar="N", help="Scan N images made without a prompt, instead of files."),
    ] = None
    prompt_column: Annotated[
        str | None,
        Option("--prompt-column", help="Column that holds the prompts, if it is not called prompt, caption or text."),
    ] = None
    prompts_format: Annotated[
        str | None,
        Option(
            "--prompts-format",
            help="Format of the prompt files, if their suffix does not tell it: txt, jsonl, json, csv or tsv.",
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Loading:
    """How a model's weights are opened, and where it runs; names as in diffusers.

    dtype: None and auto are the card's, else what the device computes in. loras: PATH or PATH@SCALE each.
    """

    panel: ClassVar[str] = "Model"
    device: Annotated[
        str | None,
        Option("--device", help="Where to compute: cpu, cuda, cuda:N or mps. Default: the fastest there is."),
    ] = None
    dtype: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"] | None,
        Option(
            "--dtype",
            help="Number format of the weights. Default: that of the model's card, else bf16 or fp16 "
            "on a GPU, fp32 elsewhere.",
        ),
    ] = None
    loras: Annotated[
        Sequence[str],
        Option(
            "--lora",
            metavar="PATH[@SCALE]",
            help="LoRA weights to add, a .safetensors file; repeatable. Needs the extra `lora`.",
        ),
    ] = ()
    revision: Annotated[str | None, Option("--revision", help="Branch, tag or commit of the model on its hub.")] = None
    variant: Annotated[str | None, Option("--variant", help="Variant of the weight files, such as fp16.")] = None
    config: Annotated[
        str | None, Option("--config", help="Folder or hub id that configures a model given as a single file.")
    ] = None
    cpu_offload: Annotated[
        bool, Option("--cpu-offload", help="Keep each network in main memory until it runs; this saves GPU memory.")
    ] = False
    vae_tiling: Annotated[bool, Option("--vae-tiling", help="Decode large images in tiles; this saves memory.")] = False
    device_map: Annotated[
        str | None,
        Option("--device-map", metavar="PLAN", help="How to spread the networks over devices, such as balanced."),
    ] = None
    offline: Annotated[bool, Option("--offline", help="Download nothing: use folders, files and what is cached.")] = (
        False
    )

    @property
    def unusual(self) -> dict[str, Any]:
        """What was said of the weights, by name; where they run is no part of it."""
        named = [each.name for each in fields(self) if each.name not in ("device", "dtype")]
        return {name: value for name in named if (value := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How images are made. call: further arguments of the pipeline, such as height."""

    panel: ClassVar[str] = "Sampling"
    num_seeds: Annotated[
        int | None,
        Option(
            "--num-seeds",
            min=1,
            metavar="N",
            help="Images to make for each prompt. If no default is shown, the model's card decides; for most models 4.",
        ),
    ] = None
    seed: Seed = 0
    steps: Annotated[
        int | None,
        Option(
            "--steps", min=1, metavar="N", help="Sampling steps for each image. Without it, the model's card decides."
        ),
    ] = None
    guidance_scale: Annotated[
        float | None,
        Option("--guidance-scale", help="Scale of classifier-free guidance. Without it, the model's card decides."),
    ] = None
    batch_size: BatchSize = 16
    call: Annotated[
        Mapping[str, Any],
        Option(
            "--call",
            metavar="NAME=VALUE",
            help="Further argument of the diffusers pipeline, such as height=512; repeatable.",
        ),
        Given(list[str] | None, pipeline_arguments),
    ] = field(default_factory=dict[str, Any])

    def without_prompts(self) -> "Sampling":
        """The same with one image for each item, unless more are asked for: they would be a mean of unrelated ones."""
        return self if self.num_seeds else replace(self, num_seeds=1)


@dataclass(frozen=True, slots=True)
class Probing:
    """Where the network is probed, what is scored there, and which scores decide.

    sigmas: noise over signal to probe at, instead of timesteps. detectors: () = the usual ones. combine: those that
    decide together; () = the card's, else the first detector; by: how they become one. strata: a column that p-values
    stay within.
    """

    panel: ClassVar[str] = "Detectors"
    layers: Layers = ()
    timesteps: Annotated[
        Sequence[int],
        Option(
            "--timestep",
            help="Timestep up to which finished images are noised before a layer is read; repeatable.",
        ),
    ] = ()
    sigmas: Annotated[
        Sequence[float],
        Option(
            "--sigma",
            help="Noise level (noise over signal) to probe at, instead of a timestep; repeatable. The "
            "nearest is taken.",
        ),
    ] = ()
    detectors: Annotated[
        Sequence[str],
        Option(
            "--detector",
            help="Detector to run; repeatable. The first decides, unless --combine or the model's card names others.",
        ),
    ] = ()
    combine: Annotated[
        Sequence[str],
        Option(
            "--combine", metavar="DETECTOR", help="Detector that takes part in the decision; repeatable, at most three."
        ),
    ] = ()
    by: Annotated[
        Literal["max", "sum"],
        Option(
            "--combine-by",
            help="How several deciding detectors become one score: the largest surprise, or the sum of all.",
        ),
    ] = "max"
    strata: Annotated[
        str,
        Option(
            "--stratify-by",
            metavar="COLUMN",
            help="Column of the prompt files: a prompt is ranked only among clean prompts with the same value.",
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Which training images outputs are looked up among.

    index: None = the one that ships with the model, unless `search` is False. train_images: a folder of training
    pictures instead, of which an index is made; without prompts, their captions are scanned.
    """

    panel: ClassVar[str] = "Training images"
    index: Annotated[
        File | None,
        Option(
            "--index",
            "-i",
            help="Index of the training images, made by `memdetect index build`; images are looked up in it.",
        ),
    ] = None
    search: Annotated[
        bool,
        Option(
            "--search/--no-index", help="Look images up in the index given, else in the one that ships with the model."
        ),
    ] = True
    top_k: Annotated[
        int, Option("--top-k", min=1, metavar="N", help="Nearest training images to keep for each image.")
    ] = 3
    train_images: Annotated[
        File | None, Option("--train-images", help="Folder of your training pictures and their captions.")
    ] = None
    instance_prompt: Annotated[
        str | None, Option("--instance-prompt", help="Caption of every training picture that has none of its own.")
    ] = None
    weights: Annotated[
        File | None, Option("--weights", help="File with the weights of the embedder, if it needs one.")
    ] = None
    trust_torchscript: Annotated[
        bool,
        Option(
            "--trust-torchscript",
            help="Open embedder weights in a format that can run code; only for files that you trust.",
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a run is shared by processes, on one machine or many. shard_size counts at the first start of a run."""

    panel: ClassVar[str] = "More than one process"
    shard_size: Annotated[
        int | None,
        Option(
            "--shard-size",
            min=1,
            metavar="N",
            help="Prompts that are measured together and kept as one file; fixed when a run first starts. "
            "Default: as many as make a batch.",
        ),
    ] = None
    rank: RankNumber = None
    world: World = None
    steal: Annotated[
        bool,
        Option(
            "--steal/--no-steal",
            help="Also measure what other processes leave undone; not where each process has its own disk.",
        ),
    ] = True
    workers: Annotated[
        int | None,
        Option("--workers", min=1, metavar="N", help="Start this many processes on this machine, one for each GPU."),
    ] = None
    ray: Annotated[
        str | None,
        Option(
            "--ray",
            metavar="ADDRESS",
            help="Measure on a Ray cluster: its address, auto for the one that runs, or local to start one here.",
        ),
    ] = None

    @property
    def place(self) -> tuple[int, int, bool]:
        """Rank and world, where neither is given those of a single process, and whether it takes what others leave."""
        return self.rank or 0, self.world or 1, self.steal
