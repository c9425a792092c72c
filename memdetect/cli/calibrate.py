"""`memdetect calibrate`: clean prompts and a model -> the clean scores that its scans are judged against."""

import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import CleanLookup, ModelName, Out, asked_for, checked_model, say_loading
from memdetect.cli.terminal import Interrupt, hush, progress_bar, say, write
from memdetect.cli.unfold import unfolded
from memdetect.inputs.options import Inputs, Loading, Probing, Sampling

Clean = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CLEAN", help="Files of prompts that are known to be clean and drawn like those to be scanned."
    ),
]
Memorized = Annotated[
    list[str] | None,
    typer.Option(
        "--memorized",
        help="File of prompts that the model is known to have memorized, with a column `kind`; repeatable. They tell "
        "how much the scores notice, without which no scan passes unless an index is searched.",
    ),
]


@unfolded
def calibrate_command(
    model: ModelName,
    inputs: Inputs,
    loading: Loading,
    sampling: Sampling,
    probing: Probing,
    lookup: CleanLookup,
    clean: Clean = None,
    memorized: Memorized = None,
    out: Out = Path("calibration.json"),
) -> None:
    """Measure prompts that the model has not memorized; keep their scores in --out. The same command again resumes.

    The run is kept beside --out, in NAME.run. --labels ranks classes among other classes of the model, --unconditional
    images among other images of the model; what all of them share is not found. Images without a condition are not
    clean by themselves: only with --index, which removes copies, can a gate pass on them.

    Exit codes: 0 done, 2 usage or input, 4 error, 130/143 interrupted and resumable.
    """
    hush()
    requests = asked_for(clean or [], inputs, "clean")
    checked_model(model)
    known = asked_for(memorized, replace(inputs, labels=None, unconditional=None)) if memorized else None
    with Interrupt().listening() as interrupt, progress_bar("calibrate") as progress:
        from memdetect.scanning import Options, Watch, run_calibration

        sampling = sampling.without_prompts() if inputs.unconditional else sampling
        settings = Options(loading, sampling, probing, lookup, memorized=known)
        say_loading(model, loading)
        made = run_calibration(requests, model, out, settings, watch=Watch(progress, interrupt.asked))
    if made is None:
        say(f"stopped; resume with: {shlex.join(['memdetect', *sys.argv[1:]])}")
        raise typer.Exit(int(interrupt.exit or 0))
    _say(made)
    write(f"{out}\n")


def _say(made: Any) -> None:
    """What the calibration holds and rests on, a line each on stderr."""
    from memdetect.render.table import probed_at

    tuning = sum(item.part == "tuning" for item in made.items)
    rest = len(made.items) - tuning
    say(f"{len(made.items)} clean prompts, {tuning} for tuning ({made.parts}), {rest} for calibration")
    if lost := made.provenance.get("nonfinite"):
        say(f"{lost} further prompts gave values that are not finite and are left out")
    if made.provenance["sigmas"]:
        say(f"probed at {probed_at(made.provenance['sigmas'])}")
    if made.conditioned and not made.kinds and not made.strata:
        say("kinds of prompts are not looked for: a prompt unlike the clean ones is ranked among them, and not refused")
    for kind in made.kinds if len(made.kinds) > 1 else ():
        say(f"kind {kind.name}, as {kind.example!r:.60}: {kind.tuning} for tuning, {kind.clean} for calibration")
    for kind, count in Counter(item.kind for item in made.known).items():
        say(f"{count} memorized prompts of kind {kind}")
    why = made.provenance.get("unchecked", "")
    if made.checked:
        say(made.checked)
    elif made.conditioned:
        say(f"not checked for copies: {why}; assumes clean calibration prompts")
    else:
        say(f"not checked for copies: {why}; images of the model itself: a gate will not pass on them")
