"""`memdetect samples`: judge pictures that something else made, several of each prompt; no model is loaded."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from memdetect.cli.options import WEIGHTS, Out, Reading
from memdetect.cli.reports import Reporting, check_run_folder, reports
from memdetect.cli.scan import finish
from memdetect.cli.terminal import Interrupt, hush, progress_bar
from memdetect.cli.unfold import Take, unfolded
from memdetect.inputs.options import EmbedderName, Inputs, Judging, Lookup, Probing

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="PICTURES",
        help="Lists of prompts with an image in each row, or folders that hold a folder for each prompt.",
    ),
]
Clean = Annotated[
    list[str],
    typer.Option(
        "--clean-pictures",
        metavar="PICTURES",
        help="Pictures of prompts known to be clean, given as the others are; repeatable.",
    ),
]
Memorized = Annotated[
    list[str] | None,
    typer.Option(
        "--memorized-pictures",
        metavar="PICTURES",
        help="Pictures of prompts known to be memorized, given as the others are; repeatable.",
    ),
]
Maker = Annotated[
    str,
    typer.Option("--from", metavar="NAME", help="What made the pictures, such as the name and version of a service."),
]
PerPrompt = Annotated[
    int | None,
    typer.Option(
        "--per-prompt",
        min=2,
        metavar="N",
        help="Pictures of each prompt to compare. Default: as many as most prompts have.",
    ),
]
SampleProbing: TypeAlias = Annotated[Probing, Take(only=("combine", "strata"))]
SampleLookup: TypeAlias = Annotated[Lookup, Take(only=("index", "top_k", *WEIGHTS))]
SampleJudging: TypeAlias = Annotated[Judging, Take(only=("fail_on", "policy", "max_rate", "fdr"))]


@unfolded
def samples_command(
    files: Files,
    clean: Clean,
    maker: Maker,
    reading: Reading,
    probing: SampleProbing,
    lookup: SampleLookup,
    judging: SampleJudging,
    reporting: Reporting,
    memorized: Memorized = None,
    per_prompt: PerPrompt = None,
    embedder: EmbedderName = "auto",
    out: Out = Path("runs/samples"),
) -> None:
    """Judge pictures from an API, several of each prompt, against pictures of clean prompts; no model is loaded.

    The pictures of a memorized prompt are alike. With --index they are looked up among training images as well.

    Exit codes: 0 done, 1 failed (with --fail-on), 2 usage or input, 3 nothing could be used, 4 error, 130/143 stopped.
    """
    check_run_folder(out, [*files, *clean, *(memorized or [])])
    wanted = reports(reporting, runs=[out], inputs=files)
    from memdetect.judging.run import policy_of

    chosen = policy_of(judging)
    hush()
    scanned, known = _read(files, reading), _read(clean, reading)
    hits = _read(memorized, reading) if memorized else None
    with Interrupt().listening() as interrupt, progress_bar("samples") as progress:
        from memdetect.scanning import Watch
        from memdetect.scanning.samples import SampleOptions, run_samples

        judged = (lookup, chosen.policy, chosen.file)
        options = SampleOptions(maker, per_prompt, tuple(probing.combine), probing.strata, embedder, *judged)
        run = run_samples(scanned, known, out, options, memorized=hits, watch=Watch(progress, interrupt.asked))
    finish(run, wanted, interrupt, judged=judging.fail_on is not None)


def _read(sources: list[str], reading: Inputs) -> Any:
    from memdetect.inputs.samples import read_samples

    return read_samples(sources, column=reading.prompt_column, format=reading.prompts_format)
