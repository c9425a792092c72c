"""`memdetect gate`: judge finished runs against a policy; the exit code is the verdict's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from memdetect.cli.options import GateJudging
from memdetect.cli.output import say
from memdetect.cli.reports import Reporting, publish, reports
from memdetect.cli.unfold import unfolded
from memdetect.inputs.options import Judging


@unfolded
def gate_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are judged as one.")],
    judging: GateJudging,
    reporting: Reporting,
) -> None:
    """Judge runs against a policy, without the model and without torch.

    Exit codes: 0 pass, 1 fail, 2 usage or input, 3 inconclusive: incomplete, not calibrated, or too small; 4 error.
    """
    wanted = reports(reporting, runs=runs)
    import gc

    gc.disable()  # the records stay until the end; going through them again and again takes as long as reading them
    from memdetect.judging import judge, read_runs

    found = read_runs(runs, Path(judging.calibration) if judging.calibration else None)
    chosen = policy_for(judging, found.policies)
    results, verdict = judge(found.header, found.rows, found.calibration, chosen.policy, altered=found.altered)
    verdict = replace(verdict, notes=(f"judged by {chosen.source}", *verdict.notes))
    publish(wanted, found.header, results, verdict, runs)
    for line in found.damaged:
        say(line)
    conclude(verdict)


def policy_for(judging: Judging, held: Sequence[Any] = ()) -> Any:
    """The policy chosen among options, files around the working folder, and those that runs were planned with."""
    from memdetect.runs.policy import read_policy

    return read_policy(judging.limits, Path.cwd(), Path(judging.policy) if judging.policy else None, held)


def conclude(verdict: Any) -> None:
    """Say the verdict in one line on stderr, and end with its exit code."""
    reasons = "; ".join(verdict.reasons)
    say(f"verdict: {verdict.verdict}, {verdict.basis}{': ' if reasons else ''}{reasons}")
    raise typer.Exit(int(verdict.exit))
