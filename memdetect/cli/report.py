"""`memdetect report`: a page of a finished run for people to decide on, and any other report, without judging anew."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from memdetect.cli.options import GateJudging
from memdetect.cli.reports import Reporting, here, publish, reports
from memdetect.cli.terminal import say
from memdetect.cli.unfold import Take, unfolded
from memdetect.errors import MemdetectError
from memdetect.runs.remote import is_remote

PAGE = "report.html"
Written: TypeAlias = Annotated[Reporting, Take(without=("format",))]


@unfolded
def report_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders; several are judged as one.")],
    judging: GateJudging,
    reporting: Written,
) -> None:
    """Write reports of runs, judged as gate does; without -o a page, report.html, in the first run's folder.

    Exit codes: 0 written, whatever the verdict; 2 usage or input, 4 error.
    """
    if not reporting.output and is_remote(runs[0]):
        raise MemdetectError("the page is not written into object storage; name a file, as in -o report.html")
    runs = here(runs, images=reporting.evidence in (None, "thumbs") and not reporting.redact)
    asked = reporting if reporting.output else replace(reporting, output=(f"html={runs[0] / PAGE}",))
    wanted = replace(reports(asked, runs=runs), format=None)
    from memdetect.judging.run import judge_folders

    judged = judge_folders(runs, judging)
    found = judged.found
    publish(wanted, found.header, judged.results, judged.verdict, runs, found.calibration)
    for line in found.damaged:
        say(line)
    say(f"verdict: {judged.verdict.verdict}, {judged.verdict.basis}")
