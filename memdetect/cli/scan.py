"""`memdetect scan`: measure prompts or images with a model and keep everything in a run folder."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.gate import FailOn, Fdr, MaxRate, PolicyFile, conclude, policy_for
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


class Dtype(StrEnum):
    """Number formats of the networks."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def scan_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Prompt files (txt, jsonl, json, csv, tsv, .gz), images, folders, globs, or - for stdin.",
        ),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Bundled name, folder or hub id. There is no default.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command again resumes.")] = Path("runs/scan"),
    format: FormatOption = Format.table,
    output: Outputs = None,
    redact: Redact = False,
    evidence: EvidenceOption = None,
    column: Annotated[
        str | None, typer.Option("--prompt-column", help="Column that holds the prompt; found without it as a rule.")
    ] = None,
    prompts_format: Annotated[str | None, typer.Option(help="Read the input as txt, jsonl, json, csv or tsv.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Layer to look at; name, glob or alias; repeatable.")] = None,
    timestep: Annotated[list[int] | None, typer.Option(help="Timestep to look at; repeatable.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Detector; repeatable; the first one decides.")] = None,
    num_seeds: Annotated[int | None, typer.Option(min=1, help="Images for each prompt.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Classifier-free guidance.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; halved for a batch that does not fit.")] = 16,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or mps.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Number format; fp16 never on a CPU.")] = None,
    call: Annotated[
        list[str] | None,
        typer.Option("--call", metavar="NAME=VALUE", help="Further argument of the pipeline; repeatable."),
    ] = None,
    save_images: Annotated[bool, typer.Option(help="Keep the generated images in the run folder.")] = True,
    member: Annotated[list[str] | None, typer.Option(help="Detector that decides; repeatable, at most three.")] = None,
    strata: Annotated[str, typer.Option(help="Column that p-values stay within, as in the calibration.")] = "",
    calibration: Annotated[Path | None, typer.Option(help="Clean scores, instead of those beside the model.")] = None,
    index: Annotated[
        Path | None, typer.Option(help="Index of the training images to search; bundled models bring theirs.")
    ] = None,
    search: Annotated[bool, typer.Option("--search/--no-index", help="Search an index of training images.")] = True,
    weights: Annotated[Path | None, typer.Option(help="File with the weights of the index's embedder.")] = None,
    trust_torchscript: Annotated[
        bool, typer.Option("--trust-torchscript", help="Open weights of an embedder that can run code.")
    ] = False,
    top_k: Annotated[int, typer.Option(min=1, help="Training images kept of each image.")] = 3,
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
    wanted = reports(format, output, redact, evidence, runs=[out], inputs=inputs)
    bar = policy_for({"fail_on": fail_on.value if fail_on else None, "max_rate": max_rate, "fdr": fdr}, policy)
    hush()
    from memdetect.prompts import read

    requests = read(inputs, column=column, format=prompts_format)
    if not model.strip():
        raise MemdetectError("--model is empty; give a bundled name, a folder or a hub id (see `memdetect models`)")
    if dry_run:
        asked = {"steps": steps, "guidance_scale": guidance_scale, "num_seeds": num_seeds, "timesteps": timestep}
        _dry_run(requests, model, bar, calibration, asked, member or (detector or [])[:1])
    with Interrupt().listening() as interrupt, progress_bar("scan") as progress:
        say(f"loading {model}")
        from memdetect.adapters import load
        from memdetect.scanning import Options, scan

        options = Options(
            layers=layer,
            timesteps=timestep,
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
        )
        loaded = load(model, device=device, dtype=dtype.value if dtype else None)
        run = scan(requests, loaded, out, options, progress=progress, stop=interrupt.asked)
    if run.interrupted:
        again = shlex.join(["memdetect", *sys.argv[1:]])
        say(f"stopped at {len(run.results)} of {run.header.planned}; resume with: {again}")
        raise typer.Exit(int(interrupt.exit or 0))
    publish(wanted, run.header, run.results, run.verdict, [run.folder])
    say(f"run folder: {run.folder}")
    if fail_on is not None:
        conclude(run.verdict)
    raise typer.Exit(int(run.verdict.scan_exit))


def _dry_run(*plan: Any) -> None:
    """Print what a scan would do and show, and stop."""
    from memdetect.scanning.dry import dry_run_lines

    write("".join(f"{line}\n" for line in dry_run_lines(*plan)))
    raise typer.Exit


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
