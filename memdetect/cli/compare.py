"""`memdetect compare`: what changed from one run to another of the same prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

import typer

from memdetect.cli.options import FORMAT
from memdetect.cli.reports import OUTPUT, REDACT, Reporting, here, reports, save
from memdetect.cli.terminal import colourful, say, terminal_width, write
from memdetect.cli.unfold import Take, unfolded
from memdetect.errors import MemdetectError
from memdetect.inputs.options import Judging

Format = Literal["table", "json", "csv", "md"]
ComparePolicy: TypeAlias = Annotated[Judging, Take(only=("policy",))]


@dataclass(frozen=True, slots=True)
class CompareReporting:
    """What is printed and written of a comparison."""

    panel: ClassVar[str] = "Report"
    format: Annotated[Format, FORMAT] = "table"
    output: Annotated[Sequence[str], OUTPUT] = ()
    redact: Annotated[bool, REDACT] = False


@unfolded
def compare_command(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Run folder of the earlier model or settings.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Run folder of the later model or settings.")],
    judging: ComparePolicy,
    reporting: CompareReporting,
    fail_on: Annotated[
        Literal["new", "worse", "none"],
        typer.Option("--fail-on", help="Changes that fail: new findings, new or worse ones, or none."),
    ] = "none",
) -> None:
    """Compare two runs of the same prompts: findings that are new, gone, worse, better; without torch.

    Exit codes: 0 done, 1 failed (with --fail-on), 2 usage, or runs that do not compare, 3 inconclusive; 4 error.
    """
    old, new = here((old, new))
    asked = Reporting(format=reporting.format, output=reporting.output, redact=reporting.redact)
    wanted = reports(asked, runs=(old, new))
    from memdetect.judging.comparing import compare
    from memdetect.render.comparison import COMPARED, comparison_table, redact_comparison

    if other := next((name for name, _ in wanted.files if name not in COMPARED), None):
        raise MemdetectError(f"-o: a comparison has no format {other!r}; choose one of {', '.join(COMPARED)}")
    found = compare(old, new, judging, fail_on)
    found = redact_comparison(found) if wanted.redact else found
    if wanted.format == "table":
        write(comparison_table(found, colour=colourful(), width=terminal_width()))
    elif wanted.format:
        write(COMPARED[wanted.format](found))
    for name, path in wanted.files:
        save(path, COMPARED[name](found))
        say(f"{name}: {path}")
    reasons = "; ".join(found.reasons)
    say(f"verdict: {found.verdict}{': ' if reasons else ''}{reasons}")
    raise typer.Exit(int(found.exit))
