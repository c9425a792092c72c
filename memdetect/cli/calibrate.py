"""`memdetect calibrate`: clean prompts and a model -> the clean scores that its scans are judged against."""

import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import (
    BatchSize,
    Call,
    Column,
    Config,
    CpuOffload,
    Detectors,
    Device,
    DeviceMap,
    DtypeOption,
    Guidance,
    IndexFolder,
    Layers,
    Lora,
    Members,
    Model,
    NumSeeds,
    Offline,
    PromptsFormat,
    Revision,
    Search,
    Seed,
    Sigmas,
    Steps,
    Strata,
    Timesteps,
    Trust,
    VaeTiling,
    Variant,
    Weights,
    checked_model,
    pipeline_arguments,
    say_loading,
)
from memdetect.cli.output import Interrupt, hush, progress_bar, say, write


def calibrate_command(
    model: Model,
    clean: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLEAN...", help="Files of prompts known to be clean, drawn like those to be scanned."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Instead: class labels known to be clean, as 0,1,2 or a file of one a line.")
    ] = None,
    unconditional: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead: so many images without a condition. They are the model's own, not clean by themselves: "
            "only with --index, which removes copies, can a gate pass on them.",
        ),
    ] = None,
    memorized: Annotated[
        list[str] | None,
        typer.Option(
            help="File of prompts that the model is known to have memorized, with a column `kind`; repeatable. "
            "They tell how much the scores notice, without which no scan passes unless an index is searched."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; its run is kept in NAME.run.")] = Path(
        "calibration.json"
    ),
    column: Column = None,
    prompts_format: PromptsFormat = None,
    layer: Layers = None,
    timestep: Timesteps = None,
    sigma: Sigmas = None,
    detector: Detectors = None,
    member: Members = None,
    strata: Strata = "",
    num_seeds: NumSeeds = None,
    seed: Seed = 0,
    steps: Steps = None,
    guidance_scale: Guidance = None,
    batch_size: BatchSize = 16,
    device: Device = None,
    dtype: DtypeOption = None,
    revision: Revision = None,
    variant: Variant = None,
    config: Config = None,
    lora: Lora = None,
    cpu_offload: CpuOffload = False,
    vae_tiling: VaeTiling = False,
    device_map: DeviceMap = None,
    offline: Offline = False,
    call: Call = None,
    index: IndexFolder = None,
    search: Search = True,
    weights: Weights = None,
    trust_torchscript: Trust = False,
    first_step_only: Annotated[
        bool, typer.Option("--first-step-only", help="Refuse detectors that need more than the first step.")
    ] = False,
) -> None:
    """Measure clean prompts, one a family, and keep their scores; the same command again resumes.

    Models of classes and without a condition have no clean prompts: --labels ranks classes among other classes of the
    model, --unconditional ranks images among other images of the model. What all of them share is not found.

    Exit codes: 0 done, 2 usage or input, 4 error, 130/143 interrupted and resumable.
    """
    extra = pipeline_arguments(call or [])
    hush()
    from memdetect.inputs.labels import requests_of
    from memdetect.inputs.prompts import read

    requests = requests_of(list(clean or []), labels, unconditional, "clean") or read(
        list(clean or []), column=column, format=prompts_format
    )
    num_seeds = num_seeds or (1 if unconditional else None)  # more would be the mean of unrelated images
    checked_model(model)
    with Interrupt().listening() as interrupt, progress_bar("calibrate") as progress:
        from memdetect.adapters import Opening, load
        from memdetect.scanning import Options, calibrate

        options = Options(
            layers=layer,
            timesteps=timestep,
            sigmas=sigma,
            detectors=tuple(detector) if detector else Options().detectors,
            members=tuple(member or ()),
            strata=strata,
            steps=steps,
            guidance_scale=guidance_scale,
            num_seeds=num_seeds,
            seed=seed,
            batch_size=batch_size,
            call=extra,
            first_step_only=first_step_only,
            memorized=read(list(memorized), column=column, format=prompts_format) if memorized else (),
            index=index,
            search=search,
            embedder_weights=weights,
            trust_torchscript=trust_torchscript,
        )
        opening = Opening(
            revision, variant, config, tuple(lora or ()), cpu_offload, vae_tiling, device_map, offline=offline
        )
        say_loading(model, opening)
        loaded = load(model, device=device, dtype=dtype.value if dtype else None, opening=opening)
        made = calibrate(requests, loaded, out, options, progress=progress, stop=interrupt.asked)
    if made is None:
        say(f"stopped; resume with: {shlex.join(['memdetect', *sys.argv[1:]])}")
        raise typer.Exit(int(interrupt.exit or 0))
    _say(made)
    write(f"{out}\n")


def _say(made: Any) -> None:
    """What the calibration holds and rests on, a line each on stderr."""
    from memdetect.render.table import looked_at

    part_a = sum(item.part == "A" for item in made.items)
    say(f"{len(made.items)} clean prompts, {part_a} in part A ({made.parts}), {len(made.items) - part_a} in part B")
    if lost := made.provenance.get("nonfinite"):
        say(f"{lost} further prompts gave values that are not finite and are left out")
    say(f"looked at {looked_at(made.provenance['sigmas'])}")
    for kind, count in Counter(item.kind for item in made.known).items():
        say(f"{count} memorized prompts of kind {kind}")
    why = made.provenance.get("unchecked", "")
    if made.checked:
        say(made.checked)
    elif made.conditioned:
        say(f"not checked for copies: {why}; assumes clean calibration prompts")
    else:
        say(f"not checked for copies: {why}; images of the model itself: a gate will not pass on them")
