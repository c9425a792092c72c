"""`memdetect calibrate`: clean prompts and a model -> the clean scores that its scans are judged against."""

import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from memdetect.cli.options import CleanLookup, CleanSharing, ModelName, Out, asked_for, checked_model, say_loading
from memdetect.cli.places import check_share, shared
from memdetect.cli.terminal import Interrupt, hush, progress_bar, say, write
from memdetect.cli.unfold import unfolded
from memdetect.cli.workers import is_worker
from memdetect.errors import Exit, MemdetectError
from memdetect.inputs.options import Inputs, Loading, Probing, Sampling, Sharing

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
    sharing: CleanSharing,
    clean: Clean = None,
    memorized: Memorized = None,
    out: Out = Path("calibration.json"),
) -> None:
    """Measure prompts that the model has not memorized; keep their scores in --out. The same command again resumes.

    The run is kept beside --out, in NAME.run. --labels ranks classes among other classes of the model, --unconditional
    images among other images of the model; what all of them share is not found. Images without a condition are not
    clean by themselves: only with --index, which removes copies, can a gate pass on them.

    Exit codes: 0 done, 2 usage or input, 3 shards are missing, 4 error, 130/143 interrupted and resumable.
    """
    hush()
    of_files = {} if clean or not memorized else {"prompt_column": None, "prompts_format": None}
    requests = asked_for(clean or [], replace(inputs, **of_files), "clean")
    checked_model(model)
    known = asked_for(memorized, replace(inputs, labels=None, unconditional=None)) if memorized else None
    sharing = shared(sharing)
    if sharing.workers is not None:
        _drive(sharing.workers, out, [*(clean or ()), *(memorized or ())], known=bool(memorized))
    with Interrupt().listening() as interrupt, progress_bar("calibrate") as progress:
        from memdetect.scanning import Options, Watch, run_calibration

        sampling = sampling.without_prompts() if inputs.unconditional else sampling
        settings = Options(loading, sampling, probing, lookup, memorized=known, sharing=sharing)
        say_loading(model, loading)
        made = run_calibration(requests, model, out, settings, watch=Watch(progress, interrupt.asked))
    if made is None:
        _unfinished(interrupt, out, sharing, known=bool(memorized))
    _publish(made, out)


def _drive(count: int, out: Path, files: list[str], *, known: bool) -> None:
    """Have other processes measure, the last of which makes the calibration, and say what it holds."""
    from memdetect.cli.workers import through_workers
    from memdetect.judging.calibration import read_calibration

    runs = _runs(out, known=known)
    workers = through_workers(count, runs, files)
    for run in runs:
        workers.check(run)
    made = read_calibration(out)
    if Exit.OK not in workers.codes or made is None:
        code = next((code for code in workers.codes if code == Exit.ERROR), Exit.INCONCLUSIVE)
        raise MemdetectError(
            "everything is measured, and no worker could make the calibration of it; run the same command again",
            Exit(code),
        )
    _publish(made, out)
    raise typer.Exit


def _runs(out: Path, *, known: bool) -> list[Path]:
    """The runs that a calibration is made of; known: of memorized prompts as well."""
    return [out.parent / f"{out.stem}.{name}" for name in ("run", *(["memorized.run"] if known else []))]


def _unfinished(interrupt: Interrupt, out: Path, sharing: Sharing, *, known: bool) -> NoReturn:
    """End without a calibration: stopped, or done with the share of a rank that leaves the rest to others."""
    if interrupt.exit is None:
        from memdetect.runs.folder import RunFolder

        for run in _runs(out, known=known):
            check_share(RunFolder(run), sharing)
        alone = "where each has a disk of its own, join the runs by memdetect merge"
        say(f"its share is measured, and those of others are missing; {alone}; then run the same command again")
        raise typer.Exit(int(Exit.INCONCLUSIVE if is_worker() else Exit.OK))
    if not is_worker():
        say(f"stopped; resume with: {shlex.join(['memdetect', *sys.argv[1:]])}")
    raise typer.Exit(int(interrupt.exit))


def _publish(made: Any, out: Path) -> None:
    """Say what the calibration holds, and print where it is; once, where several processes made it."""
    if is_worker():
        return
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
    _say_short(made)
    if made.conditioned and not made.kinds and not made.strata:
        say("kinds of prompts are not looked for: a prompt unlike the clean ones is ranked among them, and not refused")
    for kind in made.kinds if len(made.kinds) > 1 else ():
        say(f"kind {kind.name}, as {kind.example!r:.60}: {kind.tuning} for tuning, {kind.clean} for calibration")
    for kind, count in Counter(item.kind for item in made.known).items():
        say(f"{count} memorized prompts of kind {kind}")
    _say_back(made)
    why = made.provenance.get("unchecked", "")
    if made.checked:
        say(made.checked)
    elif made.conditioned:
        say(f"not checked for copies: {why}; assumes clean calibration prompts")
    else:
        say(f"not checked for copies: {why}; images of the model itself: a gate will not pass on them")


def _say_back(made: Any) -> None:
    """Which prompts of the bank came back as copies."""
    from memdetect.judging.calibration.banked import removed_in_bank, said_of_bank

    if back := said_of_bank(removed_in_bank(made)):
        say(f"{back}; take them out and calibrate again")


def _say_short(made: Any) -> None:
    """What more clean prompts would give."""
    from memdetect.judging.ranks import SMALLEST_KIND

    if not made.conditioned or made.base:
        return
    if len(made.items) < SMALLEST_KIND:
        say(f"{len(made.items)} clean prompts are few: a gate that asks for scores wants {SMALLEST_KIND} of each kind")
    if next(iter(made.scores), "") == "agreement" and not made.bank:  # the first decides
        say("agreement decides: specificity takes a bank, made where there are 150 prompts for tuning and 150 more")
