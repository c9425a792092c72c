"""`memdetect scan`: measure prompts or images with a model and keep everything in a run folder."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.gate import FailOn, Fdr, MaxRate, PolicyFile, conclude, policy_for
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
from memdetect.cli.reports import (
    EvidenceOption,
    Format,
    FormatOption,
    Outputs,
    Redact,
    check_run_folder,
    publish,
    reports,
)
from memdetect.errors import MemdetectError


def scan_command(
    model: Model,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Prompt files (txt, jsonl, json, csv, tsv, .gz), images, folders, globs, or - for stdin.",
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Class labels instead, as 0,1,2 or a file of one a line, for models of classes.")
    ] = None,
    unconditional: Annotated[
        int | None, typer.Option(min=1, help="So many images without a prompt instead, each an item of its own.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes.")] = Path("runs/scan"),
    format: FormatOption = Format.table,
    output: Outputs = None,
    redact: Redact = False,
    evidence: EvidenceOption = None,
    column: Column = None,
    prompts_format: PromptsFormat = None,
    layer: Layers = None,
    timestep: Timesteps = None,
    sigma: Sigmas = None,
    detector: Detectors = None,
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
    save_images: Annotated[bool, typer.Option(help="Keep the generated images in the run folder.")] = True,
    member: Members = None,
    strata: Strata = "",
    calibration: Annotated[Path | None, typer.Option(help="Clean scores, instead of those beside the model.")] = None,
    index: IndexFolder = None,
    search: Search = True,
    weights: Weights = None,
    trust_torchscript: Trust = False,
    top_k: Annotated[int, typer.Option(min=1, help="Nearest training images recorded for each image.")] = 3,
    base: Annotated[
        str | None,
        typer.Option(help="What the model was fine-tuned from: it draws the same prompts, and that is the null."),
    ] = None,
    base_rounds: Annotated[
        int | None, typer.Option(min=2, help="How often the base draws each prompt; by their number if not given.")
    ] = None,
    train_images: Annotated[
        Path | None,
        typer.Option(help="Folder of the training pictures: their captions are scanned, outputs looked up among them."),
    ] = None,
    instance_prompt: Annotated[
        str | None, typer.Option(help="Caption of every training picture that has none of its own.")
    ] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Judge as well, as `gate` does: fail on copy, suspicious (or worse), none.")
    ] = None,
    policy: PolicyFile = None,
    max_rate: MaxRate = None,
    fdr: Fdr = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and what it can show; load no weights, make no image.")
    ] = False,
) -> None:
    """Measure prompts or images; exits 0 when complete, whatever it found, unless --fail-on asks it to judge.

    Exit codes: 0 done, 1 failed (with --fail-on), 2 usage or input, 3 nothing could be used, 4 error, 130/143
    interrupted and resumable.
    """
    extra = pipeline_arguments(call or [])
    check_run_folder(out)
    wanted = reports(format, output, redact, evidence, runs=[out], inputs=list(inputs or []))
    bar = policy_for({"fail_on": fail_on.value if fail_on else None, "max_rate": max_rate, "fdr": fdr}, policy).policy
    hush()
    pictures = (train_images, instance_prompt)
    requests = _requests(list(inputs or []), labels, unconditional, column, prompts_format, pictures)
    num_seeds = num_seeds or (1 if unconditional else None)  # more would be the mean of unrelated images
    checked_model(model)
    if dry_run:
        from memdetect.scanning import Options

        asked = {
            "steps": steps,
            "guidance_scale": guidance_scale,
            "num_seeds": num_seeds,
            "timesteps": timestep,
            "sigmas": sigma,
            "loras": lora,
            "call": extra or None,
            "dtype": dtype.value if dtype else None,
        }
        deciding = member or (detector or [])[:1]
        _dry_run(
            (revision, variant, offline),
            requests,
            model,
            asked,
            deciding,
            detectors=tuple(detector or Options().detectors),
            layers=layer,
            strata=strata,
            seed=seed,
            calibration=calibration,
            policy=bar,
            index=index,
            search=search,
            top_k=top_k,
            base=base or (model if lora and train_images else None),
            base_rounds=base_rounds,
            train_images=train_images,
        )
    with Interrupt().listening() as interrupt, progress_bar("scan") as progress:
        from memdetect.adapters import Opening, load
        from memdetect.scanning import Options, scan

        opening = Opening(
            revision, variant, config, tuple(lora or ()), cpu_offload, vae_tiling, device_map, offline=offline
        )
        options = Options(
            layers=layer,
            timesteps=timestep,
            sigmas=sigma,
            detectors=tuple(detector) if detector else Options().detectors,
            steps=steps,
            guidance_scale=guidance_scale,
            num_seeds=num_seeds,
            seed=seed,
            batch_size=batch_size,
            save_images=save_images,
            call=extra,
            members=tuple(member or ()),
            strata=strata,
            calibration=calibration,
            policy=bar,
            index=index,
            search=search,
            embedder_weights=weights,
            trust_torchscript=trust_torchscript,
            top_k=top_k,
            base=_base(base or (model if lora and train_images else None), device, dtype, opening),
            base_rounds=base_rounds,
            train_images=train_images,
        )
        say_loading(model, opening)
        loaded = load(model, device=device, dtype=dtype.value if dtype else None, opening=opening)
        run = scan(requests, loaded, out, options, progress=progress, stop=interrupt.asked)
    _say_if_stopped(run, interrupt)
    publish(wanted, run.header, run.results, run.verdict, [run.folder])
    say(f"run folder: {run.folder}")
    if fail_on is not None:
        conclude(run.verdict)
    raise typer.Exit(int(run.verdict.scan_exit))


def _requests(
    inputs: list[str],
    labels: str | None,
    unconditional: int | None,
    column: str | None,
    form: str | None,
    pictures: tuple[Path | None, str | None],
) -> Any:
    """What is to be scanned: what is given, else the captions of the training pictures (folder, instance prompt)."""
    folder, instance = pictures
    if instance and not folder:
        raise MemdetectError("--instance-prompt is the caption of --train-images, which is not given; add it")
    if folder and not (inputs or labels or unconditional):
        from memdetect.inputs.captions import captioned, prompts_of

        return prompts_of(captioned(folder, instance))
    from memdetect.inputs.labels import requests_of
    from memdetect.inputs.prompts import read

    return requests_of(inputs, labels, unconditional) or read(inputs, column=column, format=form)


def _base(name: str | None, device: str | None, dtype: Any, opening: Any) -> Any:
    """The base, opened like the model but without its LoRAs."""
    from memdetect.adapters import load

    return (
        load(name, device=device, dtype=dtype.value if dtype else None, opening=replace(opening, loras=()))
        if name
        else None
    )


def _say_if_stopped(run: Any, interrupt: Interrupt) -> None:
    """End with the exit code of the interruption, if there was one."""
    if run.interrupted:
        again = shlex.join(["memdetect", *sys.argv[1:]])
        say(f"stopped at {len(run.results)} of {run.header.planned}; resume with: {again}")
        raise typer.Exit(int(interrupt.exit or 0))


def _dry_run(place: tuple[str | None, str | None, bool], requests: Any, model: str, *plan: Any, **options: Any) -> None:
    """Print what a scan would do and show, and what its model (revision, variant, offline) would fetch; then stop.

    options: those of the scan that a plan depends on.
    """
    from memdetect.adapters import Opening
    from memdetect.adapters.downloads import download_of
    from memdetect.scanning import Options
    from memdetect.scanning.dry_run import dry_run_lines

    write("".join(f"{line}\n" for line in dry_run_lines(requests, model, Options(**options), *plan)))
    if download := download_of(model, Opening(place[0], place[1], offline=place[2])):
        write(f"download: {download}\n")
    raise typer.Exit
