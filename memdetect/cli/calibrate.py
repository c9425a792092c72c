"""`memdetect calibrate`: clean prompts and a model -> the clean scores that its scans are judged against."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from memdetect.cli.output import Interrupt, hush, progress_bar, say, write
from memdetect.cli.scan import Dtype, pipeline_arguments
from memdetect.errors import MemdetectError


def calibrate_command(
    clean: Annotated[
        list[str],
        typer.Argument(metavar="CLEAN...", help="Files of prompts known to be clean, drawn like those to be scanned."),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Bundled name, folder or hub id. There is no default.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; its run is kept in NAME.run.")] = Path(
        "calibration.json"
    ),
    column: Annotated[str | None, typer.Option("--prompt-column", help="Column that holds the prompt.")] = None,
    prompts_format: Annotated[str | None, typer.Option(help="Read the input as txt, jsonl, json, csv or tsv.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Layer to look at; name, glob or alias; repeatable.")] = None,
    timestep: Annotated[list[int] | None, typer.Option(help="Timestep to look at; repeatable.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Detector; repeatable.")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Detector that decides; repeatable, at most three.")] = None,
    strata: Annotated[str, typer.Option(help="Column that p-values will stay within.")] = "",
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
    index: Annotated[
        Path | None, typer.Option(help="Index of the training images; the strongest prompts are searched for copies.")
    ] = None,
    search: Annotated[bool, typer.Option("--search/--no-index", help="Search an index of training images.")] = True,
    weights: Annotated[Path | None, typer.Option(help="File with the weights of the index's embedder.")] = None,
    trust_torchscript: Annotated[
        bool, typer.Option("--trust-torchscript", help="Open weights of an embedder that can run code.")
    ] = False,
    first_step_only: Annotated[
        bool, typer.Option("--first-step-only", help="Refuse detectors that need more than the first step.")
    ] = False,
) -> None:
    """Measure clean prompts, one a family, and keep their scores; the same command again resumes.

    Exit codes: 0 done, 2 usage or input, 4 error, 130/143 interrupted and resumable.
    """
    extra = pipeline_arguments(call or [])
    hush()
    from memdetect.prompts import read

    requests = read(clean, column=column, format=prompts_format)
    if not model.strip():
        raise MemdetectError("--model is empty; give a bundled name, a folder or a hub id (see `memdetect models`)")
    with Interrupt().listening() as interrupt, progress_bar("calibrate") as progress:
        say(f"loading {model}")
        from memdetect.adapters import load
        from memdetect.scanning import Options, Watch, calibrate

        options = Options(
            layers=layer,
            timesteps=timestep,
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
            index=index,
            search=search,
            embedder_weights=weights,
            trust_torchscript=trust_torchscript,
        )
        loaded = load(model, device=device, dtype=dtype.value if dtype else None)
        made = calibrate(requests, loaded, out, options, watch=Watch(progress, interrupt.asked))
    if made is None:
        say(f"stopped; resume with: {shlex.join(['memdetect', *sys.argv[1:]])}")
        raise typer.Exit(int(interrupt.exit or 0))
    part_a = sum(item.part == "A" for item in made.items)
    say(f"{len(made.items)} clean prompts, {part_a} in part A ({made.parts}), {len(made.items) - part_a} in part B")
    say(made.checked or "assumes clean calibration prompts, not checked")
    write(f"{out}\n")
