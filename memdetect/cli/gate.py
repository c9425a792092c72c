"""`memdetect gate`: judge finished runs against a policy; the exit code is the verdict's."""

import gc
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import GateJudging
from memdetect.cli.reports import Reporting, here, publish, reports
from memdetect.cli.terminal import say
from memdetect.cli.unfold import unfolded


@unfolded
def gate_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders; several are judged as one.")],
    judging: GateJudging,
    reporting: Reporting,
) -> None:
    """Judge finished runs by a policy: pass, fail or inconclusive. Needs neither the model nor torch.

    Exit codes: 0 pass, 1 fail, 2 usage or input, 3 inconclusive: incomplete, not calibrated, or too small; 4 error.
    """
    runs = here(runs)
    wanted = reports(reporting, runs=runs)
    from memdetect.judging.run import judge_folders

    gc.freeze()  # modules stay until the end: the collector looks at the records alone
    judged = judge_folders(runs, judging)
    found = judged.found
    publish(wanted, found.header, judged.results, judged.verdict, runs, found.calibration)
    for line in found.damaged:
        say(line)
    conclude(judged.verdict)


def conclude(verdict: Any) -> None:
    """Say the verdict in one line on stderr, and end with its exit code."""
    reasons = "; ".join(verdict.reasons)
    say(f"verdict: {verdict.verdict}, {verdict.basis}{': ' if reasons else ''}{reasons}")
    raise typer.Exit(int(verdict.exit))
