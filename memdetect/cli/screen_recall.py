"""`memdetect screen-recall`: how much of what a full scan finds a screen keeps."""

from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import Out
from memdetect.cli.terminal import say, write_lines
from memdetect.errors import Exit, MemdetectError


def screen_recall_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that scan --screen made.")],
    full: Annotated[
        Path | None,
        typer.Option(
            "--full-run", metavar="RUN", help="Run folder of a full scan of some of its prompts, with findings."
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--memorized-group", metavar="GROUP", help="Group (column `group`) of memorized prompts; repeatable."
        ),
    ] = None,
    out: Out = Path("screen-recall.json"),
) -> None:
    """Measure how many memorized prompts a screen keeps, and write it to the file --out.

    Give the file to scan or gate by --screen-recall. It holds for this model, these settings, detectors and share.

    Exit codes: 0 done, 2 usage or input, 4 error.
    """
    if (full is None) == (not groups):
        raise MemdetectError("give either --full-run RUN, or --memorized-group: what a screen should keep")
    from memdetect.judging.recall_making import Known, findings_of, labelled, measured_recall

    known = findings_of(full) if full is not None else Known(labelled(run, groups or []), _of_group(groups or []))
    made = measured_recall(run, known)
    _write(made, out)
    write_lines(_lines(made))
    say(f"recall of the screen: {out}")


def _of_group(groups: list[str]) -> str:
    return f"of group {' or '.join(groups)}"


def _write(made: Any, out: Path) -> None:
    from memdetect.files import write_atomic

    try:
        write_atomic(out, made.model_dump_json(indent=1) + "\n")
    except OSError as problem:
        raise MemdetectError(f"cannot write {out} ({problem.strerror}); choose another --out", Exit.ERROR) from None


def _lines(made: Any) -> list[str]:
    """What the screen keeps of each kind, with its exact interval."""
    how = f"the strongest {made.share:g}" if made.share is not None else f"p at most {made.p:g}"
    lines = [f"{' or '.join(made.detectors)} at the first of {made.screen.steps} steps, {how}:"]
    lines.append(f"  measured of what is {' or '.join(made.finds)}")
    undecided = [one for one in made.found if one.outcome == "inconclusive"]
    if undecided:
        lost = sum(not one.kept for one in undecided)
        said = f"{len(undecided)} more could not be decided by the full scan"
        lines.append(f"  {said}; the {lost} that are not kept count as lost")
    for kind, one in made.kept_by().items():
        low, high = one.interval
        share = one.kept / one.families
        lines.append(
            f"  {kind or 'no kind'}: {one.kept} of {one.families} families kept, {share:.1%} [{low:.1%}, {high:.1%}], "
            f"at least {one.low:.1%} with 95 % confidence"
        )
    return lines
